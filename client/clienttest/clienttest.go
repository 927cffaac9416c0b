// Package clienttest has the other end of a connection for tests of programs that use
// package client: a Server that does exactly what the test says, packet by packet, over
// an in-memory Network Connection.
//
// It works in a bubble of testing/synctest, where time passes only when everything
// waits:
//
//	server := clienttest.NewServer()
//	c, err := client.New(client.Config{Dial: server.Dial, ClientID: "c"})
//	go c.Connect(ctx)
//	conn, err := server.Accept(ctx)
//	connect, err := conn.Handshake(false)
//
// A Conn has no buffer: what the client writes waits until the test receives it, so a
// Server that stops reading is a test that does not call Receive.
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

// A Server accepts the connections of clients. It is safe for concurrent use.
type Server struct {
	conns chan *Conn

	mu     sync.Mutex
	refuse error
	dials  int
}

// NewServer returns a Server that accepts.
func NewServer() *Server { return &Server{conns: make(chan *Conn)} }

// Dial is for client.Config. It waits until the test calls Accept.
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
	case s.conns <- NewConn(theirs):
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

// Accept returns the next connection of a client.
func (s *Server) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// A Conn is the Server's end of a Network Connection. One goroutine may send and one
// receive.
type Conn struct {
	net.Conn
	reader *packets.Reader
}

// NewConn returns the Server's end over any connection.
func NewConn(c net.Conn) *Conn {
	return &Conn{Conn: c, reader: packets.NewReader(c, packets.ReaderOptions{})}
}

// Receive returns the next packet of the client. It is valid until the next call.
func (c *Conn) Receive() (packets.Packet, error) { return c.reader.ReadPacket() }

// Send sends packets in one write.
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

// Handshake receives CONNECT and accepts it.
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
