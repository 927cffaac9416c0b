// Package clienttest provides a Server for tests of programs that use package client. The test
// controls it packet by packet, over an in-memory Network Connection.
//
// It is meant for a testing/synctest bubble, in which time advances only when all goroutines are
// blocked:
//
//	server := clienttest.NewServer()
//	c, err := client.New(client.Config{Dial: server.Dial, ClientID: "c"})
//	go c.Connect(ctx)
//	conn, err := server.Accept(ctx)
//	connect, err := conn.Handshake(false)
//
// The test must end the client with Abort or Close before the bubble ends; otherwise goroutines are
// left and synctest panics with "deadlock". Close sends DISCONNECT and waits up to two seconds for
// the test to receive it.
//
// A Conn is not buffered: the client's writes block until the test calls Receive. To simulate a
// Server that stops reading, do not call Receive. A [Network] between Client and Server adds delays
// and failures.
package clienttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/mqtt311/mqtt311/packets"
)

// ErrRefused is the error of Dial while the Server refuses connections.
var ErrRefused = errors.New("clienttest: connection refused")

// A Server accepts connections of clients. It is safe for concurrent use.
type Server struct {
	conns chan *Conn
	seen  *identifiers

	mu     sync.Mutex
	refuse error
	dials  int
}

// NewServer returns a Server that accepts connections.
func NewServer() *Server { return &Server{conns: make(chan *Conn), seen: new(identifiers)} }

// Dial opens a connection to the Server, for client.Config.Dial. It waits until the test calls
// Accept.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	s.mu.Lock()
	s.dials++
	err := s.refuse
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	select {
	case s.conns <- newConn(theirs, s.seen):
		return ours, nil
	case <-ctx.Done():
		ours.Close()
		theirs.Close()
		return nil, context.Cause(ctx)
	}
}

// Refuse makes Dial fail with err; nil makes it accept again.
func (s *Server) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

// Dials returns how often Dial was called.
func (s *Server) Dials() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// Accept waits for the next connection of a client and returns it.
func (s *Server) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// A Conn is the Server's end of a Network Connection. One goroutine may send while another
// receives.
type Conn struct {
	net.Conn

	// Raw makes Receive return every packet and answer none.
	Raw bool

	reader *packets.Reader
	seen   *identifiers
}

// identifiers records the Packet Identifiers of QoS 2 messages, on all connections of a Server.
type identifiers struct {
	mu  sync.Mutex
	set map[uint16]bool
}

func (i *identifiers) add(id uint16) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.set == nil {
		i.set = make(map[uint16]bool)
	}
	i.set[id] = true
}

func (i *identifiers) has(id uint16) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.set[id]
}

// NewConn returns a Conn over any connection.
func NewConn(c net.Conn) *Conn { return newConn(c, new(identifiers)) }

func newConn(c net.Conn, seen *identifiers) *Conn {
	return &Conn{Conn: c, reader: packets.NewReader(c, packets.ReaderOptions{}), seen: seen}
}

// Receive waits for the next packet of the client and returns it. The packet is valid until the
// next call.
//
// A client with a persistent session releases Packet Identifiers before it uses them at QoS 2: see
// session.Config.NoScrub. Unless Raw is set, Receive itself answers each PUBREL whose Packet
// Identifier was not used by a QoS 2 message, and does not return it.
func (c *Conn) Receive() (packets.Packet, error) {
	for {
		p, err := c.reader.ReadPacket()
		if err != nil || c.Raw {
			return p, err
		}
		switch p := p.(type) {
		case *packets.Publish:
			if p.QoS == packets.ExactlyOnce {
				c.seen.add(p.PacketID)
			}
		case *packets.Pubrel:
			if !c.seen.has(p.PacketID) {
				if err := c.Send(&packets.Pubcomp{PacketID: p.PacketID}); err != nil {
					return nil, err
				}
				continue
			}
		}
		return p, nil
	}
}

// Send sends the packets in one write.
func (c *Conn) Send(ps ...packets.Packet) error {
	var b []byte
	for _, p := range ps {
		var err error
		if b, err = p.AppendBinary(b); err != nil {
			return err
		}
	}
	_, err := c.Write(b)
	return err
}

// Handshake receives CONNECT, accepts it with CONNACK, and returns it.
func (c *Conn) Handshake(sessionPresent bool) (*packets.Connect, error) {
	p, err := c.Receive()
	if err != nil {
		return nil, err
	}
	connect, ok := p.(*packets.Connect)
	if !ok {
		return nil, fmt.Errorf("clienttest: %s came first, not CONNECT", p.Type())
	}
	return connect, c.Send(&packets.Connack{SessionPresent: sessionPresent})
}
