package client_test

import (
	"context"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A dialogue is a client and its Server in a bubble: time is exact, and a goroutine
// that is left behind fails the test.
type dialogue struct {
	*testing.T
	ctx    context.Context
	server *clienttest.Server
	client *client.Client
	conn   *clienttest.Conn
	events []client.Event
}

// inBubble runs a dialogue with a client that is not connected yet, and closes the
// client at its end.
func inBubble(t *testing.T, cfg client.Config, talk func(d *dialogue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &dialogue{T: t, ctx: t.Context(), server: clienttest.NewServer()}
		if cfg.Dial == nil {
			cfg.Dial = d.server.Dial
		}
		if cfg.ClientID == "" && !cfg.CleanSession {
			cfg.ClientID = "c"
		}
		user := cfg.OnEvent
		cfg.OnEvent = func(e client.Event) {
			d.events = append(d.events, e)
			if user != nil {
				user(e)
			}
		}
		c, err := client.New(cfg)
		require.NoError(t, err)
		d.client = c
		talk(d)
		c.Abort()
		if d.conn != nil {
			d.conn.Close()
		}
		synctest.Wait()
	})
}

// connected runs a dialogue with a client that the Server accepted.
func connected(t *testing.T, cfg client.Config, talk func(d *dialogue)) {
	t.Helper()
	inBubble(t, cfg, func(d *dialogue) {
		result := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, result())
		talk(d)
	})
}

// start runs f beside the dialogue; the returned function waits for its result.
func (d *dialogue) start(f func() error) func() error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	return func() error {
		select {
		case err := <-ch:
			return err
		case <-time.After(time.Hour):
			d.Helper()
			d.Fatal("nothing came of it within an hour")
			return nil
		}
	}
}

// accept takes the next connection and accepts its CONNECT.
func (d *dialogue) accept(sessionPresent bool) *packets.Connect {
	d.Helper()
	conn, err := d.server.Accept(d.ctx)
	require.NoError(d, err)
	d.conn = conn
	p, err := conn.Handshake(sessionPresent)
	require.NoError(d, err)
	synctest.Wait()
	return p
}

// expect receives the next packet and compares its text.
func (d *dialogue) expect(texts ...string) {
	d.Helper()
	for _, text := range texts {
		d.conn.SetReadDeadline(time.Now().Add(time.Hour))
		p, err := d.conn.Receive()
		require.NoError(d, err, "want %s", text)
		require.Equal(d, text, p.String())
	}
}

// expectNothing lets time pass in which nothing may come but PINGREQ.
func (d *dialogue) expectNothing(for_ time.Duration) {
	d.Helper()
	d.conn.SetReadDeadline(time.Now().Add(for_))
	p, err := d.conn.Receive()
	if err == nil {
		d.Fatalf("came: %s", p)
	}
	require.ErrorContains(d, err, "timeout")
}

func (d *dialogue) send(ps ...packets.Packet) {
	d.Helper()
	require.NoError(d, d.conn.Send(ps...))
	synctest.Wait()
}

// cut ends the connection from the Server's side.
func (d *dialogue) cut() {
	d.conn.Close()
	synctest.Wait()
}

// expectEnd receives until the client has closed the connection.
func (d *dialogue) expectEnd() {
	d.Helper()
	_, err := d.conn.Receive()
	require.ErrorIs(d, err, io.EOF)
}

func message(topic string, qos packets.QoS, payload string) client.Message {
	return client.Message{Topic: topic, QoS: qos, Payload: []byte(payload)}
}

func goroutines() int { return runtime.NumGoroutine() }

// listen runs a server over TCP that accepts every CONNECT and answers every packet.
func listen(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				c := clienttest.NewConn(conn)
				if _, err := c.Handshake(false); err != nil {
					return
				}
				for {
					p, err := c.Receive()
					if err != nil {
						return
					}
					answer(c, p)
				}
			}()
		}
	}()
	return l.Addr().String()
}
