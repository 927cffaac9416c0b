// Forms for the values of a configuration. A control is {element, update(value)}. A value is the
// server's description of a value in the file, {key, word, kind, text, values}, or undefined.
import {el, fill, newID, set} from './dom.js'
import {say} from './i18n.js'
import {blank, choiceText, choices, conditions, help, kind, label, open, spelled, text} from './schema.js'

const placeholder = /<secret-[a-z0-9]+-\d+>/
const child = (v, key) => v?.values?.find(c => c.key == key)

// A Form makes controls. edit(path, value) changes a value in the file, and rename(path, name) a
// name.
export class Form {
  constructor(schema, edit, rename) {
    Object.assign(this, {schema, edit, rename, findings: new Map(), readOnly: false, rows: []})
  }

  // told shows the findings next to their fields.
  told(findings, readOnly) {
    this.readOnly = readOnly
    this.rows = this.rows.filter(r => r.element.isConnected || r.keep?.())
    for (const r of this.rows) r.told(findings, readOnly)
  }

  // object makes the fields of an object of the schema, those of the platform first.
  object(p, path) {
    const q = open(this.schema, p), depends = conditions(q)
    const fields = Object.entries(q.properties).map(([key, property]) => ({key, property, ...this.field(key, property, [...path, key], q)}))
    const mixed = !q['x-platform'] && fields.some(f => f.property['x-platform'])
    const own = fields.filter(f => !mixed || f.property['x-platform']), more = fields.filter(f => !own.includes(f))
    const element = el('div', {class: 'fields'}, own.map(f => f.element))
    if (more.length) element.append(el('details', {}, el('summary', {}, text('Extensions', '扩展配置')), more.map(f => f.element)))
    const update = v => {
      for (const f of fields) {
        const value = child(v, f.key), on = depends[f.key]
        f.update(value)
        const state = on && (child(v, on.key)?.text ?? String(open(this.schema, q.properties[on.key]).default ?? ''))
        const word = on && spelled(this.schema, q.properties[on.key], truth(state))
        f.element.hidden = Boolean(on) && !on.values.includes(word) && (!value || value.kind == 'null')
      }
    }
    return {element, update}
  }

  // field makes a row: the label, the control, the help text, and the findings.
  field(key, p, path, around) {
    const q = {...open(this.schema, p)}, id = newID(), k = kind(this.schema, p)
    const c = this[k](p, path, id)
    const required = around.required?.includes(key)
    const wrong = el('div', {class: 'findings', id: id + 'w'})
    const hint = help(q)
    const group = c.group
    const name = el(group ? 'span' : 'label', {for: group ? null : id, id: id + 'l', class: 'name'}, label(key, p),
      required && el('span', {class: 'bad', 'aria-hidden': 'true'}, ' *'))
    const about = el('div', {class: 'help', id: id + 'h'}, hint)
    const element = el('div', {class: 'field ' + k, 'data-path': path.join('.')}, name,
      el('div', {class: 'control'}, c.element, about, wrong))
    const input = c.input ?? c.element
    set(input, {'aria-describedby': `${id}h ${id}w`, 'aria-required': required && !group && input.type != 'checkbox' ? 'true' : null})
    if (group) set(input, {role: 'group', 'aria-labelledby': id + 'l'})
    const at = path.reduce((s, part) => /^\d+$/.test(part) ? `${s}[${part}]` : s ? `${s}.${part}` : part, '')
    const leaf = !['object', 'names', 'store'].includes(k)
    this.rows.push({
      element, keep: () => element.closest('.page') || !element.parentNode,
      told: (findings, readOnly) => {
        const mine = findings.filter(f => f.path == at || leaf && (f.path.startsWith(at + '.') || f.path.startsWith(at + '[')))
        fill(wrong, mine.map(finding))
        element.classList.toggle('wrong', mine.some(f => f.code[0] == 'E'))
        if (!group) set(input, {'aria-invalid': mine.some(f => f.code[0] == 'E') ? 'true' : null})
        for (const e of c.element.matches('input, select, textarea, button') ? [c.element] : c.element.querySelectorAll('input, select, textarea, button')) {
          if (e.closest('.field') == element) e.disabled = readOnly
        }
      },
    })
    return {element, update: c.update}
  }

