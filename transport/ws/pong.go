package ws

import (
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// pong answers pings without blocking the reader: a server that sends a lot and reads nothing would
// otherwise block both ends. A goroutine exists only while a pong is being written, and only the
// latest ping is answered, as RFC 6455, section 5.5.3 allows, so that a flood of pings needs no
// memory.
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

// run returns when no pong is due, or the connection has ended.
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
		// No deadline of its own: that of the user applies.
		ws.WriteControl(websocket.PongMessage, []byte(data), time.Time{})
	}
}
