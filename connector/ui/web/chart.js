// Charts of values over time, each with the newest and largest values in words, and a table.
import {el, fill, newID, svg} from './dom.js'
import {isText} from './i18n.js'
import {text} from './schema.js'

const width = 600, height = 180, left = 46, bottom = 22, top = 14
const shortest = 5 * 60_000, rowsOfTable = 12

// A Chart draws lines: {title, lines: [[name, of(now, before)]]}. of returns the value for a
// sample, given the one before, or null if there is none.
export class Chart {
  constructor({title, lines}) {
    this.lines = lines
    const heading = el('figcaption', {id: newID()}, title)
    this.words = el('p', {class: 'pale legend'})
    this.picture = svg('svg', {viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true', class: 'chart'})
    this.table = el('table')
    this.details = el('details', {ontoggle: () => this.tell()}, el('summary', {}, text('As a table', '以表格显示')), el('div', {class: 'scroll', tabIndex: 0, role: 'region', 'aria-labelledby': heading.id}, this.table))
    this.element = el('figure', {class: 'card', 'aria-labelledby': heading.id}, heading, this.picture, this.words, this.details)
  }

  // draw shows samples. The last one is the newest; the chart covers up to longest milliseconds.
  draw(samples, longest) {
    this.points = samples.slice(1).map((now, i) => ({at: Date.parse(now.time), values: this.lines.map(l => l[1](now, samples[i]))}))
    const now = Date.parse(samples.at(-1)?.time ?? 0)
    const span = Math.min(longest, Math.max(shortest, now - Date.parse(samples[0]?.time ?? 0)))
    const most = Math.max(0, ...this.points.flatMap(p => p.values).filter(Number.isFinite))
    const ceiling = round(most)
    const x = at => left + (width - left - 4) * (1 - (now - at) / span), y = v => top + (height - top - bottom) * (1 - v / ceiling)
    fill(this.picture)
    for (const part of [0, 0.5, 1]) {
      const at = y(ceiling * part)
      this.picture.append(svg('line', {x1: left, x2: width - 4, y1: at, y2: at, class: 'grid'}), svg('text', {x: left - 5, y: at + 4, 'text-anchor': 'end'}, short(ceiling * part)))
    }
    const minutes = span / 60_000
    for (const ago of [minutes, minutes / 2, 0])
      this.picture.append(svg('text', {x: x(now - ago * 60_000), y: height - 5, 'text-anchor': ago == minutes ? 'start' : ago ? 'middle' : 'end'}, new Date(now - ago * 60_000).toTimeString().slice(0, 5)))
    this.lines.forEach((_, i) => {
      let path = '', lone = true
      this.points.forEach((p, j) => {
        const v = p.values[i]
        if (!Number.isFinite(v)) return
        const before = this.points[j - 1]?.values[i]
        path += `${Number.isFinite(before) ? 'L' : 'M'}${x(p.at).toFixed(1)} ${y(v).toFixed(1)}`
        if (!Number.isFinite(before) && !Number.isFinite(this.points[j + 1]?.values[i])) path += 'h1' // a single point
        lone = false
      })
      if (!lone) this.picture.append(svg('path', {d: path, class: 'line line' + i}))
    })
    this.say()
    this.tell()
  }

  // say shows the name of each line with its newest and its largest value.
  say() {
    fill(this.words, this.lines.map(([name], i) => {
      const all = this.points.map(p => p.values[i]).filter(Number.isFinite)
      const now = all.length ? short(all.at(-1)) : '–', most = all.length ? short(Math.max(...all)) : '–'
      return el('span', {class: 'entry'}, svg('svg', {viewBox: '0 0 24 6', class: 'key', 'aria-hidden': 'true'}, svg('path', {d: 'M0 3h24', class: 'line line' + i})),
        ' ', name, ' ', el('b', {}, now), text(` (at most ${most})`, `（最大 ${most}）`))
    }))
  }

  // tell fills the table, if it is open, with means over five minutes.
  tell() {
    if (!this.details.open || !this.points) return
    const step = 5 * 60_000, rows = new Map()
    for (const p of this.points) {
      const at = Math.floor(p.at / step) * step
      rows.has(at) ? rows.get(at).push(p) : rows.set(at, [p])
    }
    const mean = (points, i) => {
      const all = points.map(p => p.values[i]).filter(Number.isFinite)
      return all.length ? short(all.reduce((a, b) => a + b) / all.length) : '–'
    }
    fill(this.table, el('thead', {}, el('tr', {}, el('th', {}, text('From (means of 5 minutes)', '起始时间（5 分钟平均）')), this.lines.map(([name]) => el('th', {}, isText(name) ? name : text(name))))),
      el('tbody', {}, [...rows].reverse().slice(0, rowsOfTable + 1).map(([at, points]) => el('tr', {}, el('td', {}, new Date(at).toTimeString().slice(0, 5)), this.lines.map((_, i) => el('td', {}, mean(points, i)))))))
  }
}

// round rounds up to 1, 2 or 5 times a power of ten.
function round(v) {
  if (!(v > 0)) return 1
  const unit = 10 ** Math.floor(Math.log10(v))
  return [1, 2, 5, 10].map(n => n * unit).find(n => n >= v)
}

// short formats a number with about three digits.
const short = v => v >= 1e6 ? (v / 1e6).toPrecision(3) + 'M' : v >= 10_000 ? (v / 1000).toPrecision(3) + 'k' : String(Number(v.toPrecision(v >= 1000 ? 4 : 3)))
