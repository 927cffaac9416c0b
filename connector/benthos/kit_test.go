package benthos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// A dialogue is a component and its Server in a bubble: time is exact, and a goroutine that is left behind
// fails the test.
type dialogue struct {
	*testing.T
	server *clienttest.Server
	conn   *clienttest.Conn
	in     *input
	out    *output
}

func inBubble(t *testing.T, talk func(d *dialogue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &dialogue{T: t, server: clienttest.NewServer()}
		defer func() {
			d.close()
			synctest.Wait()
		}()
		talk(d)
	})
}

// parsed parses fields like the engine.
func parsed(t *testing.T, spec *service.ConfigSpec, fields string) *service.ParsedConfig {
	t.Helper()
	p, err := spec.ParseYAML(fields, nil)
	require.NoError(t, err)
	return p
}

// input makes an input with a persistent session and without PINGREQs that a test would have to read, and
// connects it.
func (d *dialogue) input(fields string) {
	d.Helper()
	in, err := newInput(parsed(d.T, inputSpec(), `
urls: [tcp://127.0.0.1:1883]
client_id: c
clean_session: false
keepalive: 0
topics: [t/#]
`+fields), service.MockResources())
	require.NoError(d, err)
	d.in = in.(*input)
	d.in.link.opts.Dial = d.server.Dial
	connected := d.begin(func() error { return d.in.Connect(d.Context()) })
	d.accept(false)
	d.grant()
	require.NoError(d, connected())
}

// output makes an output and connects it.
func (d *dialogue) output(fields string) {
	d.Helper()
	out, _, _, err := newOutput(parsed(d.T, outputSpec(), `
urls: [tcp://127.0.0.1:1883]
client_id: c
keepalive: 0
topic: t/${! content() }
`+fields), service.MockResources())
	require.NoError(d, err)
	d.out = out.(*output)
	d.out.link.opts.Dial = d.server.Dial
	connected := d.begin(func() error { return d.out.Connect(d.Context()) })
	d.accept(false)
	require.NoError(d, connected())
}

func (d *dialogue) accept(sessionPresent bool) {
	d.Helper()
	conn, err := d.server.Accept(d.Context())
	require.NoError(d, err)
	d.conn = conn
	_, err = conn.Handshake(sessionPresent)
	require.NoError(d, err)
	synctest.Wait()
}

// grant receives SUBSCRIBE and grants all its filters.
func (d *dialogue) grant() {
	d.Helper()
	p, err := d.conn.Receive()
	require.NoError(d, err)
	sub, ok := p.(*packets.Subscribe)
	require.True(d, ok, "came: %s", p)
	ack := &packets.Suback{PacketID: sub.PacketID}
	for _, s := range sub.Subscriptions {
		ack.Codes = append(ack.Codes, packets.SubscribeCode(s.QoS))
	}
	d.send(ack)
}

// begin runs f concurrently; the returned function waits for its result.
func (d *dialogue) begin(f func() error) func() error {
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

// close closes the component while the Server keeps reading.
func (d *dialogue) close() {
	var reading sync.WaitGroup
	if conn := d.conn; conn != nil {
		conn.SetReadDeadline(time.Time{})
		reading.Go(func() {
			for {
				if _, err := conn.Receive(); err != nil {
					return
				}
			}
		})
	}
	if d.in != nil {
		require.NoError(d, d.in.Close(context.Background()))
	}
	if d.out != nil {
		require.NoError(d, d.out.Close(context.Background()))
	}
	d.in, d.out = nil, nil
	if d.conn != nil {
		d.conn.Close()
	}
	reading.Wait()
}

// text returns the text of a packet, including the payload of a PUBLISH.
func text(p packets.Packet) string {
	if pub, ok := p.(*packets.Publish); ok {
		return fmt.Sprintf("PUBLISH %s qos=%d id=%d dup=%t retain=%t payload=%s", pub.Topic, pub.QoS, pub.PacketID, pub.Dup, pub.Retain, pub.Payload)
	}
	return p.String()
}

func (d *dialogue) expect(texts ...string) {
	d.Helper()
	for _, want := range texts {
		d.conn.SetReadDeadline(time.Now().Add(time.Hour))
		p, err := d.conn.Receive()
		require.NoError(d, err, "want %s", want)
		require.Equal(d, want, text(p))
	}
	synctest.Wait()
}

// expectNothing lets time pass in which no packet may arrive.
func (d *dialogue) expectNothing(for_ time.Duration) {
	d.Helper()
	d.conn.SetReadDeadline(time.Now().Add(for_))
	p, err := d.conn.Receive()
	if err == nil {
		d.Fatalf("came: %s", text(p))
	}
	require.ErrorContains(d, err, "timeout")
	synctest.Wait()
}

func (d *dialogue) send(ps ...packets.Packet) {
	d.Helper()
	require.NoError(d, d.conn.Send(ps...))
	synctest.Wait()
}

// deliver sends QoS 1 messages to the topic t/x; identifiers count from first.
func (d *dialogue) deliver(first uint16, payloads ...string) {
	d.Helper()
	for i, s := range payloads {
		d.send(&packets.Publish{Topic: "t/x", QoS: 1, PacketID: first + uint16(i), Payload: []byte(s)})
	}
}

// A handful is a batch that was handed to the engine.
type handful struct {
	service.MessageBatch
	ack service.AckFunc
}

// settle settles the batch.
func (h handful) settle(t testing.TB, err error) {
	t.Helper()
	require.NoError(t, h.ack(context.Background(), err))
	synctest.Wait()
}

// payloads returns the payloads of the messages.
func (h handful) payloads(t testing.TB) (all []string) {
	for _, m := range h.MessageBatch {
		b, err := m.AsBytes()
		require.NoError(t, err)
		all = append(all, string(b))
	}
	return all
}

// read reads a batch with these payloads, which must come within a time.
func (d *dialogue) read(within time.Duration, payloads ...string) handful {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), within)
	defer cancel()
	batch, ack, err := d.in.ReadBatch(ctx)
	require.NoError(d, err)
	h := handful{batch, ack}
	require.Equal(d, payloads, h.payloads(d))
	return h
}

// settleSingly reads n messages, each of which must come in a batch of its own, and settles it with
// outcome.
func (d *dialogue) settleSingly(n int, outcome func(payload string) error) {
	d.Helper()
	for range n {
		ctx, cancel := context.WithTimeout(d.Context(), time.Second)
		batch, ack, err := d.in.ReadBatch(ctx)
		cancel()
		require.NoError(d, err)
		require.Len(d, batch, 1, "by itself")
		alone := handful{batch, ack}
		alone.settle(d, outcome(alone.payloads(d)[0]))
	}
}

// none checks that no message comes for a time.
func (d *dialogue) none(for_ time.Duration) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), for_)
	defer cancel()
	_, _, err := d.in.ReadBatch(ctx)
	require.ErrorIs(d, err, context.DeadlineExceeded)
}

// write writes messages; the returned function waits for the result.
func (d *dialogue) write(payloads ...string) func() error {
	var batch service.MessageBatch
	for _, s := range payloads {
		batch = append(batch, service.NewMessage([]byte(s)))
	}
	return d.begin(func() error { return d.out.WriteBatch(d.Context(), batch) })
}

var errSink = errors.New("the sink is away")
