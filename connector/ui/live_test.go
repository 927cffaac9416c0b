package ui

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// liveOf starts a server and a page whose configuration has these topics.
func liveOf(t *testing.T, topics string, o Options) (*browser, *broker.Broker) {
	t.Helper()
	server, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	o.File = file(t, fmt.Sprintf("connector:\n  general: {broker_url: '%s', client_id: c, username: u, password: hunter2}\nconsumers:\n  in: {topics: [%s], qos: 1}\n", server.Addr, topics))
	return openPage(t, o), server
}

// A stream is a browser's end of the stream of messages.
type stream struct {
	t     *testing.T
	body  io.Closer
	lines *bufio.Reader
}

// listen opens a stream and reads its first line.
func (b *browser) listen(in map[string]string) (*stream, liveLine) {
	b.t.Helper()
	r := b.do("POST", "/api/live/listen", in, nil)
	s := &stream{b.t, r.Body, bufio.NewReader(r.Body)}
	require.Equal(b.t, http.StatusOK, r.StatusCode)
	return s, s.next()
}

func (s *stream) next() (l liveLine) {
	s.t.Helper()
	text, err := s.lines.ReadBytes('\n')
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal(text, &l), "%s", text)
	return l
}

// until reads lines until the given number of messages was received, whether shown or not.
func (s *stream) until(received uint64) (all liveLine) {
	s.t.Helper()
	for all.Received < received {
		l := s.next()
		l.Messages, l.Topics = append(all.Messages, l.Messages...), append(all.Topics, l.Topics...)
		all = l
	}
	return all
}

