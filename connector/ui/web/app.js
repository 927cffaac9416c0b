// The frame of the page: navigation, language, colours, and messages to the user.
import * as api from './api.js'
import {el, fill} from './dom.js'
import {bind, lang, say, speak} from './i18n.js'
import pages from './pages.js'
import {note} from './note.js'

const main = el('main', {id: 'main', tabIndex: -1})
const nav = el('nav', {'aria-label': {en: 'Pages', zh: '页面'}})
const file = el('span', {class: 'file'})
let leave // called when the current page is left

const themes = ['auto', 'light', 'dark']
const themeNames = {auto: {en: 'System colours', zh: '跟随系统'}, light: {en: 'Light', zh: '浅色'}, dark: {en: 'Dark', zh: '深色'}}

function paint(theme) {
  document.documentElement.dataset.theme = theme
  try { localStorage.setItem('mqtt311.theme', theme) } catch {}
}

function keptTheme() {
  try {
    const kept = localStorage.getItem('mqtt311.theme')
    if (themes.includes(kept)) return kept
  } catch {}
  return 'auto'
}

function header() {
  const theme = el('select', {'aria-label': {en: 'Colours', zh: '配色'}, onchange: () => paint(theme.value)},
    themes.map(t => {
      const o = el('option', {value: t})
      bind(o, 'textContent', themeNames[t])
      return o
    }))
  theme.value = keptTheme()
  paint(theme.value)
  const language = el('button', {type: 'button', class: 'plain', id: 'language', onclick: () => speak(lang == 'zh' ? 'en' : 'zh')})
  bind(language, 'textContent', {en: '中文', zh: 'English'})
  bind(language, 'lang', {en: 'zh-CN', zh: 'en'})
  return el('header', {}, el('span', {class: 'brand'}, 'mqtt311'), file, nav, el('span', {class: 'tools'}, theme, language))
}

function show() {
  const id = location.hash.replace(/^#\/?/, '').split('/')[0]
  const page = pages.find(p => p.id == id) ?? pages[0]
  leave?.()
  fill(nav, pages.map(p => el('a', {href: '#/' + p.id, 'aria-current': p == page ? 'page' : null}, p.title)))
  const root = el('div', {class: 'page', id: 'page-' + page.id})
  fill(main, el('h1', {class: 'hidden'}, page.title), root)
  document.title = say(page.title) + ' · mqtt311'
  leave = page.mount(root, api)
}

function locked(why) {
  leave?.()
  leave = null
  fill(main, el('h1', {}, {en: 'This page is locked', zh: '页面已锁定'}), el('p', {}, {en: why.en, zh: why.zh}))
}

async function start() {
  const skip = el('a', {class: 'skip', href: '#main', onclick: e => { e.preventDefault(); main.focus() }}, {en: 'Skip to the content', zh: '跳到内容'})
  document.body.append(skip, header(), main, note.element)
  speak(lang)
  document.addEventListener('locked', e => locked(e.detail))
  try {
    await api.login()
    const status = await api.get('status')
    file.textContent = status.file
  } catch (e) {
    if (e.status != 401) note(e)
    return
  }
  window.addEventListener('hashchange', async () => {
    if (location.hash.startsWith('#token=')) await api.login().catch(note)
    show()
    main.focus()
  })
  document.addEventListener('lang', () => {
    const current = pages.find(p => nav.querySelector('[aria-current]')?.hash == '#/' + p.id)
    if (current) document.title = say(current.title) + ' · mqtt311'
  })
  show()
}

start()
