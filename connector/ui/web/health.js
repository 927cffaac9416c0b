// Health: the state of the connector over the last hour.
import {Chart} from './chart.js'
import {el, fill} from './dom.js'
import {note} from './note.js'
import {text} from './schema.js'

export const id = 'health'
export const title = text('Health', '运行状况')

// These functions return functions that compute the value of a line from a sample and the one
// before.
const rate = key => (now, before) => (now[key] - before[key]) / seconds(now, before)
const times = key => (now, before) => (now[key] - before[key]) * 60 / seconds(now, before)
const level = key => now => now[key]
const seconds = (now, before) => Math.max(0.001, (Date.parse(now.time) - Date.parse(before.time)) / 1000)

const charts = [
  {title: text('Messages a second', '每秒消息数'), lines: [[text('received', '接收'), rate('received')], [text('flows done', '流程成功'), rate('succeeded')], [text('flows failed', '流程失败'), rate('failed')], [text('published', '发布'), rate('published')]]},
  {title: text('Flow time, milliseconds', '流程用时（毫秒）'), lines: [['p50', level('p50')], ['p95', level('p95')], ['p99', level('p99')]]},
  {title: text('Oldest unacknowledged, seconds', '最久未确认（秒）'), lines: [[text('oldest', '最久'), now => now.oldest / 1000]]},
  {title: text('Messages in the connector', '连接器中的消息'), lines: [[text('unacknowledged', '未确认'), level('unacked')], [text('flows that run', '运行中的流程'), level('running')]]},
  {title: text('Troubles a minute', '每分钟异常数'), lines: [[text('retries', '重试'), times('retries')], [text('dead letters', '死信'), times('dead_lettered')], [text('dropped', '丢弃'), times('dropped')]]},
  {title: text('Reconnects a minute', '每分钟重连次数'), lines: [[text('reconnects', '重连'), times('reconnects')]]},
]

export function mount(root, api) {
  const going = new AbortController()
  let samples = [], timer, built = false
  const ready = el('p', {role: 'status', class: 'ready', id: 'ready'}), facts = el('dl', {class: 'facts wide'})
  let saidBefore = ''
  const drawn = charts.map(c => new Chart(c))

  function say(v) {
    const what = v.ready ? text('✓ Ready', '✓ 就绪') : text('✗ Not ready: ' + v.why.en, '✗ 未就绪：' + v.why.zh)
    if (what.en == saidBefore) return // otherwise a screen reader would repeat it
    saidBefore = what.en
    ready.className = 'ready ' + (v.ready ? 'good' : 'bad')
    fill(ready, what)
  }

  async function look() {
    try {
      const v = await api.post('health', {after: samples.at(-1)?.n ?? 0}, going.signal)
      if (!v.running) return fill(root, el('p', {}, text('No connector runs here. Start it with ', '此处没有运行中的连接器，请用以下命令启动：'), el('code', {}, 'mqtt311 run -c FILE --ui'), text('.', '。')))
      if (!built) {
        built = true
        fill(root, ready, facts, el('div', {class: 'charts'}, drawn.map(d => d.element)))
      }
      if (v.samples.length && samples.length && v.samples[0].n <= samples.at(-1).n) samples = [] // the program was restarted
      samples = [...samples, ...v.samples].slice(-v.most)
      say(v)
      count(samples.at(-1), samples[0])
      for (const d of drawn) d.draw(samples, v.most * v.every * 1000)
      timer = setTimeout(look, v.every * 1000)
    } catch (e) {
      if (going.signal.aborted) return
      note(e)
      timer = setTimeout(look, 10_000)
    }
  }

  function count(now, first) {
    const all = [['received', text('received', '接收')], ['succeeded', text('flows done', '流程成功')], ['failed', text('flows failed', '流程失败')], ['retries', text('retries', '重试')],
      ['dead_lettered', text('dead letters', '死信')], ['dropped', text('dropped', '丢弃')], ['published', text('published', '发布')], ['reconnects', text('reconnects', '重连')]]
    const n = v => v.toLocaleString('en')
    fill(facts, all.map(([key, name]) => [el('dt', {class: 'pale'}, name), el('dd', {}, n(now[key]), ' ',
      el('span', {class: 'pale'}, text(`(${n(now[key] - first[key])} in the charts)`, `（图中 ${n(now[key] - first[key])}）`)))]))
  }

  look()
  return () => { going.abort(); clearTimeout(timer) }
}
