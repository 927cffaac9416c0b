package doctor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/doctor"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// empty checks that a server has no session and no retained message except its own.
func empty(t *testing.T, b *broker.Broker) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, c := range b.Server.Clients.GetAll() {
			if c.Net.Inline || c.ID == "inline" {
				continue
			}
			return false
		}
		return true
	}, time.Minute, 10*time.Millisecond, "a client or a session stays")
	for topic := range b.Server.Topics.Retained.GetAll() {
		require.True(t, strings.HasPrefix(topic, "$SYS"), "%s is retained", topic)
	}
}

func quick(t *testing.T, b *broker.Broker) doctor.Options {
	o := options(t, "mqtt://"+b.Addr)
	o.Patience, o.Resend = 300*time.Millisecond, 300*time.Millisecond
	return o
}

// Nothing is left on the server when a run ends by itself, or is interrupted after any probe or shortly after the
// start.
func TestNothingStays(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	run(t, quick(t, b))
	empty(t, b)
	for after := range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		o := quick(t, b)
		if after < 5 {
			time.AfterFunc(time.Duration(after*after)*5*time.Millisecond, cancel)
		} else {
			ended := make(chan string, 100)
			o.Progress = func(name string) {
				if ended <- name; len(ended) > after {
					cancel()
				}
			}
		}
		r, err := doctor.Run(ctx, o)
		cancel()
		require.ErrorIs(t, err, context.Canceled)
		if r != nil {
			require.Empty(t, r.Left)
		}
		empty(t, b)
	}
}

// The report names what could not be removed.
func TestWhatStaysIsNamed(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	o := quick(t, b)
	dial := o.Client.Dial
	var gone context.Context
	o.Client.Dial = func(ctx context.Context) (net.Conn, error) {
		if gone != nil && gone.Err() != nil {
			return nil, errors.New("no way")
		}
		return dial(ctx)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone = ctx
	o.Progress = func(name string) {
		if name == "session" {
			cancel()
		}
	}
	r, err := doctor.Run(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	require.NotEmpty(t, r.Left)
}

// If the server cannot be reached, refuses the client, or is not an MQTT server, Run returns an
// error.
func TestNoServer(t *testing.T) {
	serve := func(answer string) doctor.Options {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.ReadAtLeast(c, make([]byte, 100), 14)
				io.WriteString(c, answer)
				c.Close()
			}
		}()
		return options(t, "mqtt://"+l.Addr().String())
	}
	_, err := doctor.Run(t.Context(), serve("\x20\x02\x00\x05"))
	var refused *client.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, packets.NotAuthorized, refused.Code)
	_, err = doctor.Run(t.Context(), serve("HTTP/1.1 400 Bad Request\r\n\r\n"))
	require.ErrorContains(t, err, "closed the connection")
}

// A configuration is judged by the behaviour of the server.
func TestJudge(t *testing.T) {
	kept, payload := false, strings.Repeat("x", 2000)
	cfg := &connector.Config{
		Advanced: connector.Advanced{
			WillEnabled: true, WillTopic: "plant/gone", WillQoS: 2, WillRetained: true, CleanSession: &kept, Order: true,
		},
		Extension: connector.Extension{MaxInflightQoS2: 50},
		Consumers: map[string]connector.ConsumerParams{
			"in":     {Topics: []connector.TopicQoS{{Topic: "plant/+/a.b"}}, QoS: 2, Concurrency: 100},
			"shared": {Topics: []connector.TopicQoS{{Topic: "$share/g/x", QoS: 1, HasQoS: true}}, QoS: 2},
		},
		Producers: map[string]connector.ProducerParams{
			"out":   {Topic: "/plant/out", QoS: 2, Retained: true, Payload: &payload},
			"far":   {Topic: "/x", QoS: 2, Connection: "cloud"},
			"maybe": {Topic: "${attribute.topic}/a b"},
		},
	}
	paths := func(r *doctor.Report) (paths []string) {
		for _, m := range r.Judge(cfg, "") {
			require.NotEmpty(t, m.EN)
			require.NotEqual(t, m.EN, m.ZH)
			paths = append(paths, m.Path)
		}
		return paths
	}
	rows := make([]doctor.Row, 0)
	for _, name := range []string{"qos", "session", "redelivery", "window", "window-qos2", "order", "retained", "will", "share", "largest", "topics"} {
		rows = append(rows, doctor.Row{Probe: name})
	}
	topics := map[string]string{"dots": "altered", "blanks": "refused", "leading-slash": "lost", "trailing-slash": "delivered", "empty-level": "delivered",
		"non-ascii": "delivered", "signs": "delivered", "control": "closes", "deep": "delivered"}
	poor := &doctor.Report{Rows: rows, Facts: doctor.Facts{
		Granted: 1, Window: 10, TriedQoS2: 23, LostQoS2: 3, Share: doctor.ShareGranted, Largest: 1000, Topics: topics,
	}}
	require.Equal(t, []string{
		"connector.advanced.clean_session", "connector.advanced.order", "connector.advanced.will_enabled", "connector.advanced.will.qos",
		"connector.advanced.will.retained", "connector.extension.max_inflight_qos2",
		"consumers.in.topics[0]", "consumers.in.topics[0]", "consumers.in.ack_mode", "consumers.in.concurrency",
		"consumers.shared.topics[0]", "consumers.shared.ack_mode",
		"producers.out.qos", "producers.out.retained", "producers.out.topic", "producers.out.payload",
	}, paths(poor))
	cfg.Connections = map[string]connector.Connection{"cloud": {
		Advanced:  connector.Advanced{WillEnabled: true, WillTopic: "/gone", WillQoS: 2, CleanSession: &kept, Order: true},
		Extension: connector.Extension{MaxInflightQoS2: 50},
	}}
	var far []string
	for _, m := range poor.Judge(cfg, "cloud") { // sessions and order only concern consumers
		far = append(far, m.Path)
	}
	require.Equal(t, []string{
		"connections.cloud.advanced.will_enabled", "connections.cloud.advanced.will_topic", "connections.cloud.advanced.will.qos",
		"connections.cloud.extension.max_inflight_qos2", "producers.far.qos", "producers.far.topic",
	}, far)
	for k := range topics {
		topics[k] = "delivered"
	}
	require.Empty(t, paths(&doctor.Report{Rows: rows, Facts: doctor.Facts{
		Granted: 2, ExactlyOnce: true, Sessions: true, QueueInOrder: true, Redelivers: true, Window: 1100, WindowOpen: true, Ordered: true,
		Retained: true, RetainedByWildcard: true, Will: true, Share: doctor.ShareDelivered, LargestOpen: true, Topics: topics,
	}}))
	for i := range poor.Rows { // a failed trial is no evidence
		poor.Rows[i].Failed = true
	}
	require.Empty(t, paths(poor))
}

