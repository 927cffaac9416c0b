package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/stretchr/testify/require"
)

// A failing connection reads and writes until it is told to fail.
type failing struct {
	net.Conn
	err atomic.Pointer[error]
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if e := f.err.Load(); e != nil && err != nil {
		return n, *e
	}
	return n, err
}

// fail makes Read return err.
func (f *failing) fail(err error) {
	f.err.Store(&err)
	f.Conn.SetReadDeadline(time.Now())
}

// Ways in which a connection that is up can end: who ended it, whether that counts against the message that
// was out, and that the message is told done on the next connection all the same.
func TestWhoEndedTheConnection(t *testing.T) {
	sys := func(err error) func(*dialogue, *failing) {
		return func(_ *dialogue, f *failing) { f.fail(&net.OpError{Op: "read", Err: err}) }
	}
	for _, row := range []struct {
		name string
		end  func(*dialogue, *failing)
		by   session.EndedBy
		err  string
	}{
		{"end of stream", func(d *dialogue, _ *failing) { d.cut() }, session.ByPeer, "EOF"},
		{"end within a packet", func(d *dialogue, _ *failing) { d.conn.Write([]byte{0x40, 2, 0}); d.cut() }, session.ByPeer, "unexpected EOF"},
		{"DISCONNECT", func(d *dialogue, _ *failing) { d.conn.Send(&packets.Disconnect{}) }, session.ByPeer, "DISCONNECT"},
		{"reset", sys(syscall.ECONNRESET), session.ByPeer, "reset"},
		{"broken pipe", sys(syscall.EPIPE), session.ByPeer, "pipe"},
		{"TLS alert", func(_ *dialogue, f *failing) {
			f.fail(&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")})
		}, session.ByPeer, "bad certificate"},
		{"what came breaks TLS", func(_ *dialogue, f *failing) {
			f.fail(&net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")})
		}, session.ByUs, "MAC"},
		{"WebSocket close frame", func(_ *dialogue, f *failing) { f.fail(&ws.CloseError{Code: 1008, Reason: "no"}) }, session.ByPeer, "1008"},
		{"text frame on WebSocket", func(_ *dialogue, f *failing) { f.fail(&ws.ProtocolError{Reason: "a text frame came"}) }, session.ByUs, "text frame"},
		{"time-out of the system", sys(syscall.ETIMEDOUT), session.ByNetwork, "timed out"},
		{"unreachable network", sys(syscall.ENETUNREACH), session.ByNetwork, "unreachable"},
		{"unreachable host", sys(syscall.EHOSTUNREACH), session.ByNetwork, "host"},
		{"aborted", sys(syscall.ECONNABORTED), session.ByNetwork, "abort"},
		{"what nobody knows", func(_ *dialogue, f *failing) { f.fail(errors.New("modem: no carrier")) }, session.ByNetwork, "no carrier"},
		{"no PINGRESP", func(d *dialogue, _ *failing) { io.Copy(io.Discard, d.conn) }, session.ByUs, "ping timeout"},
		{"malformed packet", func(d *dialogue, _ *failing) { d.conn.Write([]byte{0x30, 4, 0, 2, '+', 'a'}) }, session.ByUs, `"+a"`},
		{"too large a packet", func(d *dialogue, _ *failing) { d.conn.Write([]byte{0x30, 0xFF, 0xFF, 0x7F}) }, session.ByUs, "limit"},
		{"second CONNACK", func(d *dialogue, _ *failing) { d.conn.Send(&packets.Connack{}) }, session.ByUs, "CONNACK"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var server *clienttest.Server
			var f *failing
			cfg := client.Config{KeepAlive: 10 * time.Second, MaxPacketSize: 1000, Dial: func(ctx context.Context) (net.Conn, error) {
				conn, err := server.Dial(ctx)
				if err != nil {
					return nil, err
				}
				f = &failing{Conn: conn}
				return f, nil
			}}
			inBubble(t, cfg, func(d *dialogue) {
				server = d.server
				up := d.start(func() error { return d.client.Connect(d.ctx) })
				d.accept(false)
				require.NoError(t, up())
				done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
				d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
				row.end(d, f)
				go io.Copy(io.Discard, d.conn)
				d.accept(true)
				d.expect(`PUBLISH "t" qos=1 id=1 dup=1 size=1`)
				d.send(&packets.Puback{PacketID: 1})
				require.NoError(t, done())
				synctest.Wait()
				lost, suspected := 0, 0
				for _, e := range d.events {
					switch {
					case e.Kind == client.ConnectionLost:
						lost++
						require.Equal(t, row.by, e.By, "%v", e)
						require.ErrorContains(t, e.Err, row.err)
					case e.Session != nil && e.Session.Kind == session.EventPoisonSuspected:
						suspected++
					}
				}
				require.Equal(t, 1, lost)
				require.Equal(t, row.by == session.ByPeer, suspected == 1, "suspected %d times", suspected)
			})
		})
	}
}

// An answer that came before the Server closed counts, though the writer meets the end first.
func TestAnswerBeforeTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	var suspected atomic.Int32
	c, err := client.New(client.Config{ClientID: "c", NoReconnect: true, OnEvent: func(e client.Event) {
		if e.Session != nil && e.Session.Kind == session.EventPoisonSuspected {
			suspected.Add(1)
		}
	}, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}})
	require.NoError(t, err)
	defer c.Abort()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s := clienttest.NewConn(conn)
		s.Handshake(false)
		s.Receive()
		s.Send(&packets.Puback{PacketID: 1})
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}()
	require.NoError(t, c.Connect(t.Context()))
	require.NoError(t, c.Publish(t.Context(), message("t", 1, "x")))
	<-c.Done()
	require.Zero(t, suspected.Load())
}