// gone waits until no client of the page is connected.
func gone(t *testing.T, server *broker.Broker) {
	t.Helper()
	require.Eventually(t, func() bool {
		for id, c := range server.Server.Clients.GetAll() {
			if strings.Contains(id, "-page-") && !c.Closed() {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond)
}

func TestLiveShowsMessages(t *testing.T) {
	b, server := liveOf(t, "a/#, $share/g/b", Options{})
	b.publish("a/kept", []byte("old"), 1, true)
	s, first := b.listen(nil)
	require.Equal(t, []string{"a/#", "b"}, first.Filters)
	require.Regexp(t, `^c-page-[a-z2-7]{6}$`, first.ClientID)
	require.Empty(t, first.Refused)
	l := s.until(1)
	require.True(t, l.Messages[0].Retained)
	b.publish("b", []byte("<script>"), 0, false)
	b.publish("elsewhere", nil, 1, false)
	b.publish("a/\u4e2d", []byte{0xff}, 2, false)
	l = s.until(3)
	require.Len(t, l.Messages, 2)
	require.Equal(t, "b <script>", l.Messages[0].Topic+" "+string(l.Messages[0].Payload))
	require.Equal(t, "a/\u4e2d \xff", l.Messages[1].Topic+" "+string(l.Messages[1].Payload))
	s.body.Close()
	gone(t, server)
}

func (b *browser) publish(topic string, payload []byte, qos int, retained bool) {
	b.t.Helper()
	post[map[string]float64](b, "live/publish", map[string]any{"topic": topic, "payload": payload, "qos": qos, "retained": retained})
}

// Of a large payload, the page shows the beginning and the full size, whether the packet is larger
// than largestPacket or not.
func TestLiveCutsPayloads(t *testing.T) {
	b, _ := liveOf(t, "a/#", Options{})
	s, _ := b.listen(nil)
	for i, size := range []int{mostPayload, mostPayload + 1, largestPacket - 100, largestPacket + 1, 2_000_000} {
		payload := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		b.publish("a/large", payload, 1, false)
		m := s.until(uint64(i + 1)).Messages
		require.Len(t, m, 1)
		require.Equal(t, size, m[0].Size)
		require.Equal(t, payload[:mostPayload], m[0].Payload)
	}
}

func TestLiveSearches(t *testing.T) {
	b, _ := liveOf(t, "a/#", Options{})
	s, _ := b.listen(map[string]string{"search": "needle"})
	b.publish("a/hay", []byte("straw"), 1, false)
	b.publish("a/needle", nil, 1, false)
	b.publish("a/hay", []byte("a needle in it"), 1, false)
	l := s.until(3)
	require.Len(t, l.Messages, 2)
	require.Zero(t, l.LeftOut)
}

func TestLiveListensToAnotherTopic(t *testing.T) {
	b, _ := liveOf(t, "a", Options{})
	s, first := b.listen(map[string]string{"filter": "x/+"})
	require.Equal(t, []string{"x/+"}, first.Filters)
	b.publish("a", nil, 1, false)
	b.publish("x/y", nil, 1, false)
	require.Equal(t, "x/y", s.until(1).Messages[0].Topic)
}

func TestLiveRefused(t *testing.T) {
	b, _ := liveOf(t, "a", Options{})
	for _, c := range []struct {
		path   string
		body   map[string]any
		status int
	}{
		{"listen", map[string]any{"filter": "a/#/b"}, 400},
		{"listen", map[string]any{"filter": "$share/g/a"}, 400},
		{"listen", map[string]any{"search": strings.Repeat("x", mostSearched+1)}, 400},
		{"listen", map[string]any{"broker_url": "elsewhere:1883"}, 400},
		{"publish", map[string]any{"topic": "a/+"}, 400},
		{"publish", map[string]any{"topic": ""}, 400},
		{"publish", map[string]any{"topic": "a", "qos": 3}, 400},
		{"publish", map[string]any{"topic": "a", "qos": -1}, 400},
		{"publish", map[string]any{"topic": "a", "payload": make([]byte, maxBody)}, 413},
	} {
		require.Equal(t, c.status, refused(b, "live/"+c.path, c.body).status, "%s %v", c.path, c.body["topic"])
	}
	b = openPage(t, Options{File: file(t, "connector: {general: {broker_url: '127.0.0.1:1', client_id: c, username: me, password: hunter2}}\nconsumers: {in: {topics: [a]}}\n")})
	f := refused(b, "live/listen", map[string]any{})
	require.Equal(t, 502, f.status)
	require.NotContains(t, f.EN, "hunter2")
	b = openPage(t, Options{File: file(t, "connector: {general: {client_id: c}}\n")})
	require.Equal(t, errNoConfig.EN, refused(b, "live/listen", map[string]any{}).EN)
	require.Equal(t, errNoConfig.EN, refused(b, "live/publish", map[string]any{"topic": "a"}).EN)
}

// The number of browsers that listen is limited, and a place is free again when one disconnects.
func TestLiveReadersAreBounded(t *testing.T) {
	b, server := liveOf(t, "a", Options{})
	var all []*stream
	for range mostReaders {
		s, _ := b.listen(nil)
		all = append(all, s)
	}
	require.Equal(t, errReaders.EN, refused(b, "live/listen", map[string]any{}).EN)
	for _, s := range all {
		s.body.Close()
	}
	gone(t, server)
	require.Eventually(t, func() bool {
		r := b.do("POST", "/api/live/listen", map[string]string{}, nil)
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	}, patience, 10*time.Millisecond)
}

// Shutdown ends the stream and its client.
func TestLiveEndsWithThePage(t *testing.T) {
	b, server := liveOf(t, "a", Options{})
	s, _ := b.listen(nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, b.s.Shutdown(ctx))
	io.Copy(io.Discard, s.lines) // until it ends, with or without an error
	gone(t, server)
}

// runningOf starts a server, a connector with the configuration that make returns for the server's
// address, and a page for the connector.
func runningOf(t *testing.T, f flow.Flow, make func(addr string) string) (*browser, *connector.Connector) {
	t.Helper()
	server, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	o := Options{File: file(t, make(server.Addr))}
	cfg, _, err := config.Load(o.File)
	require.NoError(t, err)
	o.Running, err = connector.New(*cfg, connector.Options{})
	require.NoError(t, err)
	for name := range cfg.Consumers {
		require.NoError(t, o.Running.Consume(name, f))
	}
	require.NoError(t, o.Running.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, o.Running.Stop(ctx))
	})
	o.Apply = func(ctx context.Context, cfg *connector.Config) (connector.Changes, error) {
		return o.Running.Reconfigure(ctx, *cfg, nil)
	}
	return openPage(t, o), o.Running
}

var pass = flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { return nil, nil })

