// The tree of topics with the number of messages on each.
import {el, fill} from './dom.js'
import {text} from './schema.js'

// A Tree calls choose with the topic of a branch when it is clicked.
export class Tree {
  constructor(choose) {
    this.choose = choose
    this.element = el('div', {class: 'tree', id: 'topics'})
    this.clear()
  }

  clear() {
    this.counts = new Map() // counts by topic
    this.top = {children: new Map(), count: 0, list: el('ul', {role: 'list'})}
    fill(this.element, this.top.list, this.none = el('p', {class: 'pale'}, text('No message yet.', '尚无消息。')))
  }

  // update adds topics whose counts have changed: [{topic, count}].
  update(topics) {
    for (const t of topics) {
      const more = t.count - (this.counts.get(t.topic) ?? 0)
      this.counts.set(t.topic, t.count)
      this.none.hidden = true
      let at = this.top
      const path = t.topic.split('/').slice(0, 20) // deeper levels count for theirs
      path.forEach((level, i) => {
        let next = at.children.get(level)
        if (!next) at.children.set(level, next = this.branch(at, level, path.slice(0, i + 1).join('/')))
        next.count += more
        next.number.textContent = next.count.toLocaleString('en')
        at = next
      })
    }
  }

  branch(parent, level, topic) {
    const number = el('span', {class: 'number'}), list = el('ul', {role: 'list', hidden: true})
    const open = el('button', {type: 'button', class: 'plain twig', hidden: true, 'aria-expanded': 'true', 'aria-label': text(`Branches of ${topic}`, `${topic} 的下级主题`), onclick: () => {
      list.hidden = !list.hidden
      open.setAttribute('aria-expanded', String(!list.hidden))
    }})
    const item = el('li', {}, el('span', {class: 'row'}, open,
      el('button', {type: 'button', class: 'plain', onclick: () => this.choose(topic)}, level === '' ? '∅' : level), number), list)
    if (parent.children.size == 0 && parent.open) parent.open.hidden = parent.list.hidden = false
    parent.list.append(item)
    return {children: new Map(), count: 0, number, list, open}
  }
}
