package paho_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	mqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A dialogue is a client and its Server in a bubble: time is exact, and a goroutine that is left
// behind fails the test.
type dialogue struct {
	*testing.T
	server *clienttest.Server
	client mqtt.Client
	conn   *clienttest.Conn
}

// inBubble runs a dialogue with a client that is not connected yet, and disconnects it at the end.
func inBubble(t *testing.T, set func(o *mqtt.ClientOptions), talk func(d *dialogue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &dialogue{T: t, server: clienttest.NewServer()}
		d.client = mqtt.NewClient(d.options(set))
		defer d.end()
		talk(d)
	})
}

func (d *dialogue) options(set func(o *mqtt.ClientOptions)) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().AddBroker("tcp://server").SetClientID("c")
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return d.server.Dial(d.Context()) })
	if set != nil {
		set(o)
	}
	return o
}

// end disconnects, and receives what the client still sends.
func (d *dialogue) end() {
	if d.conn != nil {
		go func() {
			for {
				if _, err := d.conn.Receive(); err != nil {
					d.conn.Close()
					return
				}
			}
		}()
	}
	d.client.Disconnect(0)
	synctest.Wait()
}

// connected runs a dialogue with a client that the Server accepted.
func connected(t *testing.T, set func(o *mqtt.ClientOptions), talk func(d *dialogue)) {
	t.Helper()
	inBubble(t, set, func(d *dialogue) {
		token := d.client.Connect()
		d.accept(false)
		require.NoError(d, done(d.T, token))
		talk(d)
	})
}

func kept(o *mqtt.ClientOptions) { o.SetCleanSession(false) }

// accept takes the next connection and accepts its CONNECT.
func (d *dialogue) accept(sessionPresent bool) *packets.Connect {
	d.Helper()
	d.open()
	p, err := d.conn.Handshake(sessionPresent)
	require.NoError(d, err)
	synctest.Wait()
	return p
}

// open takes the next connection.
func (d *dialogue) open() {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), time.Hour)
	defer cancel()
	conn, err := d.server.Accept(ctx)
	require.NoError(d, err)
	d.conn = conn
}

// expect receives the next packets and compares them with their texts.
func (d *dialogue) expect(texts ...string) {
	d.Helper()
	for _, text := range texts {
		d.conn.SetReadDeadline(time.Now().Add(time.Hour))
		p, err := d.conn.Receive()
		require.NoError(d, err, "want %s", text)
		require.Equal(d, text, p.String())
	}
}

// expectNothing lets time pass and fails the test if a packet arrives.
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

// done waits until a token completes, which must happen within an hour, and returns its error.
func done(t *testing.T, token mqtt.Token) error {
	t.Helper()
	require.True(t, token.WaitTimeout(time.Hour), "the token does not end")
	return token.Error()
}

func ended(token mqtt.Token) bool {
	select {
	case <-token.Done():
		return true
	default:
		return false
	}
}

func publish(topic string, qos packets.QoS, id uint16, payload string) *packets.Publish {
	return &packets.Publish{Topic: topic, QoS: qos, PacketID: id, Payload: []byte(payload)}
}

// A list records the calls of handlers, in order.
type list struct {
	mu    sync.Mutex
	items []string
}

func (l *list) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, s)
}

func (l *list) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.items...)
}

// handler returns a handler that records the topic and payload of each message.
func (l *list) handler(name string) mqtt.MessageHandler {
	return func(_ mqtt.Client, m mqtt.Message) { l.add(name + " " + m.Topic() + " " + string(m.Payload())) }
}

var errTest = errors.New("test")
