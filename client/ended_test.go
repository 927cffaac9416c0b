package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/stretchr/testify/require"
)

// A failing connection works until fail is called.
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

// The ways in which an established connection can end: who ended it, and whether that counts against the
// unacknowledged message. In every case the message is completed on the next connection.
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

// The ways in which the client ends an established connection: which event it reports, and which error
// the caller of Publish gets. Only a close by the Server counts against the message.
func TestWhoEndsTheLastConnection(t *testing.T) {
	broken, disk := errors.New("input/output error"), newDisk()
	for _, row := range []struct {
		name string
		deaf bool // the Server reads nothing more
		cfg  client.Config
		end  func(*dialogue)
		kind client.EventKind
		by   session.EndedBy // if lost
		err  string
		told []error // by Publish
	}{
		{"Abort", false, client.Config{}, func(d *dialogue) { d.client.Abort() },
			client.ConnectionLost, session.ByUs, "closed", []error{client.ErrUnknown, client.ErrClosed}},
		{"Close", false, client.Config{}, func(d *dialogue) { d.client.Close(timeout(d.ctx, 3*time.Second)) },
			client.Disconnected, session.ByUs, "", []error{client.ErrUnknown, client.ErrClosed}},
		{"Close to a Server that reads nothing", true, client.Config{}, func(d *dialogue) {
			d.client.Close(timeout(d.ctx, 10*time.Second))
		}, client.ConnectionLost, session.ByUs, "closed", []error{client.ErrUnknown, client.ErrClosed}},
		{"Store failed", false, client.Config{Store: disk}, func(d *dialogue) {
			disk.set(func() { disk.fails = broken })
			require.ErrorIs(d, d.client.SaveNote(d.ctx, "n", []byte("x")), broken)
		}, client.ConnectionLost, session.ByUs, "input/output error", []error{client.ErrStored, client.ErrStoreFailed, broken}},
		{"write time-out", true, client.Config{NoReconnect: true, WriteTimeout: 5 * time.Second, KeepAlive: -1}, func(d *dialogue) {
			d.client.PublishAsync(d.ctx, message("u", 0, "y"))
		}, client.ConnectionLost, session.ByUs, "i/o timeout", []error{client.ErrUnknown, client.ErrConnectionLost, os.ErrDeadlineExceeded}},
		{"the Server, and nothing follows", false, client.Config{NoReconnect: true}, func(d *dialogue) { d.cut() },
			client.ConnectionLost, session.ByPeer, "EOF", []error{client.ErrUnknown, client.ErrConnectionLost, io.EOF}},
	} {
		t.Run(row.name, func(t *testing.T) {
			connected(t, row.cfg, func(d *dialogue) {
				done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
				d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
				synctest.Wait()
				if !row.deaf {
					go io.Copy(io.Discard, d.conn)
				}
				row.end(d)
				<-d.client.Done()
				err := done()
				for _, want := range row.told {
					require.ErrorIs(t, err, want)
				}
				require.False(t, client.SafeToRetry(err), err)
				require.Equal(t, 1, strings.Count(err.Error(), "client: "), err)
				require.True(t, strings.HasPrefix(err.Error(), `client: publish "t": s`), err) // sent or stored
				synctest.Wait()
				ends := 0
				for _, e := range d.events {
					switch {
					case e.Kind == client.ConnectionLost || e.Kind == client.Disconnected:
						ends++
						require.Equal(t, row.kind, e.Kind)
						if row.err != "" {
							require.ErrorContains(t, e.Err, row.err)
						}
						require.Equal(t, row.by, e.By, "%v", e)
					case e.Session != nil:
						require.Equal(t, row.by == session.ByPeer, e.Session.Kind == session.EventPoisonSuspected, "%v", e)
					}
				}
				require.Equal(t, 1, ends)
			})
		})
	}
}

// The ways in which a connection ends before the Server accepts it: which error Connect returns. None
// counts against a waiting message, which is sent on the next connection.
func TestWhoEndsAConnectionThatIsNotUp(t *testing.T) {
	answer := func(b ...byte) func(*dialogue, *clienttest.Conn) {
		return func(_ *dialogue, c *clienttest.Conn) { c.Write(b); c.Close() }
	}
	for _, row := range []struct {
		name string
		end  func(*dialogue, *clienttest.Conn)
		err  error
		text string
	}{
		{"refused by CONNACK", answer(0x20, 2, 0, 5), &client.RefusedError{Code: packets.NotAuthorized}, "not authorized"},
		{"end of stream", answer(), io.EOF, "closed"},
		{"end within CONNACK", answer(0x20, 2), io.ErrUnexpectedEOF, "unexpected EOF"},
		{"another packet", answer(0xD0, 0), nil, "PINGRESP"},
		{"malformed CONNACK", answer(0x20, 2, 2, 0), nil, "CONNACK"},
		{"not MQTT", answer([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")...), nil, "MQTT"},
		{"silence", func(d *dialogue, c *clienttest.Conn) { time.Sleep(5 * time.Second) }, client.ErrConnectTimeout, "timeout"},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, client.Config{ConnectTimeout: 5 * time.Second, ConnectRetry: true}, func(d *dialogue) {
				up := d.start(func() error { return d.client.Connect(d.ctx) })
				done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
				conn, err := d.server.Accept(d.ctx)
				require.NoError(t, err)
				_, err = conn.Receive()
				require.NoError(t, err)
				row.end(d, conn)
				d.accept(false)
				require.NoError(t, up())
				d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
				d.send(&packets.Puback{PacketID: 1})
				require.NoError(t, done())
				synctest.Wait()
				failed := 0
				for _, e := range d.events {
					require.NotEqual(t, client.ConnectionLost, e.Kind)
					if e.Session != nil {
						require.NotEqual(t, session.EventPoisonSuspected, e.Session.Kind)
					}
					if e.Kind != client.ConnectFailed {
						continue
					}
					failed++
					var handshake *client.HandshakeError
					require.ErrorAs(t, e.Err, &handshake)
					require.ErrorContains(t, e.Err, row.text)
					var refused *client.RefusedError
					switch want := row.err.(type) {
					case nil:
					case *client.RefusedError:
						require.ErrorAs(t, e.Err, &refused)
						require.Equal(t, want.Code, refused.Code)
					default:
						require.ErrorIs(t, e.Err, want)
					}
				}
				require.Equal(t, 1, failed)
			})
		})
	}
}

