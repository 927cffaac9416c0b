// The dead letters in the files that the configuration names.
import {el, fill, newID} from './dom.js'
import {lang} from './i18n.js'
import {note} from './note.js'
import {base64Of, bytesOf, hexOf} from './payload.js'
import {text} from './schema.js'

export const id = 'deadletters'
export const title = text('Dead letters', '死信')

const states = {waiting: text('waiting', '待处理'), replayed: text('replayed', '已重放'), removed: text('removed', '已删除')}

export function mount(root, api) {
  let file = 0, next = 0, search = '', all = false, turn = 0
  const chosen = new Map(), going = new AbortController() // chosen maps the chosen ids to whether there is a flow for them
  const rows = el('tbody'), count = el('p', {class: 'pale', role: 'status'}), detail = el('section', {'aria-live': 'polite'})
  const more = el('button', {type: 'button', onclick: () => load(next)}, text('More', '更多'))
  const topic = el('input', {value: '{topic}', 'aria-label': text('Topic to replay to', '重放的目标主题')})
  const act = (en, zh, f) => el('button', {type: 'button', disabled: true, onclick: f}, text(en, zh))
  // asked returns the request for the present choice. After the user has confirmed it, later
  // changes of the choice do not affect it.
  const asked = more => ({file, ids: [...chosen.keys()], ...more})
  const through = act('Through the flow', '交给流程重放', () => {
    const what = asked({flow: true, again: all})
    sure(text(`Run the flow again? Dead letters: ${what.ids.length}.`, `将 ${what.ids.length} 条死信重新交给流程处理？`), () => replay(what))
  })
  through.hidden = true
  const acts = [
    act('Replay to', '重放到', () => {
      const what = asked({topic: topic.value, again: all})
      sure(text(`Publish to ${what.topic}? Dead letters: ${what.ids.length}.`, `将 ${what.ids.length} 条死信发布到 ${what.topic}？`), () => replay(what))
    }),
    act('Delete', '删除', () => {
      const what = asked()
      sure(text(`Delete from the list? Dead letters: ${what.ids.length}.`, `从列表中删除 ${what.ids.length} 条死信？`), () => remove(what))
    }),
  ]
  const every = el('input', {type: 'checkbox', 'aria-label': text('Choose all that are shown', '选择全部所列死信'), onchange: () => {
    for (const box of rows.querySelectorAll('input:enabled')) { box.checked = every.checked; pick(box) }
  }})
  const question = el('div', {role: 'alertdialog', 'aria-label': text('Confirm', '确认'), class: 'note warn', hidden: true})

  function pick(box) {
    box.checked ? chosen.set(box.value, box.dataset.flow == 'true') : chosen.delete(box.value)
    enable()
  }

  function enable() {
    for (const b of acts) b.disabled = chosen.size == 0
    through.disabled = chosen.size == 0 || [...chosen.values()].includes(false)
  }

  function sure(what, yes) {
    const from = document.activeElement
    const close = () => { question.hidden = true; from.focus() }
    const go = el('button', {type: 'button', class: 'main', onclick: () => { close(); yes().catch(note) }}, text('Yes', '是'))
    fill(question, el('span', {}, what), go, el('button', {type: 'button', onclick: close}, text('No', '否')))
    question.onkeydown = e => { if (e.key == 'Escape') close() }
    question.hidden = false
    go.focus()
  }

  async function load(before) {
    const mine = ++turn
    try {
      const l = await api.post('deadletters/list', {file, search, all, before}, going.signal)
      if (mine != turn) return
      if (!before) {
        fill(rows)
        chosen.clear()
        every.checked = false
        enable()
      }
      if (l.letters.some(letter => letter.flow)) through.hidden = false
      rows.append(...l.letters.map(row))
      next = l.next
      more.hidden = !next
      fill(count, text(`Waiting: ${l.waiting} of ${l.all}.`, `待处理：${l.waiting} 条，共 ${l.all} 条。`),
        l.faults ? text(` Lines that cannot be read: ${l.faults}.`, `无法读取的行：${l.faults}。`) : null)
    } catch (e) { if (!going.signal.aborted) note(e) }
  }

  const row = l => el('tr', {},
    el('td', {}, el('input', {type: 'checkbox', value: l.id, 'data-flow': String(l.flow), disabled: l.state == 'removed', 'aria-label': text(`Choose ${l.topic}`, `选择 ${l.topic}`), onchange: e => pick(e.target)})),
    el('td', {}, new Date(l.time).toLocaleString(lang == 'zh' ? 'zh-CN' : 'en')),
    el('td', {}, el('button', {type: 'button', class: 'plain', onclick: () => show(l.id)}, l.topic)),
    el('td', {}, l.consumer), el('td', {}, states[l.state] ?? l.state), el('td', {}, String(l.size)), el('td', {class: 'bad'}, l.why))

  async function show(which) {
    try {
      const l = await api.post('deadletters/show', {file, id: which}, going.signal)
      const bytes = bytesOf(l.payload)
      let content
      try { content = new TextDecoder('utf-8', {fatal: l.whole}).decode(bytes) } catch {}
      const hex = content === undefined
      const to = el('input', {value: l.topic, id: newID()})
      const area = el('textarea', {class: 'yaml', id: newID(), readOnly: hex || !l.whole, value: hex ? hexOf(bytes) : content})
      const fact = (name, value) => [el('dt', {class: 'pale'}, name), el('dd', {}, value)]
      const copy = async () => {
        const payload = area.readOnly || area.value == content ? null : base64Of(area.value)
        await api.post('deadletters/copy', {file, id: which, topic: to.value, payload})
        note(text('The copy is in the list; the first one is as it was.', '副本已加入列表，原死信保持不变。'), 'good')
        await load(0)
      }
      fill(detail, el('h2', {tabIndex: -1}, l.topic), el('p', {class: 'bad'}, l.why),
        el('dl', {class: 'facts'}, fact('ID', l.id), fact(text('State', '状态'), states[l.state] ?? l.state), fact(text('Received', '收到'), l.received), fact('Consumer', l.consumer), fact('QoS', String(l.qos)),
          fact(text('Message id', '消息 ID'), String(l.messageID)), fact(text('Attempts', '次数'), String(l.attempts)), fact(text('Key', '键'), l.key)),
        el('p', {}, el('label', {for: to.id}, text('Topic', '主题')), ' ', to),
        el('p', {}, el('label', {for: area.id}, hex ? text('Payload, hexadecimal', '内容（十六进制）') : text('Payload', '内容')),
          l.whole ? null : text(' (the beginning)', '（开头部分）')), area,
        el('p', {class: 'row'}, el('button', {type: 'button', onclick: () => copy().catch(note)}, text('Append as a copy', '追加为副本')),
          el('button', {type: 'button', class: 'plain', onclick: () => fill(detail)}, text('Close', '关闭'))))
      detail.firstChild.focus()
    } catch (e) { if (!going.signal.aborted) note(e) }
  }

  async function remove(what) {
    try { await api.post('deadletters/remove', what) } finally { await load(0) }
  }

  async function replay(what) {
    const {ids} = what
    let done = 0, why = text('')
    try {
      await api.stream('deadletters/replay', what, l => { l.error ? why = l.error : done++ }, going.signal)
    } finally { if (!going.signal.aborted) await load(0) }
    if (done < ids.length) note(text(`Replayed: ${done} of ${ids.length}; the others stay. ${why.en}`, `已重放 ${done} 条，共 ${ids.length} 条；其余予以保留。${why.zh}`), 'bad')
    else note(text(`Replayed: ${done}.`, `已重放 ${done} 条。`), 'good')
  }

  const heads = [null, text('Time', '时间'), text('Topic', '主题'), 'Consumer', text('State', '状态'), text('Bytes', '字节'), text('Error', '错误')]
  api.get('deadletters/files', going.signal).then(files => {
    if (!files.length) return fill(root, el('p', {}, text('No consumer of the configuration that the page was started with has a dead letter file.', '页面启动时的配置中没有 Consumer 设置死信文件。'),
      ' ', text('mqtt311 deadletter collect gathers a dead letter topic into a file.', '可用 mqtt311 deadletter collect 将死信主题收集到文件。')))
    const which = el('select', {'aria-label': text('File', '文件'), onchange: () => { file = which.selectedIndex; fill(detail); load(0) }},
      files.map(f => el('option', {}, `${f.name} (${f.consumers.join(', ')})`)))
    const box = el('input', {type: 'checkbox', id: newID(), onchange: () => { all = box.checked; load(0) }})
    const words = el('input', {type: 'search', placeholder: text('Search', '搜索'), 'aria-label': text('Search topic, error and payload', '搜索主题、错误与内容'), onchange: () => { search = words.value; load(0) }})
    fill(root, el('div', {class: 'row toolbar'}, which, words, box, el('label', {for: box.id}, text('done ones, too', '含已处理')),
      el('button', {type: 'button', onclick: () => load(0)}, text('Refresh', '刷新'))),
    el('div', {class: 'row toolbar'}, through, acts[0], topic, acts[1],
      el('span', {class: 'help'}, text('{topic} is the topic of each: whoever has subscribed to it gets it again. At least once.', '{topic} 为各自的主题，该主题的所有订阅者会再次收到；至少一次。'))),
    question, count, el('div', {class: 'wide', tabIndex: 0, role: 'region', 'aria-label': title},
      el('table', {}, el('thead', {}, el('tr', {}, heads.map((h, i) => el('th', {}, i ? h : every)))), rows)), more, detail)
    load(0)
  }, e => { if (!going.signal.aborted) note(e) })
  return () => going.abort()
}