  // typed sends what is typed into an input, after a short pause and at the latest when the input
  // loses the focus.
  typed(input, path, value = v => v === '' ? null : v) {
    let timer, last
    const send = () => {
      clearTimeout(timer)
      timer = undefined
      if (input.value === last) return
      last = input.value
      this.edit(path, value(input.value))
    }
    input.addEventListener('focus', () => { last = input.value })
    input.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(send, 350) })
    input.addEventListener('change', send)
    return v => { if (document.activeElement != input && timer === undefined && input.value !== v) input.value = v }
  }

  text(p, path, id) {
    const q = open(this.schema, p)
    const input = el('input', {id, type: 'text', autocomplete: 'off', spellcheck: false, maxLength: q.maxLength})
    const put = this.typed(input, path, v => v === '' ? null : q.name == 'duration' && /^\d{1,15}$/.test(v) ? Number(v) : v)
    return {element: input, update: v => put(v?.kind == 'text' ? v.text : '')}
  }

  number(p, path, id) {
    const input = el('input', {id, type: 'text', inputMode: 'numeric', autocomplete: 'off', class: 'short'})
    const put = this.typed(input, path, v => v === '' ? null : /^-?\d{1,15}$/.test(v) ? Number(v) : v)
    return {element: input, update: v => put(v?.text ?? '')}
  }

  switch(p, path, id) {
    const input = el('input', {id, type: 'checkbox', onchange: () => this.edit(path, input.checked)})
    return {element: input, update: v => { input.checked = v?.kind == 'text' ? truth(v.text) == 'true' : open(this.schema, p).default === true }}
  }

  choice(p, path, id) {
    const words = choices(this.schema, p), q = open(this.schema, p)
    const usual = q.default !== undefined && choiceText(this.schema, p, q.default)
    const unset = el('option', {value: '', textContent: usual ? text(`(${usual.en})`, `（${usual.zh}）`) : text('(not set)', '（未设置）')})
    const select = el('select', {id, onchange: () => this.edit(path, select.value === '' ? null : select.value)}, unset,
      words.map(w => el('option', {value: w, textContent: choiceText(this.schema, p, w)})))
    return {element: select, update: v => {
      const word = v?.kind == 'text' ? spelled(this.schema, p, v.text) : ''
      if (word && ![...select.options].some(o => o.value == word)) select.append(el('option', {value: word}, word))
      select.value = word
    }}
  }

  // suggested is a text field that suggests common values.
  suggested(p, path, id) {
    const list = el('datalist', {id: id + 'd'}, choices(this.schema, p).map(w => el('option', {value: w})))
    const input = el('input', {id, type: 'text', autocomplete: 'off', list: list.id})
    const put = this.typed(input, path, v => v === '' ? null : v == 'true' ? true : v == 'false' ? false : v)
    return {element: el('div', {}, input, list), input, update: v => put(v?.text ?? '')}
  }

  // secret is a field for a secret, which is never shown, or for its source.
  secret(p, path, id) {
    const hidden = path.at(-1) == 'password' || Boolean(open(this.schema, p).writeOnly)
    return this.sourced(path, id, {text: text('Text', '文本'), file: text('File', '文件'), env: text('Variable', '环境变量'), exec: text('Command', '命令')}, 'text', hidden)
  }

  // file is a field for a path, PEM text, or its source.
  file(p, path, id) {
    return this.sourced(path, id, {path: text('File', '文件'), pem: text('PEM text', 'PEM 文本'), env: text('Variable', '环境变量'), exec: text('Command', '命令')}, 'path')
  }

  sourced(path, id, sources, plain, hidden) {
    const input = el(sources.pem ? 'textarea' : 'input', {id, rows: 1, autocomplete: 'off', spellcheck: false})
    if (hidden) set(input, {type: 'password', autocomplete: 'new-password'})
    const source = el('select', {'aria-label': text('Source', '来源')}, Object.entries(sources).map(([k, t]) => el('option', {value: k, textContent: t})))
    const clear = el('button', {type: 'button', hidden: true, onclick: () => this.edit(path, null)}, text('Remove', '移除'))
    const pick = sources.pem && el('input', {type: 'file', 'aria-label': text('Take the text of a file', '读取本地文件'), onchange: async () => {
      if (pick.files[0]) this.edit(path, {pem: await pick.files[0].text()})
      pick.value = ''
    }})
    const value = v => v === '' ? null : source.value == plain ? v : {[source.value]: v}
    const put = this.typed(input, path, value)
    const look = () => {
      if (hidden) input.type = source.value == 'text' ? 'password' : 'text'
      input.readOnly = source.value == 'exec'
      if (pick) pick.hidden = source.value != 'pem'
      if (sources.pem) input.rows = source.value == 'pem' ? 4 : 1
    }
    source.addEventListener('change', () => { input.value = ''; look(); input.focus() })
    const update = v => {
      const inner = v?.kind == 'object' ? v.values?.find(c => sources[c.key]) : v?.kind == 'text' ? {key: plain, text: v.text} : undefined
      if (document.activeElement != source && (inner || document.activeElement != input)) {
        if (inner) source.value = inner.key
        look()
      }
      const shown = inner?.kind == 'list' ? inner.values.map(c => c.text).join(' ') : inner?.text ?? ''
      const kept = placeholder.test(shown) && inner.key != 'exec' && shown.replace(placeholder, '') === ''
      clear.hidden = !inner
      input.placeholder = kept ? say(text('set; type to replace it', '已设置，输入即可替换')) : ''
      put(kept ? '' : shown)
    }
    look()
    return {element: el('div', {class: 'row'}, source, input, pick, clear), input, update}
  }

  // list has a row for each item, and one to add another.
  list(p, path, id) {
    const items = open(this.schema, p).items, object = items.oneOf?.find(f => f.properties)
    const rows = el('div', {class: 'items'})
    let controls = [], count = 0
    const add = el('button', {type: 'button', onclick: () => {
      controls.push(row(controls.length))
      rows.append(controls.at(-1).element)
      controls.at(-1).input.focus()
    }}, text('Add', '添加'))
    const row = i => {
      const at = [...path, String(i)]
      const qos = object?.properties.qos && el('select', {'aria-label': text('QoS of this topic', '该主题的 QoS'), onchange: () => send(input.value)},
        el('option', {value: '', textContent: text('(as below)', '（同下）')}), choices(this.schema, object.properties.qos).map(w => el('option', {value: w}, w)))
      const item = v => qos?.value ? {topic: v, qos: qos.value} : v
      const send = v => count == 0 ? this.edit(path, [item(v)]) : this.edit(at, item(v))
      const input = el('input', {type: 'text', autocomplete: 'off', spellcheck: false, 'aria-labelledby': id + 'l'})
      let timer, last = ''
      const now = () => {
        clearTimeout(timer)
        timer = undefined
        if (input.value !== last && (input.value !== '' || i < count)) send(last = input.value)
      }
      input.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(now, 350) })
      input.addEventListener('change', now)
      const element = el('div', {class: 'row'}, input, qos, el('button', {type: 'button', 'aria-label': text('Remove', '移除'), onclick: () => {
        if (i < count) this.edit(at, null)
        else { element.remove(); controls = controls.filter(c => c.element != element) }
      }}, '×'))
      return {element, input, update: v => {
        const shown = v.kind == 'object' ? child(v, 'topic')?.text ?? '' : v.text ?? ''
        if (document.activeElement != input && timer === undefined) input.value = last = shown
        if (qos) qos.value = spelled(this.schema, object.properties.qos, child(v, 'qos')?.text ?? '')
      }}
    }
    const update = v => {
      const values = v?.kind == 'list' ? v.values ?? [] : v?.kind == 'text' ? [v] : []
      if (values.length < count) { // after a removal, the remaining rows have other indexes
        fill(rows)
        controls = []
      }
      count = values.length
      while (controls.length < count) {
        controls.push(row(controls.length))
        rows.append(controls.at(-1).element)
      }
      values.forEach((item, i) => controls[i].update(item))
    }
    return {element: el('div', {class: 'list'}, rows, add), update, group: true}
  }

  // names is for an object whose keys the user chooses and whose values are secrets.
  names(p, path, id) {
    const rows = el('div', {class: 'items'}), property = open(this.schema, p).additionalProperties
    let keys = '', controls = new Map()
    const name = el('input', {type: 'text', autocomplete: 'off', 'aria-label': text('Name', '名称')})
    const add = el('button', {type: 'button', onclick: () => {
      if (name.value.trim()) this.edit([...path, name.value.trim()], '')
      name.value = ''
    }}, text('Add', '添加'))
    const update = v => {
      const values = v?.values ?? []
      const now = JSON.stringify(values.map(c => c.key))
      if (now != keys) {
        keys = now
        controls = new Map()
        fill(rows, values.map(({key}) => {
          const id = newID(), c = this.secret(property, [...path, key], id)
          controls.set(key, c)
          return el('div', {class: 'row'}, el('label', {for: id, class: 'code'}, key), c.element)
        }))
      }
      values.forEach(c => controls.get(c.key).update(c))
    }
    return {element: el('div', {}, rows, el('div', {class: 'row'}, name, add)), update, group: true}
  }

  // store is a choice between a word and an object.
  store(p, path) {
    const forms = open(this.schema, p).oneOf, object = forms.find(f => f.properties), word = String(forms.find(f => f.const !== undefined).const)
    const inner = this.object(object, path)
    const key = object.required[0]
    const select = el('select', {'aria-label': text('Kind', '类型'), onchange: () => {
      if (select.value == word) this.edit(path, null)
      else inner.element.hidden = false
    }}, el('option', {value: word}, word), el('option', {value: key, textContent: label(key, object.properties[key])}))
    return {element: el('div', {}, select, inner.element), group: true, update: v => {
      if (document.activeElement != select) select.value = v?.kind == 'object' ? key : word
      inner.element.hidden = select.value == word
      inner.update(v)
    }}
  }

  // named makes a card for each name chosen by the user, and a form to add another.
  named(key, p, path) {
    const property = p.additionalProperties, cards = el('div', {})
    const title = label(key, p)
    let names = '', controls = new Map()
    const name = el('input', {type: 'text', autocomplete: 'off', id: newID()})
    const add = el('form', {class: 'row', onsubmit: e => {
      e.preventDefault()
      const n = name.value.trim()
      if (!n || controls.has(n)) return name.focus()
      name.value = ''
      this.edit([...path, n], blank(this.schema, property))
    }}, el('label', {for: name.id}, text('Name', '名称')), name, el('button', {type: 'submit'}, text('Add', '添加')))
    const card = n => {
      const at = [...path, n], q = open(this.schema, property)
      const parts = q.properties.general // a connection has sections
        ? Object.entries(q.properties).map(([k, section]) => ({key: k, c: this.object(section, [...at, k]), title: label(k, section)}))
        : [{c: this.object(property, at)}]
      const rename = el('input', {type: 'text', value: n, autocomplete: 'off', 'aria-label': text('Name', '名称'), onchange: () => {
        const to = rename.value.trim()
        if (to && to != n) this.rename(at, to)
        else rename.value = n
      }})
      const remove = el('button', {type: 'button', onclick: () => this.edit(at, null)}, text('Remove', '移除'))
      const element = el('section', {class: 'card', 'aria-label': n}, el('div', {class: 'row head'}, rename, remove),
        parts.map(part => [part.title && el('h2', {}, part.title), part.c.element]))
      return {element, update: v => parts.forEach(part => part.c.update(part.key ? child(v, part.key) : v))}
    }
    const update = v => {
      const values = v?.values ?? []
      const now = JSON.stringify(values.map(c => c.key))
      if (now != names) {
        const old = controls
        names = now
        controls = new Map(values.map(c => [c.key, old.get(c.key) ?? card(c.key)]))
        fill(cards, values.map(c => controls.get(c.key).element))
      }
      values.forEach(c => controls.get(c.key).update(c))
    }
    return {element: el('div', {'aria-label': title, role: 'group'}, cards, add), update}
  }
}

// truth returns "true" or "false" for the text of a switch in the file, or the text itself if it is
// neither.
function truth(s) {
  const t = String(s ?? '').trim().toLowerCase()
  if (['true', 'yes', 'on', '是', '启用', '开启', '真'].includes(t)) return 'true'
  if (['false', 'no', 'off', '否', '禁用', '关闭', '假'].includes(t)) return 'false'
  return s
}

// finding shows an error or a warning, with advice.
export function finding(f) {
  return el('p', {class: 'finding ' + (f.code[0] == 'E' ? 'bad' : 'warn')}, el('code', {}, f.code), ' ', text(f.message, f.message_zh), ' ', el('span', {class: 'fix'}, text('→ ' + f.fix, '→ ' + f.fix_zh)))
}
