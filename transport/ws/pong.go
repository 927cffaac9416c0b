package ws

import (
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// pong answers pings without ever holding up the reader: a server that sends
// much and reads nothing would otherwise stop both ends. There is a goroutine
// only while a pong is being written, and only the newest ping is answered, as
// RFC 6455, section 5.5.3 allows, so that a flood of them costs no memory.
type pong struct {
	mu   sync.Mutex
	due  bool
	busy bool
	data string
}

func (p *pong) answer(ws *websocket.Conn, data string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due, p.data = true, data
	if !p.busy {
		p.busy = true
		go p.run(ws)
	}
}

// run ends when nothing is due, or with the connection.
func (p *pong) run(ws *websocket.Conn) {
	for {
		p.mu.Lock()
		if !p.due {
			p.busy = false
			p.mu.Unlock()
			return
		}
		data := p.data
		p.due = false
		p.mu.Unlock()
		// Without a deadline of its own: that of the user holds.
		ws.WriteControl(websocket.PongMessage, []byte(data), time.Time{})
	}
}
