// Payloads, which may contain any bytes.

export const bytesOf = base64 => Uint8Array.from(atob(base64 ?? ''), c => c.charCodeAt(0))

export const base64Of = text => btoa(Array.from(new TextEncoder().encode(text), c => String.fromCharCode(c)).join(''))

// textOf returns bytes as text, or undefined if they are not UTF-8. Unless whole, they are only a
// beginning, which may end within a character.
export function textOf(bytes, whole) {
  try { return new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes, {stream: !whole}) } catch {}
}

export function hexOf(bytes) {
  const lines = []
  for (let i = 0; i < bytes.length; i += 16) {
    const part = bytes.subarray(i, i + 16)
    lines.push(i.toString(16).padStart(8, '0') + '  ' + Array.from(part, b => b.toString(16).padStart(2, '0')).join(' ').padEnd(47) + '  ' +
      Array.from(part, b => b < 0x20 || b > 0x7e ? '.' : String.fromCharCode(b)).join(''))
  }
  return lines.join('\n')
}

const deepest = 40 // maximum number of levels to indent

// pretty returns JSON with a line for each value, or undefined if the text is not JSON. Strings and
// numbers are kept as written, because JavaScript would round large numbers.
export function pretty(json) {
  try { JSON.parse(json) } catch { return }
  let out = '', depth = 0, opened = false
  const line = () => { out += '\n' + '  '.repeat(Math.min(depth, deepest)) }
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    const closes = token == '}' || token == ']'
    if (closes) depth--
    if (opened != closes) line()
    opened = token == '{' || token == '['
    if (opened) depth++
    out += token + (token == ':' ? ' ' : '')
    if (token == ',') line()
  }
  return out.trim()
}
