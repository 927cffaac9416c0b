// Live: messages as they arrive, and a form to publish one.
import {el, fill, newID} from './dom.js'
import {lang} from './i18n.js'
import {note} from './note.js'
import {base64Of, bytesOf, hexOf, pretty, textOf} from './payload.js'
import {text} from './schema.js'
import {Tree} from './tree.js'

export const id = 'live'
export const title = text('Live', '实时消息')

const mostKept = 500, mostRows = 200 // messages
const states = {connected: text('connected', '已连接'), connecting: text('connecting', '连接中'), waiting: text('waiting to reconnect', '等待重连'), closed: text('closed', '已关闭'), idle: text('idle', '空闲')}

export function mount(root, api) {
  let kept = [], paused = false, going, chosen, view = 'text', last
  const rows = el('tbody'), detail = el('section', {'aria-live': 'polite', class: 'payload'})
  const state = el('p', {class: 'pale', id: 'live-state'}), told = el('p', {role: 'status', class: 'hidden'})
  const filter = el('input', {id: newID(), class: 'code'}), words = el('input', {type: 'search', id: newID()})
  const hold = el('button', {type: 'button', id: 'pause', 'aria-pressed': 'false', onclick: () => pause(!paused)}, text('Pause', '暂停'))
  const again = el('button', {type: 'button', class: 'main', hidden: true, onclick: () => listen()}, text('Listen again', '重新监听'))
  const tree = new Tree(topic => { words.value = topic; listen() })

  function pause(on) {
    paused = on
    hold.setAttribute('aria-pressed', String(on))
    fill(hold, on ? text('Go on', '继续') : text('Pause', '暂停'))
    if (!on) paint()
    status()
  }

  async function listen() {
    going?.abort()
    const mine = going = new AbortController()
    kept = []
    last = null
    chosen = null
    again.hidden = true
    tree.clear()
    paint()
    fill(detail)
    fill(state, text('Connecting …', '正在连接…'))
    let why
    try {
      await api.stream('live/listen', {filter: filter.value.trim(), search: words.value}, l => take(l), mine.signal)
    } catch (e) { why = e }
    if (mine.signal.aborted) return
    again.hidden = false
    fill(state, el('span', {class: 'bad'}, text(why?.en ?? 'The connection ended.', why?.zh ?? '连接已结束。')))
  }

  function take(l) {
    if (l.client_id) {
      fill(told, text(`Listening as ${l.client_id}.`, `正在监听，客户端 ID 为 ${l.client_id}。`))
    } else if (l.filters) fill(told, text(`The topics of the consumers are now ${l.filters.join(', ')}.`, `Consumer 的主题现为 ${l.filters.join('、')}。`))
    if (l.refused) note(text(`The server refuses ${l.refused.join(', ')}.`, `服务端拒绝订阅 ${l.refused.join('、')}。`), 'warn')
    if (l.filters && !filter.value.trim()) filter.placeholder = l.filters.join(', ').slice(0, 200)
    last = {...last, ...l}
    tree.update(l.topics ?? [])
    status()
    if (!l.messages) return
    kept.push(...l.messages)
    kept.splice(0, kept.length - mostKept)
    if (paused) return
    for (const m of l.messages) rows.prepend(row(m))
    while (rows.children.length > mostRows) rows.lastChild.remove()
  }

  function status() {
    if (!last) return
    const s = states[last.state] ?? text(last.state)
    const n = v => v.toLocaleString('en')
    const parts = [[s.en, s.zh], [`as ${last.client_id}`, `客户端 ID ${last.client_id}`], [`received ${n(last.received)}`, `已接收 ${n(last.received)}`]]
    if (last.left_out) parts.push([`left out ${n(last.left_out)}: more come than can be shown`, `略去 ${n(last.left_out)} 条：到达过快`])
    if (last.others) parts.push([`on further topics ${n(last.others)}`, `其他主题 ${n(last.others)}`])
    if (paused) parts.push(['paused', '已暂停'])
    fill(state, text(parts.map(p => p[0]).join(' · '), parts.map(p => p[1]).join(' · ')))
  }

  function paint() {
    fill(rows)
    for (const m of kept.slice(-mostRows)) rows.prepend(row(m))
  }

  function row(m) {
    const content = textOf(bytesOf(m.payload), false)
    return el('tr', {},
      el('td', {class: 'time'}, new Date(m.time).toLocaleTimeString(lang == 'zh' ? 'zh-CN' : 'en-GB', {hour12: false})),
      el('td', {}, el('button', {type: 'button', class: 'plain', onclick: () => show(m)}, m.topic), m.retained ? el('span', {class: 'badge'}, text('retained', '保留')) : null),
      el('td', {class: 'number'}, String(m.size)),
      el('td', {class: 'begin'}, content === undefined ? hexOf(bytesOf(m.payload).subarray(0, 16)).slice(10, 57) : content.slice(0, 200)))
  }

  function show(m) {
    chosen = m
    const bytes = bytesOf(m.payload), whole = bytes.length == m.size
    const content = textOf(bytes, whole), json = whole && content !== undefined ? pretty(content) : undefined
    const views = [['text', text('Text', '文本'), content], ['json', text('JSON'), json], ['hex', text('Hexadecimal', '十六进制'), hexOf(bytes)]]
    const shown = views.find(v => v[0] == view && v[2] !== undefined) ?? views.find(v => v[2] !== undefined)
    const buttons = views.map(v => el('button', {type: 'button', disabled: v[2] === undefined, 'aria-pressed': String(v == shown), onclick: () => {
      view = v[0]
      show(m)
      detail.querySelector('[aria-pressed=true]').focus()
    }}, v[1]))
    fill(detail, el('h2', {}, m.topic),
      el('p', {class: 'row'}, buttons, el('button', {type: 'button', class: 'plain', onclick: () => { chosen = null; fill(detail) }}, text('Close', '关闭'))),
      el('p', {class: 'pale'}, whole ? text(`${m.size} bytes`, `${m.size} 字节`) : text(`The first ${bytes.length} of ${m.size} bytes; JSON is shown of whole ones only`, `共 ${m.size} 字节，此处为前 ${bytes.length} 字节；仅完整内容可按 JSON 显示`)),
      el('pre', {tabIndex: 0, 'aria-label': text('Payload', '内容')}, shown[2]))
  }

  const labelled = (label, input, help) => el('p', {class: 'labelled'}, el('label', {for: input.id}, label), input, help && el('span', {class: 'help'}, help))

  function publisher() {
    const topic = el('input', {id: newID(), class: 'code', required: true}), payload = el('textarea', {id: newID(), rows: 5})
    const qos = el('select', {id: newID()}, ['0', '1', '2'].map(q => el('option', {}, q))), retained = el('input', {type: 'checkbox', id: newID()})
    const outcome = el('p', {role: 'status'}), go = el('button', {class: 'main'}, text('Publish', '发布'))
    const answers = [text('sent; QoS 0 has no answer', '已发送（QoS 0 无应答）'), text('confirmed by PUBACK', '已由 PUBACK 确认'), text('confirmed by PUBCOMP', '已由 PUBCOMP 确认')]
    const publish = async e => {
      e.preventDefault()
      go.disabled = true
      fill(outcome, text('Publishing …', '正在发布…'))
      try {
        const q = qos.selectedIndex
        const {ms} = await api.post('live/publish', {topic: topic.value, payload: base64Of(payload.value), qos: q, retained: retained.checked})
        fill(outcome, el('span', {class: 'good'}, answers[q], ` · ${ms.toFixed(1)} ms`))
      } catch (e) { fill(outcome, el('span', {class: 'bad'}, text(e.en ?? String(e), e.zh ?? String(e)))) }
      go.disabled = false
    }
    return el('details', {class: 'card'}, el('summary', {}, text('Publish a message', '发布消息')), el('form', {onsubmit: publish},
      labelled(text('Topic', '主题'), topic), labelled(text('Payload', '内容'), payload), labelled('QoS', qos),
      labelled(text('Retained', '保留消息'), retained, text('The server keeps it for later subscribers; an empty one deletes what it kept.', '服务端为之后的订阅者保存；内容为空则清除已保存的消息。')),
      el('p', {class: 'row'}, go, outcome)))
  }

  // Texts in attributes of rows are not updated by themselves when the language changes, so show
  // them again.
  const speak = () => { if (chosen) show(chosen); if (!paused) paint() }
  document.addEventListener('lang', speak)
  for (const input of [filter, words]) input.addEventListener('change', () => listen())
  const heads = [text('Time', '时间'), text('Topic', '主题'), text('Bytes', '字节'), text('Payload', '内容')]
  fill(root,
    el('div', {class: 'row toolbar'}, el('label', {for: filter.id}, text('Topic filter', '主题过滤器')), filter,
      el('label', {for: words.id}, text('Search topic and payload', '搜索主题与内容')), words,
      hold, el('button', {type: 'button', onclick: () => { kept = []; paint() }}, text('Clear', '清空')), again),
    state, told,
    el('div', {class: 'split'},
      el('div', {}, el('div', {class: 'scroll', tabIndex: 0, role: 'region', 'aria-label': text('Messages', '消息')},
        el('table', {class: 'messages'}, el('thead', {}, el('tr', {}, heads.map(h => el('th', {}, h)))), rows)), detail),
      el('div', {class: 'beside'}, publisher(), el('h2', {}, text('Topics', '主题')), tree.element)),
    el('p', {class: 'help'}, text('The page listens under a client id of its own at QoS 0 and acknowledges nothing of the connector. Share groups are left out.',
      '页面使用独立的客户端 ID，以 QoS 0 监听，不会确认连接器的任何消息；共享组不参与。')))
  const offer = api.get('live/topics').then(t => { filter.placeholder = t.filters.join(', ').slice(0, 200) })
  offer.catch(note)
  listen()
  return () => { going.abort(); document.removeEventListener('lang', speak) }
}