// The same over real sockets and layers: the Server closes each as it can.
func TestWhoEndedARealConnection(t *testing.T) {
	for name, row := range map[string]struct {
		serve func(t *testing.T, handle func(net.Conn, func())) (dial func(context.Context) (net.Conn, error))
		by    session.EndedBy
	}{
		"TCP, end":          {serveTCP(func(c net.Conn) { c.Close() }), session.ByPeer},
		"TCP, reset":        {serveTCP(func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }), session.ByPeer},
		"TLS, close_notify": {serveTLS(func(c net.Conn) { c.Close() }), session.ByPeer},
		"TLS, torn":         {serveTLS(func(c net.Conn) { c.(*tls.Conn).NetConn().Close() }), session.ByPeer},
		"TLS, garbage": {serveTLS(func(c net.Conn) {
			c.(*tls.Conn).NetConn().Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)))
		}), session.ByUs},
		"WebSocket, close frame": {serveWS(func(c *websocket.Conn) {
			c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1008, "no"), time.Now().Add(time.Second))
		}), session.ByPeer},
		"WebSocket, torn":       {serveWS(func(c *websocket.Conn) { c.NetConn().Close() }), session.ByPeer},
		"WebSocket, text frame": {serveWS(func(c *websocket.Conn) { c.WriteMessage(websocket.TextMessage, []byte("x")) }), session.ByUs},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan client.Event, 1)
			dial := row.serve(t, func(conn net.Conn, end func()) {
				s := clienttest.NewConn(conn)
				if _, err := s.Handshake(false); err != nil {
					return
				}
				s.Receive()
				end()
			})
			c, err := client.New(client.Config{ClientID: "c", NoReconnect: true, Dial: dial, OnEvent: func(e client.Event) {
				if e.Kind == client.ConnectionLost {
					ended <- e
				}
			}})
			require.NoError(t, err)
			defer c.Abort()
			require.NoError(t, c.Connect(t.Context()))
			_, err = c.PublishAsync(t.Context(), message("t", 1, "x"))
			require.NoError(t, err)
			select {
			case e := <-ended:
				require.Equal(t, row.by, e.By, "%v", e)
			case <-time.After(10 * time.Second):
				t.Fatal("the connection did not end")
			}
		})
	}
}

type serving func(t *testing.T, handle func(net.Conn, func())) func(context.Context) (net.Conn, error)

func serveTCP(end func(net.Conn)) serving {
	return func(t *testing.T, handle func(net.Conn, func())) func(context.Context) (net.Conn, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		go accepting(l, handle, end)
		return dialTCP(l.Addr().String())
	}
}

func serveTLS(end func(net.Conn)) serving {
	return func(t *testing.T, handle func(net.Conn, func())) func(context.Context) (net.Conn, error) {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{testcert.SelfSigned(t).TLS()}})
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		go accepting(l, handle, end)
		return func(ctx context.Context) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", l.Addr().String())
		}
	}
}

func accepting(l net.Listener, handle func(net.Conn, func()), end func(net.Conn)) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	handle(conn, func() { end(conn) })
}

