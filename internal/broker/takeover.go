package broker

import (
	"net"
	"sync"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// A takeover keeps a session from changing hands while a message is passed on. The server acknowledges a message before it
// passes it on. If another connection takes over the session in between, it copies the session without the message, which is then
// added to the original and lost.
type takeover struct {
	mochi.HookBase

	mu      sync.Mutex // guards the following fields
	changed sync.Cond
	taking  map[net.Conn]bool // connections that are about to get their session
	came    map[net.Conn]bool // connections that publish a message; true: it is acknowledged, and is being passed on
	passing int               // how many of came are true
}

func newTakeover() *takeover {
	t := &takeover{taking: make(map[net.Conn]bool), came: make(map[net.Conn]bool)}
	t.changed.L = &t.mu
	return t
}

func (t *takeover) ID() string { return "takeover" }

func (t *takeover) Provides(b byte) bool {
	switch b {
	case mochi.OnPublish, mochi.OnPacketSent, mochi.OnPublished, mochi.OnSessionEstablish, mochi.OnPacketEncode:
		return true
	}
	return false
}

// OnPublish is called before a message is acknowledged.
func (t *takeover) OnPublish(c *mochi.Client, p packets.Packet) (packets.Packet, error) {
	if p.FixedHeader.Qos > 0 && !c.Net.Inline {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.came[c.Net.Conn] = false
	}
	return p, nil
}

// OnPacketSent is called after each packet. After an acknowledgement the message is passed on.
func (t *takeover) OnPacketSent(c *mochi.Client, p packets.Packet, _ []byte) {
	if kind := p.FixedHeader.Type; kind != packets.Puback && kind != packets.Pubrec {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if passing, ok := t.came[c.Net.Conn]; !ok || passing {
		return
	}
	for len(t.taking) > 0 {
		t.changed.Wait()
	}
	t.came[c.Net.Conn] = true
	t.passing++
}

// OnPublished is called when a message was passed on.
func (t *takeover) OnPublished(c *mochi.Client, _ packets.Packet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.came[c.Net.Conn] {
		t.passing--
		t.changed.Broadcast()
	}
	delete(t.came, c.Net.Conn)
}

// OnSessionEstablish is called before a connection gets its session.
func (t *takeover) OnSessionEstablish(c *mochi.Client, _ packets.Packet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taking[c.Net.Conn] = true
	for t.passing > 0 {
		t.changed.Wait()
	}
}

// OnPacketEncode is called before each packet is sent. Before a CONNACK that accepts, the connection has its session.
func (t *takeover) OnPacketEncode(c *mochi.Client, p packets.Packet) packets.Packet {
	if p.FixedHeader.Type == packets.Connack && p.ReasonCode == packets.CodeSuccess.Code {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.took(c.Net.Conn)
	}
	return p
}

func (t *takeover) took(c net.Conn) {
	delete(t.taking, c)
	t.changed.Broadcast()
}

// closed is called when a connection has ended, possibly while its message is still being passed on.
func (t *takeover) closed(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if passing := t.came[c]; !passing {
		delete(t.came, c)
	}
	t.took(c)
}
