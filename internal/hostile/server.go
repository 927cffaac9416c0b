// Package hostile has servers that do what a server must not, and budgets for the programs that meet
// them: memory, file descriptors, goroutines, log, processor time. Each server is a row of a table, and
// each row meets the shipped client, the client with a store, and the shipped command, each in a
// process of its own.
package hostile

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/packets"
)

// A Server does something that a server must not do.
type Server struct {
	Name string // of the subtest
	Does string // for the documents: "floods PUBREC and reads nothing"

	Over Carrier
	Bare bool // Script itself handles what lies between TCP and MQTT

	// Cert returns the server's certificate; nil: a good one.
	Cert func(t testing.TB, ca *testcert.Pair) tls.Certificate

	// Script serves a connection, which is closed when it returns.
	Script func(*Conn)

	// Floods means that it sends as much as it can: the victim is judged when it has worked for half a
	// second, or has waited for long.
	Floods bool

	Told string // a regular expression that the log of the victim matches

	// Ends is the exit code with which the command may end when it could not begin and a person has to
	// act; 0: it must not end.
	Ends int

	Budget Budget // zero fields: the usual limits; see [Kind.Budget]
	Lines  int    // more MiB for the command, which writes messages as lines
	Why    string // the reason for the budget
}

// A Carrier is what lies between TCP and MQTT.
type Carrier string

// The carriers.
const (
	TCP   Carrier = ""
	TLS   Carrier = "TLS"
	WS    Carrier = "WebSocket"
	WSS   Carrier = "WebSocket over TLS"
	Socks Carrier = "SOCKS5 proxy"
	HTTP  Carrier = "HTTP proxy"
)

// A Listener runs a Server, until Behave makes it a good one.
type Listener struct {
	Server *Server
	Addr   string

	l     net.Listener
	certs [2]tls.Certificate // the hostile one and a good one

	conns sync.WaitGroup
	count atomic.Int64
	mu    sync.Mutex
	open  map[net.Conn]bool
	over  chan struct{} // closed when it is to behave
	good  chan struct{} // closed when a client was served after that
	once  sync.Once
}

// Listen starts a server that runs until the end of the test.
func Listen(t testing.TB, s *Server, ca *testcert.Pair) *Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	good := ca.Issue(t).TLS()
	l := &Listener{
		Server: s, Addr: ln.Addr().String(), l: ln, certs: [2]tls.Certificate{good, good},
		open: make(map[net.Conn]bool), over: make(chan struct{}), good: make(chan struct{}),
	}
	if s.Cert != nil {
		l.certs[0] = s.Cert(t, ca)
	}
	l.conns.Go(l.accept)
	t.Cleanup(l.close)
	return l
}

func (l *Listener) close() {
	l.Behave()
	l.l.Close()
	l.drop()
	l.conns.Wait()
}

// Behave ends the hostility: it closes the open connections, and further ones are served correctly.
func (l *Listener) Behave() {
	l.mu.Lock()
	select {
	case <-l.over:
	default:
		close(l.over)
	}
	l.mu.Unlock()
	l.drop()
}

func (l *Listener) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		c.Close()
	}
}

// Recovered returns a channel that is closed when a client was served correctly after Behave.
func (l *Listener) Recovered() <-chan struct{} { return l.good }

// Connections returns how many connections there were.
func (l *Listener) Connections() int { return int(l.count.Load()) }

func (l *Listener) accept() {
	for {
		c, err := l.l.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.open[c] = true
		l.mu.Unlock()
		l.conns.Go(func() {
			defer func() {
				c.Close()
				l.mu.Lock()
				delete(l.open, c)
				l.mu.Unlock()
			}()
			l.serve(c)
		})
	}
}

func (l *Listener) serve(under net.Conn) {
	c := &Conn{Conn: under, Under: under, N: int(l.count.Add(1)) - 1, over: l.over, cert: l.certs[0]}
	select {
	case <-l.over:
		c.cert = l.certs[1]
		if c.carry(l.Server.Over) == nil {
			c.Serve(func(p packets.Packet) bool {
				if p.Type() != packets.CONNECT {
					l.once.Do(func() { close(l.good) })
				}
				return false
			})
		}
	default:
		if l.Server.Bare || c.carry(l.Server.Over) == nil {
			l.Server.Script(c)
		}
	}
}

// A Conn is a connection of a Script. Its methods return when the connection has ended. Those that do
// no I/O return when the server is no longer to be hostile.
type Conn struct {
	net.Conn          // carries MQTT
	Under    net.Conn // TCP
	N        int      // how many connections there were before

	cert   tls.Certificate
	over   <-chan struct{}
	reader *packets.Reader
}

