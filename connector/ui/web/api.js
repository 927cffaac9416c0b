// Requests of the page to the server.

// An ApiError is a refusal by the server; en and zh say why.
export class ApiError extends Error {
  constructor(status, en, zh) {
    super(en)
    Object.assign(this, {status, en, zh})
  }
}

async function ask(method, path, body, signal) {
  let r
  try {
    r = await fetch('/api/' + path, {
      method, signal,
      headers: body === undefined ? {} : {'Content-Type': 'application/json'},
      body: body === undefined ? undefined : JSON.stringify(body),
    })
  } catch (e) {
    if (signal?.aborted) throw e
    throw new ApiError(0, 'The program mqtt311 does not answer: perhaps it has ended.', '程序 mqtt311 没有响应，可能已经结束。')
  }
  if (r.ok) return r
  const why = await r.json().catch(() => ({}))
  const e = new ApiError(r.status, why.en ?? r.statusText, why.zh ?? r.statusText)
  if (r.status == 401) document.dispatchEvent(new CustomEvent('locked', {detail: e}))
  throw e
}

export const get = async (path, signal) => (await ask('GET', path, undefined, signal)).json()

export const post = async (path, body = {}, signal) => (await ask('POST', path, body, signal)).json()

// stream calls each with every value that the server sends. It ends when the server has sent all,
// each throws, or the signal aborts.
export async function stream(path, body, each, signal) {
  const r = await ask('POST', path, body ?? {}, signal)
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  try {
    for (;;) {
      const {done, value} = await reader.read()
      if (done) return
      const lines = (rest + value).split('\n')
      rest = lines.pop()
      for (const line of lines) {
        const v = JSON.parse(line)
        if (v.fault) throw new ApiError(0, v.fault.en, v.fault.zh)
        each(v)
      }
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}

// login presents the token from the URL that the program printed, and removes it from the address
// bar.
export async function login() {
  const token = /^#token=(\w+)(?:&lang=\w+)?$/.exec(location.hash)?.[1]
  if (!token) return
  history.replaceState(null, '', location.pathname)
  await post('login', {token})
}
