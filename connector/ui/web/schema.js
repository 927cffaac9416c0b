// The schema of a configuration, from which the forms take their order, labels, help texts and
// choices.

export const text = (en, zh = en) => ({en, zh})

// label returns the label of a property.
export function label(key, p) {
  const en = p?.title ?? key
  return text(en, p?.['x-label-zh'] ?? en)
}

// help returns the help text of a property, with its default, or null.
export function help(p) {
  const en = [], zh = []
  if (p.description && p['x-description-zh']) en.push(p.description), zh.push(p['x-description-zh'])
  if (p.examples) en.push('for example ' + p.examples.join(', ')), zh.push('例如 ' + p.examples.join('、'))
  if (p.default !== undefined && typeof p.default != 'boolean') en.push('default: ' + p.default), zh.push('默认值：' + p.default)
  return en.length ? text(en.join('; '), zh.join('；')) : null
}

// open returns a property with its $ref resolved.
export function open(schema, p) {
  if (!p.$ref) return p
  const name = p.$ref.slice('#/$defs/'.length)
  return {...schema.$defs[name], ...p, name}
}

// kind returns the kind of control for a property: the name of a method of Form.
export function kind(schema, p) {
  const q = open(schema, p)
  const forms = q.anyOf ?? q.oneOf ?? []
  const names = forms.map(f => f.$ref?.slice('#/$defs/'.length))
  if (q.name == 'secret' || q.name == 'file') return q.name
  if (names.includes('file')) return 'file'
  if (q.name == 'duration' || q.type == 'string') return 'text'
  if (q.enum) return 'choice'
  if (q.type == 'boolean') return 'switch'
  if (q.type == 'integer') return 'number'
  if (q.type == 'array') return 'list'
  if (q.type == 'object') return q.properties ? 'object' : 'names'
  if (forms.some(f => f.properties)) return 'store'
  return 'suggested'
}

// choices returns the words of a choice, without numbers and Chinese words, which are other
// spellings.
export function choices(schema, p) {
  const q = open(schema, p)
  const all = q.enum ?? (q.anyOf ?? []).flatMap(f => choices(schema, f))
  if (q.type == 'boolean') return ['true', 'false']
  if (q.const !== undefined) return [String(q.const)]
  const words = all.filter(w => typeof w == 'string')
  return words.filter(w => !/[^\x00-\x7f]/.test(w))
}

// choiceText returns the text to show for a word of a choice. The schema may list the words of the
// platform in the same order.
export function choiceText(schema, p, word) {
  const words = choices(schema, p), others = (open(schema, p).enum ?? []).filter(w => typeof w == 'string' && !words.includes(w))
  return text(word, others.length == words.length ? others[words.indexOf(word)] ?? word : word)
}

// spelled returns the word of a choice that a value in the file means, or the value itself if that
// is unclear.
export function spelled(schema, p, value) {
  const words = choices(schema, p)
  const folded = s => String(s).toLowerCase().replace(/[\s_-]/g, '')
  const q = open(schema, p)
  const numbers = (q.enum ?? (q.anyOf ?? []).flatMap(f => open(schema, f).enum ?? [])).filter(w => typeof w == 'number')
  const i = numbers.map(String).indexOf(value)
  const j = words.findIndex(w => choiceText(schema, p, w).zh == value)
  return words.find(w => folded(w) == folded(value)) ?? words[i] ?? words[j] ?? value
}

// conditions returns the switch that each property of an object depends on according to the schema:
// {field: {key, values}}.
export function conditions(q) {
  const out = {}
  const wanted = p => p?.const !== undefined ? [String(p.const)] : p?.enum?.map(String)
  const only = o => Object.entries(o?.properties ?? {})[0]
  for (const rule of [...(q.allOf ?? []), ...(q.if ? [q] : [])]) {
    const [key, p] = only(rule.if) ?? []
    if (key) {
      const fields = rule.else?.not?.anyOf?.map(f => f.required[0]) ?? rule.then.required
      for (const f of fields) out[f] = {key, values: wanted(p)}
      continue
    }
    const [on, condition] = only(rule.then) ?? []
    if (!on || !wanted(condition)) continue
    for (const f of rule.if.anyOf ?? [rule.if]) out[f.required[0]] = {key: on, values: wanted(condition)}
  }
  return out
}

// blank returns the smallest value for a property of the schema.
export function blank(schema, p) {
  const q = open(schema, p)
  if (q.type == 'array') return []
  if (q.type != 'object') return ''
  return Object.fromEntries((q.required ?? []).map(k => [k, blank(schema, q.properties[k])]))
}
