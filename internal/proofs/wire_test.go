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

// A wire is a proxy between a connector and a broker: it passes bytes on unchanged, decodes them,
// and cuts connections on request.
type wire struct {
	t      *testing.T
	broker string
	addr   string // for the connector

	mu    sync.Mutex
	conns []*passage
	seen  []sight
	relay sync.WaitGroup

	// onPacket, if not nil, is called with each packet from the connector or the broker after it was
	// passed on, one at a time. If it returns true, the connection is cut.
	onPacket func(s sight) bool
	telling  sync.Mutex
}

// A sight is a packet that has passed.
type sight struct {
	conn   int // number of the connection
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
	cuts chan struct{} // closed when it is cut
	over chan struct{} // closed when the broker has closed its end
}

// newWire starts a wire. It is closed, with everything that it relays, when the test ends.
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

// pass relays one direction, a packet at a time as far as it can decode them.
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

// cut ends every open connection, and returns the number of the newest.
func (w *wire) cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.conns {
		p.cut()
	}
	return len(w.conns)
}

// cut ends the connection for the connector at once. The broker still gets the bytes that were
// written.
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

// settle waits until the broker has finished with the connections that were cut: it would not read
// the rest of a connection whose session has moved to another one.
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

// ids returns the identifiers of the packets for which fits reports true, in order.
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

// count returns the number of packets for which fits reports true.
func (w *wire) count(fits func(sight) bool) int { return len(w.ids(fits)) }

// from matches packets of a type from the connector.
func from(kind packets.Type) func(sight) bool {
	return func(s sight) bool { return s.client && s.kind == kind }
}

// to matches packets of a type from the broker; PUBLISH only at the given QoS.
func to(kind packets.Type, qos packets.QoS) func(sight) bool {
	return func(s sight) bool { return !s.client && s.kind == kind && (kind != packets.PUBLISH || s.qos == qos) }
}
