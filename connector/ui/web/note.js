import {el, fill} from './dom.js'

const place = el('div', {class: 'notes', role: 'status', 'aria-live': 'polite'})

// note shows a message, a text {en, zh} or an ApiError, until the user closes it or another message
// replaces it.
export function note(what, kind = what instanceof Error ? 'bad' : 'good') {
  const text = what.en === undefined ? String(what) : {en: what.en, zh: what.zh}
  const close = el('button', {type: 'button', class: 'plain', 'aria-label': {en: 'Close', zh: '关闭'}, onclick: () => fill(place)}, '×')
  fill(place, el('div', {class: 'note ' + kind}, el('span', {}, text), close))
}

note.element = place