// carry sets up the carrier correctly.
func (c *Conn) carry(by Carrier) error {
	switch by {
	case TLS:
		return c.Secure()
	case WS:
		return c.Upgrade()
	case WSS:
		if err := c.Secure(); err != nil {
			return err
		}
		return c.Upgrade()
	case Socks:
		return c.Socks()
	case HTTP:
		return c.Tunnel()
	}
	return nil
}

// Secure performs the TLS handshake.
func (c *Conn) Secure() error {
	secured := tls.Server(c.Conn, &tls.Config{Certificates: []tls.Certificate{c.cert}})
	if err := secured.Handshake(); err != nil {
		return err
	}
	c.Conn = secured
	return nil
}

// Receive reads a packet. It returns nil at the end of the connection.
func (c *Conn) Receive() packets.Packet {
	if c.reader == nil {
		c.reader = packets.NewReader(c.Conn, packets.ReaderOptions{})
	}
	p, err := c.reader.ReadPacket()
	if err != nil {
		return nil
	}
	return p
}

// Until reads packets up to one of type t. It reports false if the connection ends before.
func (c *Conn) Until(t packets.Type) bool {
	for p := c.Receive(); p != nil; p = c.Receive() {
		if p.Type() == t {
			return true
		}
	}
	return false
}

// Accept waits for CONNECT and accepts it.
func (c *Conn) Accept(sessionPresent bool) {
	if c.Receive() != nil {
		c.Say(&packets.Connack{SessionPresent: sessionPresent})
	}
}

// Say sends packets in one write.
func (c *Conn) Say(ps ...packets.Packet) error {
	_, err := c.Write(encode(ps...))
	return err
}

func encode(ps ...packets.Packet) []byte {
	var b []byte
	for _, p := range ps {
		var err error
		if b, err = p.AppendBinary(b); err != nil {
			panic(err) // a mistake in the table of servers
		}
	}
	return b
}

// Drain reads until the end of the connection.
func (c *Conn) Drain() { io.Copy(io.Discard, c.Conn) }

// Hold waits until the server is no longer to be hostile.
func (c *Conn) Hold() { <-c.over }

// Pause waits for d, and reports whether the server is still to be hostile.
func (c *Conn) Pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.over:
		return false
	}
}

// Sip reads n bytes at each interval.
func (c *Conn) Sip(n int, every time.Duration) {
	for b := make([]byte, n); c.Pause(every); {
		if _, err := io.ReadFull(c.Conn, b); err != nil {
			return
		}
	}
}

// Dribble writes b in pieces of n bytes, one at each interval.
func (c *Conn) Dribble(b []byte, n int, every time.Duration) {
	for piece := range slices.Chunk(b, n) {
		if _, err := c.Write(piece); err != nil || !c.Pause(every) {
			return
		}
	}
}

// Flood writes copies of b until the connection ends.
func (c *Conn) Flood(b []byte) { c.Stream(func(int) []byte { return b }) }

// Stream writes what next returns for each number from 0, until the connection ends.
func (c *Conn) Stream(next func(i int) []byte) {
	batch := make([]byte, 0, 64<<10)
	for i := 0; ; {
		batch = batch[:0]
		for len(batch) < 32<<10 {
			batch = append(batch, next(i)...)
			i++
		}
		if _, err := c.Write(batch); err != nil {
			return
		}
	}
}

// Serve answers like a good server, except packets for which except returns true.
func (c *Conn) Serve(except func(packets.Packet) bool) {
	for p := c.Receive(); p != nil; p = c.Receive() {
		if except != nil && except(p) {
			continue
		}
		var err error
		switch p := p.(type) {
		case *packets.Connect:
			err = c.Say(&packets.Connack{SessionPresent: !p.CleanSession && c.N > 0})
		case *packets.Subscribe:
			err = c.Say(granted(p))
		case *packets.Unsubscribe:
			err = c.Say(&packets.Unsuback{PacketID: p.PacketID})
		case *packets.Publish:
			switch p.QoS {
			case packets.AtLeastOnce:
				err = c.Say(&packets.Puback{PacketID: p.PacketID})
			case packets.ExactlyOnce:
				err = c.Say(&packets.Pubrec{PacketID: p.PacketID})
			}
		case *packets.Pubrel:
			err = c.Say(&packets.Pubcomp{PacketID: p.PacketID})
		case *packets.Pingreq:
			err = c.Say(&packets.Pingresp{})
		case *packets.Disconnect:
			return
		}
		if err != nil {
			return
		}
	}
}

func granted(p *packets.Subscribe) *packets.Suback {
	answer := &packets.Suback{PacketID: p.PacketID}
	for _, s := range p.Subscriptions {
		answer.Codes = append(answer.Codes, packets.SubscribeCode(s.QoS))
	}
	return answer
}
