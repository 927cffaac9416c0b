package torture

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A proxy hands bytes on and breaks connections in the middle of packets: with FIN, with RST, or
// by going silent first.
type proxy struct {
	ln     net.Listener
	target string
	calm   atomic.Bool  // it breaks nothing any more
	cuts   atomic.Int64 // connections that it broke
	count  atomic.Int64 // bytes until passed is closed

	mu     sync.Mutex
	rand   *rand.Rand
	saw    *witness
	conns  map[net.Conn]bool
	passed chan struct{}
	wait   sync.WaitGroup
}

func newProxy(target string, seed uint64) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, target: target, rand: rand.New(rand.NewPCG(seed, 1883)), conns: make(map[net.Conn]bool), saw: newWitness()}
	p.wait.Go(p.serve)
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

// passes returns a channel that is closed when n more bytes have been handed on.
func (p *proxy) passes(n int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed = make(chan struct{})
	p.count.Store(int64(n) + 1)
	return p.passed
}

func (p *proxy) passing(n int) {
	if left := p.count.Add(-int64(n)); left <= 0 && left+int64(n) > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.passed != nil {
			close(p.passed)
			p.passed = nil
		}
	}
}

func (p *proxy) close() {
	p.ln.Close()
	p.cutAll()
	p.wait.Wait()
}

func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) serve() {
	for {
		down, err := p.ln.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.target)
		if err != nil {
			down.Close()
			continue
		}
		p.mu.Lock()
		f := p.fate()
		p.conns[down], p.conns[up] = true, true
		p.mu.Unlock()
		p.wait.Go(func() { p.pair(down, up, f) })
	}
}

// A fate is what happens to a connection: after so many bytes of one direction it is silent for
// a while and then cut.
type fate struct {
	after   [2]int // bytes from the child, and to it; negative: never
	silence time.Duration
	reset   bool
}

// fate draws one. The caller holds mu.
func (p *proxy) fate() fate {
	f := fate{after: [2]int{-1, -1}, reset: p.rand.IntN(2) == 0}
	if p.calm.Load() || p.rand.IntN(4) == 0 {
		return f
	}
	// As many cuts in the first hundred bytes as in the next thousand, and so on.
	f.after[p.rand.IntN(2)] = p.rand.IntN(10 << (p.rand.IntN(4) * 3))
	if p.rand.IntN(4) == 0 {
		f.silence = time.Duration(p.rand.IntN(1000)) * time.Millisecond
	}
	return f
}

// pair hands bytes on in both directions until one ends or the fate is met.
func (p *proxy) pair(down, up net.Conn, f fate) {
	l := &link{p: p, down: down.(*net.TCPConn), up: up.(*net.TCPConn), fate: f}
	var both sync.WaitGroup
	both.Go(func() { l.pump(l.down, l.up, f.after[0], nil) })
	both.Go(func() {
		var held []byte
		l.pump(l.up, l.down, f.after[1], func(b []byte) {
			p.mu.Lock()
			defer p.mu.Unlock()
			held, _ = p.saw.read(append(held, b...)) // what cannot be read is the child's to report
		})
	})
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, down)
	delete(p.conns, up)
}

// A link is a connection of the child and the one to the Server that goes with it.
type link struct {
	p        *proxy
	down, up *net.TCPConn
	fate     fate
	handing  sync.Mutex // held while the connection is silent, too
}

// pump hands on what it reads, up to a byte.
func (l *link) pump(from, to *net.TCPConn, after int, see func([]byte)) {
	defer l.end()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if see != nil {
			see(b[:n])
		}
		cut := after >= 0 && n >= after
		if cut {
			n = after
		} else if after >= 0 {
			after -= n
		}
		if werr := l.hand(to, b[:n], cut); err != nil || werr != nil || cut {
			return
		}
	}
}

func (l *link) hand(to *net.TCPConn, b []byte, cut bool) error {
	l.handing.Lock()
	defer l.handing.Unlock()
	l.p.passing(len(b))
	_, err := to.Write(b)
	if cut && !l.p.calm.Load() {
		l.p.cuts.Add(1)
		time.Sleep(l.fate.silence)
		if l.fate.reset {
			l.down.SetLinger(0)
			l.up.SetLinger(0)
		}
		l.end()
	}
	return err
}

func (l *link) end() {
	l.down.Close()
	l.up.Close()
}