// A server that sends small or large packets without end does not fill the memory: the doctor reads little more
// than a connection is allowed to bring.
func TestFloodFillsNoMemory(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "large": 1<<20 - 100, "too large": 1 << 21} {
		t.Run(name, func(t *testing.T) {
			flood, err := (&packets.Publish{Topic: "x", Payload: make([]byte, size)}).AppendBinary(nil)
			require.NoError(t, err)
			flood = bytes.Repeat(flood, max(1, 1<<16/len(flood)))
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			var most atomic.Int64
			var open sync.WaitGroup
			open.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					open.Go(func() {
						defer c.Close()
						io.ReadAtLeast(c, make([]byte, 256), 14)
						c.Write([]byte{0x20, 2, 0, 0})
						for sent := int64(0); ; {
							n, err := c.Write(flood)
							if sent += int64(n); sent > most.Load() {
								most.Store(sent)
							}
							if err != nil {
								return
							}
						}
					})
				}
			})
			o := options(t, "mqtt://"+l.Addr().String())
			o.Patience, o.Resend = 100*time.Millisecond, 100*time.Millisecond
			doctor.Run(t.Context(), o)
			l.Close()
			open.Wait()
			require.Positive(t, most.Load())
			require.Less(t, most.Load(), int64(64<<20), "with what the sockets hold")
		})
	}
}

// A scripted server answers each packet with the result of do; nil closes the connection.
func scripted(t *testing.T, do func(packets.Packet) []packets.Packet) doctor.Options {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := packets.NewReader(c, packets.ReaderOptions{})
				for {
					v, err := r.ReadPacket()
					if err != nil || v.Type() == packets.DISCONNECT {
						return
					}
					answers := do(v)
					if answers == nil {
						return
					}
					for _, a := range answers {
						b, err := a.AppendBinary(nil)
						if err != nil {
							return
						}
						c.Write(b)
					}
				}
			}()
		}
	}()
	o := options(t, "mqtt://"+l.Addr().String())
	o.Patience, o.Resend = 50*time.Millisecond, 50*time.Millisecond
	return o
}

// polite answers everything and delivers nothing, like mosquitto when its rules forbid the topic.
func polite(v packets.Packet) []packets.Packet {
	switch v := v.(type) {
	case *packets.Connect:
		return []packets.Packet{&packets.Connack{}}
	case *packets.Subscribe:
		return []packets.Packet{&packets.Suback{PacketID: v.PacketID, Codes: make([]packets.SubscribeCode, len(v.Subscriptions))}}
	case *packets.Publish:
		switch v.QoS {
		case packets.AtLeastOnce:
			return []packets.Packet{&packets.Puback{PacketID: v.PacketID}}
		case packets.ExactlyOnce:
			return []packets.Packet{&packets.Pubrec{PacketID: v.PacketID}}
		}
	case *packets.Pubrel:
		return []packets.Packet{&packets.Pubcomp{PacketID: v.PacketID}}
	}
	return []packets.Packet{}
}

