// The configuration: its tabs, its findings, its text, and the connection test.
import {el, fill, newID} from './dom.js'
import {Form, finding} from './form.js'
import {fill as fillText} from './i18n.js'
import {note} from './note.js'
import {label, text} from './schema.js'
import {Test} from './test.js'

export const id = 'connector'
export const title = {en: 'Connector', zh: '连接器'}

const readOnly = {
  json: text('The file is JSON: the forms show it, the text can be edited.', '文件是 JSON：表单仅供查看，可编辑文本。'),
  anchors: text('The file has anchors: a value may stand in several places, so the forms show it and the text can be edited.', '文件使用了锚点，一个值可能用在多处：表单仅供查看，可编辑文本。'),
  unreadable: text('The text cannot be read: mend it, then the forms follow.', '文本无法解析：修正后表单随之更新。'),
}

let kept // unsaved changes, while another page is shown

export function mount(root, api) {
  const going = new AbortController()
  let doc, schema, form, panels, saved = '', queue = Promise.resolve()

  const area = el('textarea', {class: 'yaml', disabled: true, spellcheck: false, wrap: 'off', autocomplete: 'off', 'aria-label': text('The configuration as YAML', 'YAML 配置')})
  const banner = el('div', {role: 'status'})
  const list = el('div', {class: 'all'})
  const tabs = el('div', {role: 'tablist', class: 'tabs', 'aria-label': text('Configuration', '配置')})
  const shown = el('div', {class: 'panels'})
  const test = new Test(api, () => settled().then(() => doc.text))
  const saveButton = el('button', {type: 'button', class: 'main', id: 'save', onclick: () => act(save)}, text('Save', '保存'))
  const applyButton = el('button', {type: 'button', id: 'apply', hidden: true, onclick: () => act(apply)}, text('Apply', '应用'))
  const changed = el('span', {class: 'pale', id: 'changed'})

  fill(root,
    el('div', {class: 'toolbar row'},
      test.button, saveButton, applyButton,
      el('button', {type: 'button', id: 'download', onclick: download}, text('Download', '下载')),
      el('button', {type: 'button', id: 'reload', onclick: () => act(load)}, text('Load again', '重新载入')),
      changed),
    banner, test.element,
    el('div', {class: 'split'},
      el('div', {}, tabs, shown),
      el('div', {class: 'beside'}, el('h2', {}, 'YAML'), area, el('h2', {}, text('Findings', '检查结果')), list)))

  // settled waits for pending edits, including what was typed into the focused input.
  function settled() {
    const at = document.activeElement
    if (at?.matches('input[type=text], input[type=password], textarea')) at.dispatchEvent(new Event('change', {bubbles: true}))
    return queue
  }

  async function act(what) {
    await settled()
    try { await what() } catch (e) { if (!going.signal.aborted) note(e) }
  }

  // Edits are made one after the other, each to the text that resulted from the previous one.
  function step(ask) {
    queue = queue.then(ask).then(show, e => { if (!going.signal.aborted) { note(e); show(doc) } })
    return queue
  }

  const edit = (path, value) => step(() => api.post('config/edit', {text: doc.text, path, value}, going.signal))
  const rename = (path, name) => step(() => api.post('config/edit', {text: doc.text, path, rename: name}, going.signal))

  let typing
  const typed = () => {
    clearTimeout(typing)
    typing = undefined
    if (area.value !== doc.text) step(() => api.post('config/check', {text: area.value}, going.signal))
  }
  area.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(typed, 400) })
  area.addEventListener('change', typed)

  function show(view) {
    if (going.signal.aborted) return
    if (view.revision === undefined) view.revision = doc?.revision
    doc = view
    area.disabled = false // anything typed before the text arrived would be lost
    kept = {doc, saved}
    if (area.value !== doc.text && !(document.activeElement == area && typing !== undefined)) area.value = doc.text
    for (const p of panels) p.update(doc.values?.values?.find(v => v.key == p.section)?.values ?? [])
    form.told(doc.findings, Boolean(doc.read_only))
    fill(banner,
      doc.problem && el('p', {class: 'note bad'}, text(doc.problem.en, doc.problem.zh)),
      doc.read_only && el('p', {class: 'note warn'}, readOnly[doc.read_only]),
      doc.withheld && el('p', {class: 'note warn', id: 'withheld'}, fillText(text(
        'Line {0}: what is named here was not in the file when the program started, or belongs to another server. The page shows it and does not use it.',
        '第 {0} 行：此处引用的内容在程序启动时不在文件中，或属于其他服务端。页面仅显示，不会使用。'), [...new Set(doc.withheld.map(w => w.line))].join(', '))))
    fill(list, doc.findings.length ? doc.findings.map(f => el('div', {class: 'one'},
      el('button', {type: 'button', class: 'plain', onclick: () => goTo(f)}, f.line ? `${f.line}:${f.column} ` : '', el('span', {class: 'code'}, f.label || f.path)), finding(f)))
      : el('p', {class: 'good'}, text('No problems found.', '没有发现问题。')))
    const mistakes = doc.findings.filter(f => f.code[0] == 'E').length
    fill(changed, doc.text === saved ? text('Saved', '已保存') : text('Not saved', '未保存'), mistakes ? fillText(text(', mistakes: {0}', '，错误：{0}'), String(mistakes)) : null)
    for (const t of tabs.children) t.querySelector('.count').textContent = count(t.panel)
  }

  const sectionOf = path => /^(connector\.(general|advanced|extension)|\w+)/.exec(path)?.[0]
  const count = panel => doc.findings.filter(f => f.code[0] == 'E' && sectionOf(f.path) == panel.path.join('.')).length || ''

  // goTo focuses the field of a finding, or else its line in the text.
  function goTo(f) {
    const tab = [...tabs.children].find(t => sectionOf(f.path) == t.panel.path.join('.'))
    if (tab) choose(tab)
    const field = [...shown.querySelectorAll('.field')].filter(e => f.path == e.dataset.path || f.path.startsWith(e.dataset.path + '.') || f.path.startsWith(e.dataset.path + '[')).at(-1)
    const input = field && !field.hidden && field.querySelector('input, select, textarea, button')
    if (input) {
      field.closest('details')?.setAttribute('open', '')
      return input.focus()
    }
    const start = area.value.split('\n').slice(0, (f.line || 1) - 1).join('\n').length + (f.line > 1 ? 1 : 0)
    area.focus()
    area.setSelectionRange(start, start)
  }

  function choose(tab) {
    for (const t of tabs.children) {
      t.setAttribute('aria-selected', String(t == tab))
      t.tabIndex = t == tab ? 0 : -1
      t.panel.element.hidden = t != tab
    }
  }

  tabs.addEventListener('keydown', e => {
    const all = [...tabs.children], i = all.indexOf(document.activeElement)
    const to = {ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1}[e.key]
    if (i < 0 || to === undefined) return
    e.preventDefault()
    const next = all[(to + all.length) % all.length]
    choose(next)
    next.focus()
  })

  // The first tabs are the sections of a connection, followed by those for named objects, such as
  // consumers.
  function build() {
    form = new Form(schema, edit, rename)
    const sections = Object.entries(schema.$defs.connection.properties).map(([key, p]) => {
      const c = form.object(p, ['connector', key])
      return {section: 'connector', path: ['connector', key], title: label(key, p), element: c.element, update: vs => c.update(vs.find(v => v.key == key))}
    })
    const named = ['consumers', 'producers', 'connections'].map(key => {
      const c = form.named(key, schema.properties[key], [key])
      return {section: key, path: [key], title: label(key, schema.properties[key]), element: c.element, update: vs => c.update({values: vs})}
    })
    panels = [...sections, ...named]
    for (const p of panels) {
      const tab = el('button', {type: 'button', role: 'tab', id: 'tab-' + p.path.at(-1), onclick: () => choose(tab)}, p.title, ' ', el('span', {class: 'count bad'}))
      tab.panel = p
      p.element = el('div', {role: 'tabpanel', id: newID(), 'aria-labelledby': tab.id}, p.element)
      tab.setAttribute('aria-controls', p.element.id)
      tabs.append(tab)
      shown.append(p.element)
    }
    choose(tabs.children[0])
  }

  async function load() {
    const view = await api.get('config', going.signal)
    saved = view.text
    show(view)
  }

  async function save() {
    const view = await api.post('config/save', {text: doc.text, revision: doc.revision ?? ''}, going.signal)
    saved = view.text
    show(view)
    const mistakes = view.findings.filter(f => f.code[0] == 'E').length
    note(mistakes ? fillText(text('Saved, with mistakes: {0}. The file before is kept beside it, with ~ behind its name.', '已保存，其中有错误：{0} 处。原文件保留在旁边，名称后加 ~。'), String(mistakes))
      : text('Saved. The file before is kept beside it, with ~ behind its name.', '已保存。原文件保留在旁边，名称后加 ~。'), mistakes ? 'warn' : 'good')
  }

  async function apply() {
    const done = await api.post('config/apply', {text: doc.text}, going.signal)
    const names = l => (l ?? []).join(', ') || '-'
    note(fillText(text('Applied: {0}. After a restart: {1}. {2}', '已生效：{0}。重启后生效：{1}。{2}'), names(done.applied), names(done.restart), done.problem ?? ''), done.problem ? 'warn' : 'good')
  }

  function download() {
    settled().then(() => {
      const url = URL.createObjectURL(new Blob([doc.text], {type: 'application/yaml'}))
      const a = el('a', {href: url, download: 'connector.yaml'})
      a.click()
      setTimeout(() => URL.revokeObjectURL(url), 1000)
    })
  }

  const careful = e => { if (doc && doc.text !== saved) e.preventDefault() }
  window.addEventListener('beforeunload', careful)

  ;(async () => {
    try {
      const [s, status] = await Promise.all([api.get('config/schema', going.signal), api.get('status', going.signal)])
      schema = s
      applyButton.hidden = !status.apply
      build()
      if (kept && kept.doc.text !== kept.saved) {
        saved = kept.saved
        show(kept.doc)
      } else await load()
    } catch (e) {
      if (!going.signal.aborted) fill(banner, el('p', {class: 'note bad'}, text(e.en ?? String(e), e.zh ?? String(e))))
    }
  })()

  return () => {
    going.abort()
    test.stop()
    window.removeEventListener('beforeunload', careful)
  }
}
