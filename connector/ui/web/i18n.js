// The two languages of the page. A text is {en, zh}; plain strings are the same in both.

const key = 'mqtt311.lang'

// first is the language chosen on the page; if none was chosen, that of the command that printed
// the URL, which survives a reload; and otherwise that of the browser.
function first() {
  let told = /&lang=(en|zh)$/.exec(location.hash)?.[1]
  try {
    const kept = localStorage.getItem(key)
    if (kept == 'en' || kept == 'zh') return kept
    if (told) sessionStorage.setItem(key, told)
    told ??= sessionStorage.getItem(key)
  } catch {} // storage may be disabled
  if (told == 'en' || told == 'zh') return told
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

export let lang = first()

// isText reports whether a value is a text in both languages.
export const isText = v => v !== null && typeof v == 'object' && typeof v.en == 'string' && typeof v.zh == 'string'

// say returns a text in the language of the page, with {0}, {1} and so on replaced.
export function say(text, ...args) {
  const s = isText(text) ? text[lang] : String(text)
  return args.length ? s.replace(/\{(\d)\}/g, (_, i) => isText(args[i]) ? args[i][lang] : args[i]) : s
}

// fill returns a text with {0}, {1} and so on replaced in both languages.
export function fill(text, ...args) {
  const one = l => text[l].replace(/\{(\d)\}/g, (_, i) => isText(args[i]) ? args[i][l] : args[i])
  return {en: one('en'), zh: one('zh')}
}

// bind sets a property or attribute of an element to a text, and updates it when the language
// changes.
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

// translate updates the texts of an element and everything below it to the language of the page.
export function translate(root) {
  for (const el of [root, ...root.querySelectorAll('[data-t]')])
    for (const [name, text] of Object.entries(el.texts ?? {})) put(el, name, text)
}

// speak changes the language in place: no element is made again, so the focus stays where it is.
// Code that shows texts in another way listens for the event "lang" of the document.
export function speak(l) {
  lang = l
  try { localStorage.setItem(key, l) } catch {}
  document.documentElement.lang = l == 'zh' ? 'zh-CN' : 'en'
  translate(document.documentElement)
  document.dispatchEvent(new Event('lang'))
}