// The page stays connected to the server that File names, whatever is applied, but subscribes to
// the current topics of the consumers.
func TestLiveStaysAtItsServer(t *testing.T) {
	text := func(addr, topics string) string {
		return fmt.Sprintf("connector: {general: {broker_url: '%s', client_id: c}}\nconsumers: {in: {topics: [%s], qos: 1}}\n", addr, topics)
	}
	b, _ := runningOf(t, pass, func(addr string) string { return text(addr, "a") })
	load(b)
	s, first := b.listen(nil)
	require.Equal(t, []string{"a"}, first.Filters)
	post[any](b, "config/apply", map[string]any{"text": text("127.0.0.1:1", "other")})
	for first.Filters = nil; first.Filters == nil; {
		first = s.next()
	}
	require.Equal(t, []string{"other"}, first.Filters)
	b.publish("other", nil, 1, false)
	s.until(1)
}

// An open stream follows the topics of a connector that is reconfigured by other means than the
// page, such as SIGHUP, unless the browser requested a filter.
func TestLiveFollowsTheConnector(t *testing.T) {
	b, c := runningOf(t, pass, func(addr string) string {
		return fmt.Sprintf("connector: {general: {broker_url: '%s', client_id: c}}\nconsumers: {in: {topics: [a, b], qos: 1}}\n", addr)
	})
	s, _ := b.listen(nil)
	own, _ := b.listen(map[string]string{"filter": "#"})
	cfg, _, err := config.Load(b.s.opts.File)
	require.NoError(t, err)
	p := cfg.Consumers["in"]
	p.Topics = []connector.TopicQoS{{Topic: "b"}, {Topic: "$share/g/c/#"}}
	cfg.Consumers["in"] = p
	_, err = c.Reconfigure(t.Context(), *cfg, nil)
	require.NoError(t, err)
	var l liveLine
	for l.Filters == nil {
		l = s.next()
	}
	require.Equal(t, []string{"b", "c/#"}, l.Filters)
	for _, topic := range []string{"a", "b", "c/d"} {
		b.publish(topic, []byte("x"), 1, false)
	}
	var topics []string
	for _, m := range s.until(2).Messages {
		topics = append(topics, m.Topic)
	}
	require.Equal(t, []string{"b", "c/d"}, topics)
	require.Empty(t, own.until(3).Filters)
}

// For a browser that does not read, messages are only counted. It delays neither the client nor the
// reception of messages.
func TestSlowBrowserHoldsUpNothing(t *testing.T) {
	w := newWindow("")
	for range 1_000_000 {
		w.add("a", []byte("x"), 1, false)
	}
	line, news := w.take()
	require.True(t, news)
	require.Len(t, line.Messages, mostMessages)
	require.EqualValues(t, 1_000_000, line.Received)
	require.EqualValues(t, 1_000_000-mostMessages, line.LeftOut)
	_, news = w.take()
	require.False(t, news)
}

func TestWindowIsBounded(t *testing.T) {
	w := newWindow("")
	for range 100 {
		w.add("a", make([]byte, 1<<20), 1<<20, false)
	}
	line, _ := w.take()
	require.Len(t, line.Messages, mostWindowBytes/(mostPayload+1))
	require.Len(t, line.Messages[0].Payload, mostPayload)
	for i := range 3 * mostTopics {
		w.add(fmt.Sprint("t/", i), nil, 0, false)
	}
	line, _ = w.take()
	require.Len(t, w.topics, mostTopics)
	require.EqualValues(t, 2*mostTopics+1, line.Others)
	line, _ = w.take()
	require.Empty(t, line.Topics, "only those that have changed")
	w.add(strings.Repeat("x", 65535), nil, 0, false)
	line, _ = w.take()
	require.Len(t, line.Messages, 1, "one is shown, however large")
	w = newWindow("")
	for i := range 10 {
		w.add(strings.Repeat("x", 60_000)+fmt.Sprint(i), nil, 0, false)
	}
	require.LessOrEqual(t, w.topicBytes, mostTopicBytes)
}