// If a server lets no message reach a subscriber, doctor says so, and concludes nothing about what it could not
// test.
func TestWhatCannotBeTriedIsNotKnown(t *testing.T) {
	closesOver := func(over packets.Type) func(packets.Packet) []packets.Packet {
		return func(v packets.Packet) []packets.Packet {
			if v.Type() == over {
				return nil
			}
			return polite(v)
		}
	}
	for _, c := range []struct {
		name     string
		server   func(packets.Packet) []packets.Packet
		delivery string
		answer   string
		known    []string // beside delivery
	}{
		{"closes over SUBSCRIBE", closesOver(packets.SUBSCRIBE), "closes", "SUBSCRIBE closes the connection", []string{"takeover", "largest", "refusal"}},
		{"closes over PUBLISH", closesOver(packets.PUBLISH), "closes", "PUBLISH closes the connection", []string{"takeover", "refusal"}},
		{"delivers nothing", polite, "lost", "granted and acknowledged, and nothing arrives", []string{"takeover", "largest", "refusal"}},
		{"refuses", func(v packets.Packet) []packets.Packet {
			if s, ok := v.(*packets.Subscribe); ok {
				return []packets.Packet{&packets.Suback{PacketID: s.PacketID, Codes: []packets.SubscribeCode{packets.SubscribeFailure}}}
			}
			return polite(v)
		}, "refused", "SUBACK refuses it", []string{"takeover", "largest", "refusal"}},
		{"does not answer", func(v packets.Packet) []packets.Packet {
			if v.Type() == packets.SUBSCRIBE {
				return []packets.Packet{}
			}
			return polite(v)
		}, "silent", "SUBSCRIBE is not answered", []string{"takeover", "largest", "refusal"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := scripted(t, c.server)
			o.Prefix = "mine/"
			r := run(t, o)
			require.Equal(t, "delivery", r.Rows[0].Probe)
			require.Equal(t, c.answer, r.Rows[0].Answer.EN)
			require.Contains(t, r.Rows[0].Means.EN, "begin with mine/doctor-")
			var known []string
			for _, row := range r.Rows[1:] {
				if !row.Failed {
					known = append(known, row.Probe)
					continue
				}
				require.Empty(t, row.Means, row.Probe)
				require.Contains(t, row.Answer.EN, "not known: ", row.Probe)
				require.Contains(t, row.Answer.ZH, "未知：", row.Probe)
			}
			require.Equal(t, c.known, known)
			facts := r.Facts
			require.Equal(t, c.delivery, facts.Delivery)
			facts.Delivery, facts.Largest, facts.LargestOpen = "", 0, false
			require.Zero(t, facts)
			kept := false
			require.Empty(t, r.Judge(&connector.Config{
				Advanced:  connector.Advanced{CleanSession: &kept, Order: true, WillEnabled: true, WillTopic: "/w", WillQoS: 2},
				Extension: connector.Extension{MaxInflightQoS2: 50},
				Consumers: map[string]connector.ConsumerParams{"in": {Topics: []connector.TopicQoS{{Topic: "$share/g/a.b"}}, QoS: 2, Concurrency: 9}},
			}, ""))
		})
	}
}

// A kind of topic that could not be tested is no objection to a configuration, and no advice follows from it.
func TestTopicNotTried(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	o := quick(t, b)
	o.Prefix = "mine/"
	r := run(t, o)
	require.Equal(t, "unknown", r.Facts.Topics["leading-slash"])
	row := r.Rows[len(r.Rows)-2]
	require.Equal(t, "topics", row.Probe)
	require.Equal(t, "a leading slash: not known: the prefix has no leading slash", row.Answer.EN)
	require.Empty(t, row.Means)
	require.Empty(t, r.Judge(&connector.Config{Producers: map[string]connector.ProducerParams{"out": {Topic: "/a"}}}, ""))
	empty(t, b)
}

// When connections fail in the middle of a run, nothing is concluded from that: neither that a packet is too large,
// nor that a client id is refused, nor that a topic cannot be used.
func TestConnectionsThatFailSayNothing(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	o := quick(t, b)
	dial := o.Client.Dial
	var gone atomic.Bool
	o.Client.Dial = func(ctx context.Context) (net.Conn, error) {
		if gone.Load() {
			return nil, errors.New("no route to host")
		}
		return dial(ctx)
	}
	o.Progress = func(probe string) {
		if probe == "delivery" {
			gone.Store(true)
		}
	}
	r := run(t, o)
	require.False(t, r.Rows[0].Failed)
	for _, row := range r.Rows[1:] {
		require.True(t, row.Failed, "%s: %s", row.Probe, row.Answer.EN)
		require.Equal(t, "not known: no route to host", row.Answer.EN)
		require.Empty(t, row.Means)
	}
	require.Equal(t, doctor.Facts{Delivery: "delivered", Topics: r.Facts.Topics}, r.Facts)
}
