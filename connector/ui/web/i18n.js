// The two languages of the page. A text is {en, zh}; plain strings are the same in both.

const key = 'mqtt311.lang'

// first is the language that was chosen on the page, else that of the command that printed the address, which
// a reload remembers, else that of the browser.
function first() {
  let told = /&lang=(en|zh)$/.exec(location.hash)?.[1]
  try {
    const kept = localStorage.getItem(key)
    if (kept == 'en' || kept == 'zh') return kept
    if (told) sessionStorage.setItem(key, told)
    told ??= sessionStorage.getItem(key)
  } catch {} // storage may be forbidden
  if (told == 'en' || told == 'zh') return told
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

export let lang = first()

// isText reports whether a value is a text in both languages.
export const isText = v => v !== null && typeof v == 'object' && typeof v.en == 'string' && typeof v.zh == 'string'

// say returns a text in the language of the page, with {0}, {1} ... replaced.
export function say(text, ...args) {
  const s = isText(text) ? text[lang] : String(text)
  return args.length ? s.replace(/\{(\d)\}/g, (_, i) => isText(args[i]) ? args[i][lang] : args[i]) : s
}

// fill returns a text with {0}, {1} ... replaced in both languages.
export function fill(text, ...args) {
  const one = l => text[l].replace(/\{(\d)\}/g, (_, i) => isText(args[i]) ? args[i][l] : args[i])
  return {en: one('en'), zh: one('zh')}
}

// bind gives an element a text as the property or attribute named, and changes it with the language.
export function bind(el, name, text) {
  el.texts ??= {}
  el.texts[name] = text
  el.dataset.t = ''
  put(el, name, text)
}

function put(el, name, text) {
  if (name == 'textContent') el.textContent = say(text)
  else el.setAttribute(name, say(text))
}

// translate puts the texts below an element into the language of the page.
export function translate(root) {
  for (const el of [root, ...root.querySelectorAll('[data-t]')])
    for (const [name, text] of Object.entries(el.texts ?? {})) put(el, name, text)
}

// speak changes the language where everything stands: nothing is made again, and what has the focus keeps it. Whoever
// has texts of its own listens for the event "lang" of the document.
export function speak(l) {
  lang = l
  try { localStorage.setItem(key, l) } catch {}
  document.documentElement.lang = l == 'zh' ? 'zh-CN' : 'en'
  translate(document.documentElement)
  document.dispatchEvent(new Event('lang'))
}