// At any rate, a paced connection returns all bytes in order, and a single message without much
// delay.
func TestPacedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		dial := pacedDial(func(context.Context) (net.Conn, error) { return near, nil })
		c, err := dial(t.Context())
		require.NoError(t, err)
		defer c.Close()
		b := make([]byte, 100)
		for range 10 { // single messages at a low rate
			time.Sleep(time.Second)
			go far.Write([]byte("few"))
			begun := time.Now()
			n, err := c.Read(b)
			require.NoError(t, err)
			require.Equal(t, "few", string(b[:n]))
			require.LessOrEqual(t, time.Since(begun), pause)
		}
		sent := bytes.Repeat([]byte("many"), 250_000)
		go func() {
			far.Write(sent)
			far.Close()
		}()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, got))
	})
}

// bursts is a connection on which messages arrive at a steady rate. A read returns what has
// arrived, up to a record of TLS, or waits.
type bursts struct {
	net.Conn
	begun         time.Time
	every         time.Duration
	size          int // bytes that arrive each time
	taken         int
	waited, reads int
}

func (c *bursts) Read(b []byte) (int, error) {
	c.reads++
	here := func() int { return int(time.Since(c.begun)/c.every)*c.size - c.taken }
	if here() == 0 {
		c.waited++
		time.Sleep(time.Until(c.begun.Add((time.Since(c.begun) + c.every).Truncate(c.every))))
	}
	n := min(here(), len(b), 16<<10)
	c.taken += n
	return n, nil
}

// At a steady rate, a paced connection rarely waits for a message, because each wait would wake up
// the program. It also does not fall behind.
func TestPacedConnectionRarelyWaits(t *testing.T) {
	for _, c := range []struct {
		every time.Duration
		size  int
		most  int // maximum number of reads in a turn that wait
	}{
		{time.Millisecond, 300, 1}, {time.Millisecond, 3000, 1}, {time.Millisecond, 100_000, 1}, {100 * time.Microsecond, 300, 11}, {30 * time.Microsecond, 300, 34},
	} {
		synctest.Test(t, func(t *testing.T) {
			from := &bursts{begun: time.Now(), every: c.every, size: c.size}
			conn, err := pacedDial(func(context.Context) (net.Conn, error) { return from, nil })(t.Context())
			require.NoError(t, err)
			b := make([]byte, 1<<20)
			for time.Since(from.begun) < 10*time.Second {
				_, err := conn.Read(b)
				require.NoError(t, err)
			}
			t.Logf("%d bytes each %s: %d reads, %d of them waited", c.size, c.every, from.reads, from.waited)
			require.LessOrEqual(t, from.waited, c.most*200)
			came := int(time.Since(from.begun)/c.every) * c.size
			require.LessOrEqual(t, came-from.taken, 40*c.size*int(time.Millisecond/c.every))
		})
	}
}

func TestPayloadSize(t *testing.T) {
	for _, size := range []int{0, 100, 124, 125, 126, 127, 128, 16380, 16381, 16382, 16384, 2_097_149, 2_097_150} {
		for qos := range 2 {
			length, n := 2+1+2*qos+size, 1
			for rest := length; rest >= 128; rest /= 128 {
				n++
			}
			m := &client.IncomingError{Topic: "a", QoS: packets.QoS(qos), Size: 1 + n + length}
			require.Equal(t, size, payloadSize(m), "%d", size)
		}
	}
}