// An answer that arrived before the Server closed the connection counts, even if the writer notices
// the close first.
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

// The same over real sockets and layers: the Server closes each in the ways that it allows.
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
			c.(*tls.Conn).NetConn().Write([]byte(badRecord))
		}), session.ByUs},
		"TLS, alert": {serveTLS(func(c net.Conn) {
			raw := c.(*tls.Conn).NetConn().(*garbled)
			raw.garble.Store(true)
			c.Read(make([]byte, 1)) // breaks TLS, and says so
		}), session.ByPeer},
		"WebSocket, close frame": {serveWS(func(c *websocket.Conn) {
			c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1008, "no"), time.Now().Add(time.Second))
		}), session.ByPeer},
		"WSS, alert": {serveWSS(func(c *websocket.Conn) {
			raw := c.NetConn().(*tls.Conn)
			raw.NetConn().(*garbled).garble.Store(true)
			raw.Read(make([]byte, 1))
		}), session.ByPeer},
		"WSS, torn": {serveWSS(func(c *websocket.Conn) { c.NetConn().(*tls.Conn).NetConn().Close() }), session.ByPeer},
		"WSS, garbage": {serveWSS(func(c *websocket.Conn) {
			c.NetConn().(*tls.Conn).NetConn().Write([]byte(badRecord))
		}), session.ByUs},
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
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		cfg := &tls.Config{Certificates: []tls.Certificate{testcert.SelfSigned(t).TLS()}}
		go accepting(tls.NewListener(garbling{l}, cfg), handle, end)
		return func(ctx context.Context) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", l.Addr().String())
		}
	}
}

// A garbling listener accepts connections that can be garbled.
type garbling struct{ net.Listener }

func (l garbling) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &garbled{Conn: conn}, nil
}

// badRecord is a record that TLS cannot open.
var badRecord = "\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)

// A garbled connection reads badRecord once garble is set.
type garbled struct {
	net.Conn
	garble atomic.Bool
	made   int
}

func (c *garbled) Read(b []byte) (int, error) {
	if !c.garble.Load() {
		return c.Conn.Read(b)
	}
	n := copy(b, badRecord[c.made:])
	c.made += n
	return n, nil
}

func accepting(l net.Listener, handle func(net.Conn, func()), end func(net.Conn)) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	handle(conn, func() { end(conn) })
}

func serveWS(end func(*websocket.Conn)) serving { return serveHTTP(end, (*httptest.Server).Start) }

func serveWSS(end func(*websocket.Conn)) serving {
	return serveHTTP(end, func(s *httptest.Server) {
		s.Listener = garbling{s.Listener}
		s.StartTLS()
	})
}

func serveHTTP(end func(*websocket.Conn), start func(*httptest.Server)) serving {
	return func(t *testing.T, handle func(net.Conn, func())) func(context.Context) (net.Conn, error) {
		up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := up.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			handle(&wsServerConn{conn.NetConn(), conn, nil}, func() { end(conn) })
		}))
		start(s)
		t.Cleanup(s.Close)
		opts := &ws.Options{Options: transport.Options{TLS: &transport.TLSOptions{InsecureSkipVerify: true}}}
		dial, err := ws.Dialer("ws"+strings.TrimPrefix(s.URL, "http")+"/mqtt", opts)
		require.NoError(t, err)
		return dial
	}
}

// A wsServerConn is the Server's end of a WebSocket connection as a stream of bytes.
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

// deadLink answers PINGREQ until it receives a packet of the given type, and nothing from then on.
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

// A message or a filter is not given up because links die while it is unanswered.
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

// Abort is our own doing: it counts against no message, and removes none from the Store.
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

// A slowRoom is a Store whose Room takes long.
type slowRoom struct {
	*slowDisk
	takes time.Duration
}

func (s *slowRoom) Room(int) error { time.Sleep(s.takes); return nil }

// A slow Room delays neither PINGREQ, Stats and Abort, nor the end of a caller's context.
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
