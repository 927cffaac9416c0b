package torture

import (
	"net"
	"sync"
	"time"
)

// A proxy is the link between a client and the broker. An act of the nemesis affects its current
// connection and later ones.
type proxy struct {
	ln      net.Listener
	target  string
	who     string // the owner of the link
	log     *journal
	saw     *witness
	patient time.Duration // a client that sends nothing for longer is reported

	mu      sync.Mutex
	changed sync.Cond // broadcast when a field below has changed
	dead    [2]bool   // by direction
	refuse  bool
	hang    bool // connections are accepted, and nothing passes
	delay   time.Duration
	cut     *cut
	pairs   map[*pair]bool
	conns   int
	wait    sync.WaitGroup
}

// The directions.
const (
	up   = 0 // to the broker
	down = 1
)

// A cut ends the connection after a number of further bytes in one direction.
type cut struct {
	way   int
	after int
	hard  bool // with RST
}

// newProxy starts listening. It records what it sees in the journal, under the name of the client.
func newProxy(target, who string, log *journal, patient time.Duration) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, target: target, log: log, who: who, saw: newWitness(log, who), patient: patient, pairs: make(map[*pair]bool)}
	p.changed.L = &p.mu
	p.wait.Go(p.serve)
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) close() {
	p.ln.Close()
	p.change(func() { p.calm() })
	p.cutAll(true)
	p.wait.Wait()
}

// change calls f, which changes the state of the proxy, and wakes the goroutines that wait.
func (p *proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.Broadcast()
}

// awaits reports whether the bytes before the cut are still to come.
func (p *proxy) awaits(c *cut) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut == c
}

// calm lets everything pass. The caller holds mu.
func (p *proxy) calm() {
	p.dead, p.refuse, p.hang, p.delay, p.cut = [2]bool{}, false, false, 0, nil
}

// cutAll ends the open connections.
func (p *proxy) cutAll(hard bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.pairs {
		l.end(nemesis, hard)
	}
	p.changed.Broadcast()
}

func (p *proxy) serve() {
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		client := conn.(*net.TCPConn)
		p.mu.Lock()
		refuse, hang := p.refuse, p.hang
		p.conns++
		l := &pair{p: p, client: client, number: p.conns, over: make(chan struct{})}
		p.mu.Unlock()
		if refuse && !hang {
			client.SetLinger(0)
			client.Close()
			continue
		}
		if !refuse {
			conn, err := net.DialTimeout("tcp", p.target, time.Second)
			if err != nil {
				client.Close()
				continue
			}
			// If nobody listens, a dial on loopback may connect to itself.
			if conn.LocalAddr().String() == p.target {
				conn.Close()
				client.Close()
				continue
			}
			l.broker = conn.(*net.TCPConn)
		}
		p.mu.Lock()
		p.pairs[l] = true
		p.mu.Unlock()
		p.wait.Go(l.run)
	}
}

// A pair is a connection of the client and its connection to the broker, which is nil while the
// connection hangs.
type pair struct {
	p              *proxy
	client, broker *net.TCPConn
	number         int

	once sync.Once
	over chan struct{} // closed by end
	by   string        // who ended it; valid when over is closed
}

func (l *pair) run() {
	var both sync.WaitGroup
	both.Go(func() { l.pump(l.client, l.broker, up) })
	if l.broker != nil {
		both.Go(func() { l.pump(l.broker, l.client, down) })
	}
	both.Wait()
	l.p.log.write(Event{Who: l.p.who, What: closed, Conn: l.number, Text: l.by})
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	delete(l.p.pairs, l)
}

// end closes both connections. The first caller counts as the one who ended the pair. The caller wakes waiting goroutines with change.
func (l *pair) end(by string, hard bool) {
	l.once.Do(func() {
		l.by = by
		close(l.over)
		for _, c := range []*net.TCPConn{l.client, l.broker} {
			if c == nil {
				continue
			}
			if hard {
				c.SetLinger(0)
			}
			c.Close()
		}
	})
}

// mostWaiting is the maximum number of reads held on a dead link.
const mostWaiting = 4096

// pump reads from one end as the bytes arrive, so that the witness knows when they did, and passes
// them on as the nemesis allows.
func (l *pair) pump(from, to *net.TCPConn, way int) {
	pieces := make(chan []byte, mostWaiting)
	var writer sync.WaitGroup
	writer.Go(func() { l.handOn(to, pieces, way) })
	var held []byte
	last := time.Now()
	for {
		b := make([]byte, 4096)
		n, err := from.Read(b)
		if now := time.Now(); way == up {
			if now.Sub(last) > l.p.patient {
				l.p.log.write(Event{Who: l.p.who, What: silence, Conn: l.number, Since: last.UnixNano(), At: now.UnixNano()})
			}
			last = now
		}
		if n > 0 {
			held = l.p.saw.read(append(held, b[:n]...), l.number, way == up)
			pieces <- b[:n]
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	writer.Wait()
	l.end([]string{"client", "broker"}[way], false)
	l.p.change(func() {}) // wakes the other direction
}

// handOn writes the pieces that were read. It drops those of a connection that has ended.
func (l *pair) handOn(to *net.TCPConn, pieces <-chan []byte, way int) {
	for b := range pieces {
		c, delay := l.pass(way, len(b))
		time.Sleep(delay)
		if to == nil || l.isOver() {
			continue
		}
		if c == nil {
			to.Write(b)
			continue
		}
		to.Write(b[:min(c.after, len(b))])
		l.end(nemesis, c.hard)
		l.p.change(func() {})
	}
}

func (l *pair) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// pass waits until a piece of n bytes may pass. It returns the cut if it falls within the piece.
func (l *pair) pass(way, n int) (*cut, time.Duration) {
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.dead[way] && !l.isOver() {
		p.changed.Wait()
	}
	if c := p.cut; c != nil && c.way == way {
		if c.after <= n {
			p.cut = nil
			return c, p.delay
		}
		c.after -= n
	}
	return nil, p.delay
}
