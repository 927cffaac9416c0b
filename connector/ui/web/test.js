// The connection test (测试连接), which shows each step as it happens.
import {el, fill} from './dom.js'
import {text} from './schema.js'

const steps = {
  parse: text('Address', '地址'), resolve: text('Name resolution', '域名解析'), tcp: text('TCP', 'TCP'), proxy: text('Proxy', '代理'),
  tls: text('TLS', 'TLS'), websocket: text('WebSocket', 'WebSocket'), connect: text('CONNECT', 'CONNECT'), subscribe: text('Subscribe', '订阅'), disconnect: text('Disconnect', '断开'),
}

export class Test {
  // configuration returns a promise of the text to test.
  constructor(api, configuration) {
    this.button = el('button', {type: 'button', id: 'test', onclick: () => this.run(api, configuration)}, text('Test connection', '测试连接'))
    this.element = el('section', {class: 'test', hidden: true, 'aria-live': 'polite', 'aria-label': text('Connection test', '连接测试')})
  }

  stop() { this.going?.abort() }

  async run(api, configuration) {
    this.stop()
    const going = this.going = new AbortController()
    const rows = el('ol', {class: 'steps'}), end = el('p', {class: 'row'})
    const cancel = el('button', {type: 'button', onclick: () => going.abort()}, text('Cancel', '取消'))
    fill(end, text('Testing …', '正在测试…'), cancel)
    fill(this.element, rows, end)
    this.element.hidden = false
    let over = false
    const close = el('button', {type: 'button', class: 'plain', onclick: () => { this.element.hidden = true }}, text('Close', '关闭'))
    const say = (kind, t) => fill(end, el('span', {class: kind}, t), close)
    try {
      await api.stream('config/test', {text: await configuration()}, l => {
        if (l.done) {
          over = true
          const until = l.certificates_expire?.slice(0, 10)
          say(l.ok ? 'good' : 'bad', l.ok
            ? text(`Connected as ${l.client_id}.` + (until ? ` The server's certificate is good until ${until}.` : ''), `连接成功，客户端 ID 为 ${l.client_id}。` + (until ? `服务端证书有效期至 ${until}。` : ''))
            : text('The test failed.', '测试失败。'))
        } else rows.append(l.filter ? grant(l) : row(l))
      }, going.signal)
      if (!over) say('warn', text('The test was ended.', '测试已中止。'))
    } catch (e) {
      say('bad', going.signal.aborted ? text('The test was ended.', '测试已中止。') : text(e.en ?? String(e), e.zh ?? String(e)))
    }
  }
}

function row(l) {
  return el('li', {class: l.ok ? 'good' : 'bad', 'data-step': l.step},
    el('span', {class: 'mark', 'aria-hidden': 'true'}, l.ok ? '✓' : '✗'), ' ',
    l.connection ? l.connection + ': ' : null, steps[l.step] ?? l.step, ' ',
    el('span', {class: 'pale'}, l.address ?? '', ' ', l.ms < 10 ? l.ms.toFixed(1) : Math.round(l.ms), ' ms'),
    l.ok ? el('span', {class: 'hidden'}, text('went well', '成功')) : el('p', {}, el('code', {}, l.type), ' ', l.error, l.hint && el('br', {}), l.hint && text(l.hint.en, l.hint.zh)))
}

function grant(l) {
  return el('li', {class: l.ok ? 'good' : 'bad'}, el('span', {class: 'mark', 'aria-hidden': 'true'}, l.ok ? '✓' : '✗'), ' ', l.consumer, ': ', el('code', {}, l.filter), ' ',
    l.ok ? `QoS ${l.granted}` + (l.granted < l.asked ? ` < ${l.asked}` : '') : l.error)
}
