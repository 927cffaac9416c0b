// Package hostile has servers that do what a server must not, and budgets for the programs that meet
// them: memory, file descriptors, goroutines, log, processor time. Each server is a row of a table, and
// each row meets the shipped client, the client with a store, and the shipped command, in processes of
// their own.
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

// A Server is one that does something a server must not do.
type Server struct {
	Name string // of the test
	Does string // for a person: "floods PUBREC and reads nothing"

	Over Carrier
	Bare bool // Script itself does what lies between TCP and MQTT

	// Cert is the server's certificate; nil: a good one.
	Cert func(t testing.TB, ca *testcert.Pair) tls.Certificate

	// Script serves a connection, which is closed when it returns.
	Script func(*Conn)

	// Floods says that it sends as much as it can: the victim is judged when it has worked for half a
	// second, or has waited for long.
	Floods bool

	Told string // a regular expression that fits what the victim logs

	// Ends is the exit code with which the command may end, because it could not begin and a human has to
	// look; 0: it goes on.
	Ends int

	Budget Budget // zero fields: the usual; see [Kind.Budget]
	Lines  int    // MiB more for the command, which writes messages as lines
	Why    string // the budget is another one
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
	certs [2]tls.Certificate // the hostile one, and a good one

	conns sync.WaitGroup
	count atomic.Int64
	mu    sync.Mutex
	open  map[net.Conn]bool
	over  chan struct{} // closed when it is to be a good one
	good  chan struct{} // closed when that has served a client
	once  sync.Once
}

// Listen starts a server, which ends with the test.
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

// Behave ends the hostility: open connections are closed, and further ones are served properly.
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

// Recovered is closed when a client was served well after Behave.
func (l *Listener) Recovered() <-chan struct{} { return l.good }

// Connections returns how many there were.
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

// A Conn is a connection of a Script. Its methods return when the connection has ended or, where they
// do nothing on it, when the test does not want the server to be hostile any more.
type Conn struct {
	net.Conn          // that carries MQTT
	Under    net.Conn // TCP
	N        int      // how many came before it

	cert   tls.Certificate
	over   <-chan struct{}
	reader *packets.Reader
}

// carry does what lies between TCP and MQTT as it should be done.
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

// Secure does the TLS handshake.
func (c *Conn) Secure() error {
	secured := tls.Server(c.Conn, &tls.Config{Certificates: []tls.Certificate{c.cert}})
	if err := secured.Handshake(); err != nil {
		return err
	}
	c.Conn = secured
	return nil
}

// Receive reads a packet; nil when there is none any more.
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

// Until reads packets up to one of a type. It reports false when there is none any more.
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

// Drain reads to the end.
func (c *Conn) Drain() { io.Copy(io.Discard, c.Conn) }

// Hold does nothing.
func (c *Conn) Hold() { <-c.over }

// Pause waits, and reports whether the server is to be hostile still.
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

// Sip reads n bytes now and then.
func (c *Conn) Sip(n int, every time.Duration) {
	for b := make([]byte, n); c.Pause(every); {
		if _, err := io.ReadFull(c.Conn, b); err != nil {
			return
		}
	}
}

// Dribble writes b in pieces of n bytes now and then.
func (c *Conn) Dribble(b []byte, n int, every time.Duration) {
	for piece := range slices.Chunk(b, n) {
		if _, err := c.Write(piece); err != nil || !c.Pause(every) {
			return
		}
	}
}

// Flood writes copies of b.
func (c *Conn) Flood(b []byte) { c.Stream(func(int) []byte { return b }) }

// Stream writes what next returns for each number from 0.
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

// Serve answers as a good server does, but for packets of which except returns true.
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
