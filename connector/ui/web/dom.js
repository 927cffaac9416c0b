import {bind, isText} from './i18n.js'

// el makes an element. Properties whose names begin with "on" are listeners; those with a "-" in
// their name, and "role", "for" and "list", are attributes; all others are properties of the
// element. A text {en, zh} changes with the language. Children are elements and texts, and texts
// are never parsed as markup. Attributes and children that are null, undefined or false are left
// out.
export function el(tag, props, ...children) {
  const e = document.createElement(tag)
  set(e, props)
  add(e, ...children)
  return e
}

// svg makes an SVG element.
export function svg(tag, attributes, ...children) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes ?? {})) e.setAttribute(name, value)
  add(e, ...children)
  return e
}

const attribute = name => name.includes('-') || name == 'role' || name == 'for' || name == 'list'
const absent = v => v === null || v === undefined || v === false

// set sets properties of an element, as el does.
export function set(e, props) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value)
    else if (isText(value)) bind(e, name, value)
    else if (name == 'class') e.className = value
    else if (attribute(name)) absent(value) ? e.removeAttribute(name) : e.setAttribute(name, value)
    else if (value !== undefined) e[name] = value
  }
}

function add(e, ...children) {
  for (const c of children.flat(Infinity)) {
    if (absent(c)) continue
    if (isText(c)) {
      const span = document.createElement('span')
      bind(span, 'textContent', c)
      e.append(span)
    } else e.append(c)
  }
}

// fill replaces the children of an element.
export function fill(e, ...children) {
  e.replaceChildren()
  add(e, ...children)
}

let ids = 0

// newID returns an id for an element that another one refers to.
export const newID = () => 'e' + ++ids
