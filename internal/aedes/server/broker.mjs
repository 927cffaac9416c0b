// node broker.mjs CERTIFICATE KEY: a broker on free loopback ports, told on one line of JSON.
import { Aedes } from 'aedes'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { WebSocketServer, createWebSocketStream } from 'ws'

const broker = await Aedes.createBroker()
const websocket = server => {
  const w = new WebSocketServer({ server, handleProtocols: offered => offered.has('mqtt') && 'mqtt' })
  w.on('connection', (conn, request) => {
    const stream = createWebSocketStream(conn)
    stream.on('error', () => {})
    broker.handle(stream, request)
  })
  return server
}
const [cert, key] = process.argv.slice(2).map(name => fs.readFileSync(name))
const servers = { tcp: net.createServer(broker.handle), ws: websocket(http.createServer()), wss: websocket(https.createServer({ cert, key })) }
const ports = {}
for (const [name, server] of Object.entries(servers)) {
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  ports[name] = server.address().port
}
console.log(JSON.stringify(ports))
