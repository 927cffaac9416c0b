package proofs

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A wire stands between a connector and a broker: it passes bytes on unchanged, reads along, and
// cuts connections when it is told to.
type wire struct {
	t      *testing.T
	broker string
	addr   string // for the connector

	mu    sync.Mutex
	conns []*passage
	seen  []sight
	relay sync.WaitGroup

	// onPacket, if set, is told each packet of the connector or the broker after it was passed
	// on, one at a time; true cuts its connection.
	onPacket func(s sight) bool
	telling  sync.Mutex
}

// A sight is a packet that passed.
type sight struct {
	conn   int // counts connections
	client bool
	kind   packets.Type
	id     uint16
	qos    packets.QoS
	dup    bool
}

// A passage is one connection through the wire.
type passage struct {
	client, server net.Conn

	once sync.Once
	cuts chan struct{} // closed when it was cut
	over chan struct{} // closed when the broker is done with it
}

// newWire listens. It is closed, and everything that it relays ends, with the test.
func newWire(t *testing.T, broker string, onPacket func(sight) bool) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{t: t, broker: broker, addr: l.Addr().String(), onPacket: onPacket}
	w.relay.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			w.settle()
			server, err := net.Dial("tcp", broker)
			if err != nil {
				client.Close()
				continue
			}
			w.mu.Lock()
			p := &passage{client: client, server: server, cuts: make(chan struct{}), over: make(chan struct{})}
			w.conns = append(w.conns, p)
			n := len(w.conns)
			w.mu.Unlock()
			w.relay.Go(func() { w.pass(n, p, true) })
			w.relay.Go(func() { w.pass(n, p, false) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cut()
		w.relay.Wait()
	})
	return w
}

// pass relays one direction, packet by packet as far as it looks.
func (w *wire) pass(n int, p *passage, client bool) {
	from, to := p.server, p.client
	if client {
		from, to = to, from
	}
	defer p.cut()
	r := packets.NewReader(io.TeeReader(from, to), packets.ReaderOptions{})
	for {
		packet, err := r.ReadPacket()
		if err != nil {
			return
		}
		s := see(packet)
		s.conn, s.client = n, client
		w.mu.Lock()
		w.seen = append(w.seen, s)
		w.mu.Unlock()
		if w.tell(s) {
			return
		}
	}
}

func (w *wire) tell(s sight) (cut bool) {
	w.telling.Lock()
	defer w.telling.Unlock()
	return w.onPacket != nil && w.onPacket(s)
}

func see(p packets.Packet) sight {
	s := sight{kind: p.Type()}
	switch p := p.(type) {
	case *packets.Publish:
		s.id, s.qos, s.dup = p.PacketID, p.QoS, p.Dup
	case *packets.Puback:
		s.id = p.PacketID
	case *packets.Pubrec:
		s.id = p.PacketID
	case *packets.Pubrel:
		s.id = p.PacketID
	case *packets.Pubcomp:
		s.id = p.PacketID
	}
	return s
}

// cut ends every connection of now, and returns the number of the newest.
func (w *wire) cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.conns {
		p.cut()
	}
	return len(w.conns)
}

// cut ends the connection at once for the connector. The broker still gets what was written.
func (p *passage) cut() {
	p.once.Do(func() {
		close(p.cuts)
		p.client.Close()
		p.server.(*net.TCPConn).CloseWrite()
		go func() {
			defer close(p.over)
			io.Copy(io.Discard, p.server)
			p.server.Close()
		}()
	})
}

// settle waits until the broker is done with what was cut: it would not read the rest of a
// connection whose session goes on with another.
func (w *wire) settle() {
	w.mu.Lock()
	all := slices.Clone(w.conns)
	w.mu.Unlock()
	for _, p := range all {
		select {
		case <-p.cuts:
			<-p.over
		default:
		}
	}
}

// newest returns the number of the newest connection.
func (w *wire) newest() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

// ids returns the identifiers of the packets that fit, in their order.
func (w *wire) ids(fits func(sight) bool) (ids []uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		if fits(s) {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// count returns how many packets fit.
func (w *wire) count(fits func(sight) bool) int { return len(w.ids(fits)) }

// from returns what fits a packet of the connector.
func from(kind packets.Type) func(sight) bool {
	return func(s sight) bool { return s.client && s.kind == kind }
}

// to returns what fits a packet of the broker; of PUBLISH those of a QoS.
func to(kind packets.Type, qos packets.QoS) func(sight) bool {
	return func(s sight) bool { return !s.client && s.kind == kind && (kind != packets.PUBLISH || s.qos == qos) }
}