func serveWS(end func(*websocket.Conn)) serving {
	return func(t *testing.T, handle func(net.Conn, func())) func(context.Context) (net.Conn, error) {
		up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := up.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			handle(&wsServerConn{conn.NetConn(), conn, nil}, func() { end(conn) })
		}))
		t.Cleanup(s.Close)
		dial, err := ws.Dialer("ws"+strings.TrimPrefix(s.URL, "http")+"/mqtt", nil)
		require.NoError(t, err)
		return dial
	}
}

// A wsServerConn is the Server's end as a stream of bytes.
type wsServerConn struct {
	net.Conn
	ws   *websocket.Conn
	rest []byte
}

func (c *wsServerConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			return 0, err
		}
		c.rest = data
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *wsServerConn) Write(b []byte) (int, error) {
	return len(b), c.ws.WriteMessage(websocket.BinaryMessage, b)
}

func dialTCP(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
}

// deadLink answers PINGREQ until a packet of the type came, and nothing from then on.
func (d *dialogue) deadLink(until packets.Type) {
	d.Helper()
	for seen := false; ; {
		p, err := d.conn.Receive()
		if err != nil {
			require.True(d, seen, "%v", err)
			return
		}
		switch {
		case p.Type() == until:
			seen = true
		case p.Type() == packets.PINGREQ && !seen:
			d.send(&packets.Pingresp{})
		}
	}
}

// Links that die over a message or a filter give up neither.
func TestDeadLinksGiveUpNothing(t *testing.T) {
	connected(t, client.Config{KeepAlive: 10 * time.Second}, func(d *dialogue) {
		published := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		for range 4 {
			d.deadLink(packets.PUBLISH)
			d.accept(true)
		}
		d.expect(`PUBLISH "t" qos=1 id=1 dup=1 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, published())
	})
	connected(t, client.Config{KeepAlive: 10 * time.Second}, func(d *dialogue) {
		subscribed := d.start(func() error {
			_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a"})
			return err
		})
		for range 7 {
			d.deadLink(packets.SUBSCRIBE)
			d.accept(true)
		}
		p, err := d.conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{0}})
		require.NoError(t, subscribed())
	})
}

// Abort is ours: it counts against nothing, and forgets no message that the Store has.
func TestAbortForgetsNothing(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk, NoScrub: true, KeepAlive: 10 * time.Minute}, func(d *dialogue) {
		r, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
		require.NoError(t, err)
		<-r.Accepted()
		for range 2 {
			p, err := d.conn.Receive()
			require.NoError(t, err)
			require.Equal(t, packets.PUBLISH, p.Type())
			d.cut()
			d.accept(true)
		}
		d.expect("PINGREQ")
		d.send(&packets.Pingresp{})
		d.expect(`PUBLISH "t" qos=1 id=1 dup=1 size=1`)
		d.client.Abort()
		<-r.Done()
		require.ErrorIs(t, r.Err(), client.ErrStored)
		kept := 0
		for k := range disk.kept {
			if k[0] == byte(session.RecordPublish) {
				kept++
			}
		}
		require.Equal(t, 1, kept, "the message is still on disk")
	})
}

// A slowRoom is a Store that takes its time to make room.
type slowRoom struct {
	*slowDisk
	takes time.Duration
}

func (s *slowRoom) Room(int) error { time.Sleep(s.takes); return nil }

// Room that takes long delays no PINGREQ, no Stats, no context and no Abort.
func TestSlowRoom(t *testing.T) {
	connected(t, client.Config{KeepAlive: time.Second, Store: &slowRoom{newDisk(), 15 * time.Second}}, func(d *dialogue) {
		published := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		last := time.Now()
		for begun := time.Now(); time.Since(begun) < 12*time.Second; last = time.Now() {
			d.expect("PINGREQ")
			require.LessOrEqual(t, time.Since(last), time.Second)
			d.send(&packets.Pingresp{})
			asked := time.Now()
			_ = d.client.Stats()
			require.Zero(t, time.Since(asked))
		}
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		asked := time.Now()
		err := d.client.Publish(ctx, message("t", 1, "y"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.True(t, client.SafeToRetry(err), err)
		require.Equal(t, time.Second, time.Since(asked))
		go io.Copy(io.Discard, d.conn)
		d.client.Abort()
		err = published()
		require.ErrorIs(t, err, client.ErrClosed)
		require.True(t, client.SafeToRetry(err), err)
		time.Sleep(15 * time.Second) // for Room to return
		synctest.Wait()
	})
}
