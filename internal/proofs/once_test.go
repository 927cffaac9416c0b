package proofs

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// slow returns a flow that counts its runs and takes some time.
func slow(runs *tally, lasts time.Duration) func(*connector.Connector) flow.Flow {
	return func(*connector.Connector) flow.Flow {
		return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			runs.add(m)
			select {
			case <-time.After(lasts):
				return m, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		})
	}
}

// A QoS 2 message is sent again and again, before its flow ended and after, before PUBREC and
// after, on one connection and on the next. It runs once. The server follows a script.
func TestProofOneRunScripted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settings{addr: "127.0.0.1:1883", id: "c", advanced: ", keep_alive: 0", consumer: `topics: ["t"], qos: Exactly Once`}
		cfg, _, err := config.Parse([]byte(s.yaml()), "")
		require.NoError(t, err)
		server := clienttest.NewServer()
		c, err := connector.New(*cfg, connector.Options{Dial: server.Dial})
		require.NoError(t, err)
		var runs tally
		require.NoError(t, c.Consume("in", slow(&runs, time.Hour)(c)))
		go c.Start(t.Context())
		var conn *clienttest.Conn
		accept := func(sessionPresent bool) {
			conn, err = server.Accept(t.Context())
			require.NoError(t, err)
			_, err = conn.Handshake(sessionPresent)
			require.NoError(t, err)
		}
		send := func(times int, p packets.Packet) {
			for range times {
				require.NoError(t, conn.Send(p))
			}
			synctest.Wait()
		}
		expect := func(text string) {
			p, err := conn.Receive()
			require.NoError(t, err)
			require.Equal(t, text, p.String())
		}
		first := &packets.Publish{Topic: "t", QoS: 2, PacketID: 7, Payload: []byte("once")}
		again := &packets.Publish{Topic: "t", QoS: 2, PacketID: 7, Payload: []byte("once"), Dup: true}

		accept(false)
		_, err = conn.Receive()
		require.NoError(t, err)
		send(1, &packets.Suback{PacketID: 32768, Codes: []packets.SubscribeCode{2}})
		send(1, first)
		send(10, again) // the flow is running
		conn.Close()
		for range 5 {
			accept(true)
			send(3, again) // and still is
			conn.Close()
		}
		accept(true)
		send(2, again)
		expect("PUBREC id=7") // an hour later
		conn.Close()          // before the server has read PUBREC
		accept(true)
		send(1, again)
		expect("PUBREC id=7")
		send(1, again) // the server has not read it yet
		expect("PUBREC id=7")
		send(1, &packets.Pubrel{PacketID: 7})
		expect("PUBCOMP id=7")
		messages, total := runs.counts()
		require.Equal(t, [2]int{1, 1}, [2]int{messages, total})

		send(1, first) // after PUBCOMP the identifier stands for a new message
		_, total = runs.counts()
		require.Equal(t, 2, total)
		t.Log("1 message, sent 30 times, 1 run")
		conn.Close()
		server.Refuse(clienttest.ErrRefused)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c.Stop(ctx)
	})
}

// The same with mosquitto: the link is cut after each packet of the delivery, ten times while the
// flow runs.
func TestProofOneRunMosquitto(t *testing.T) {
	t.Parallel()
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	ctx := within(t)
	var runs tally
	var publishes, cuts atomic.Int32
	seen := make(map[packets.Type]bool) // only used by the callback of the wire
	release := make(chan struct{})
	w := newWire(t, b.Addr(), func(s sight) bool {
		switch s.kind {
		case packets.PUBLISH:
			if n := publishes.Add(1); n <= 10 {
				cuts.Add(1)
				return true
			} else if n == 11 {
				close(release)
			}
		case packets.PUBREC, packets.PUBREL:
			if !seen[s.kind] {
				seen[s.kind] = true
				cuts.Add(1)
				return true
			}
		}
		return false
	})
	c := open(t, ctx, settings{addr: w.addr, id: "once", advanced: often, consumer: `topics: ["n/#"], qos: Exactly Once`},
		connector.Options{}, func(*connector.Connector) flow.Flow {
			return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
				runs.add(m)
				<-release
				return m, nil
			})
		})
	p := publisher(t, ctx, b.Addr())
	require.NoError(t, p.Publish(ctx, numbered("n/x", packets.ExactlyOnce)(1)))
	eventually(t, ctx, func() (int, bool) { return int(publishes.Load()), w.count(from(packets.PUBCOMP)) > 0 })
	require.EqualValues(t, 12, cuts.Load())
	halt(t, c)
	messages, total := runs.counts()
	require.Equal(t, [2]int{1, 1}, [2]int{messages, total})
	t.Logf("1 message, PUBLISH sent %d times, %d cuts, 1 run", publishes.Load(), cuts.Load())
}

// A flow takes longer than nats-server waits for an acknowledgement: the message is sent again on
// the live connection and does not run again, at QoS 1 and 2.
func TestProofFlowOutlastsAckWait(t *testing.T) {
	thorough.Only(t)
	t.Parallel()
	ackWait, lasts := pick(time.Second, 30*time.Second), pick(3500*time.Millisecond, 40*time.Second)
	b := nats.Start(t, nats.Options{AckWait: ackWait})
	ctx := within(t)
	w := newWire(t, b.Addr(), nil)
	var runs tally
	c := open(t, ctx, settings{addr: w.addr, id: "slow", consumer: `topics: ["n/#"], qos: Exactly Once`},
		connector.Options{}, slow(&runs, lasts))
	p := publisher(t, ctx, b.Addr())
	const messages = 20
	require.NoError(t, publish(ctx, p, 0, messages, func(i int) client.Message { return numbered("n/x", packets.QoS(1+i%2))(i) }))
	eventually(t, ctx, func() (int, bool) {
		return w.count(from(packets.PUBCOMP)), w.count(from(packets.PUBACK)) >= messages/2 && w.count(from(packets.PUBCOMP)) >= messages/2
	})
	halt(t, c)
	ran, total := runs.counts()
	again := w.count(func(s sight) bool { return to(packets.PUBLISH, 1)(s) || to(packets.PUBLISH, 2)(s) }) - messages
	t.Logf("%d messages, flows of %v, sent again after %v: %d times, %d runs", messages, lasts, ackWait, again, total)
	require.Equal(t, [2]int{messages, messages}, [2]int{ran, total})
	require.GreaterOrEqual(t, again, messages/2, "the server sent nothing again: the proof proves nothing")
	require.Equal(t, 1, w.newest(), "one connection")
}

// Two processes with the same ClientID keep disconnecting each other. The first to suspect it logs that and
// stays away for long, so that the other can work.
func TestProofTakeover(t *testing.T) {
	thorough.Only(t)
	apart(t)
	t.Parallel()
	lasts := pick(15*time.Second, 5*time.Minute)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	ctx := within(t)
	var pair []*worker
	for range 2 {
		pair = append(pair, settings{addr: b.Addr(), id: "twin", consumer: `topics: ["n/#"], qos: At Least Once`}.task(t).start(t))
	}
	for _, w := range pair {
		w.started(ctx)
	}
	said := func() (text []string, connects int, suspected bool) {
		for _, w := range pair {
			r := w.now()
			connects += r.Events[string(client.ConnectionUp)]
			suspected = suspected || r.Events["takeover suspected"] > 0
			text = append(text, fmt.Sprint(r.Events))
		}
		return text, connects, suspected
	}
	eventually(t, ctx, func() (int, bool) {
		_, n, suspected := said()
		return n, suspected
	})
	_, before, _ := said()
	time.Sleep(lasts)
	text, after, _ := said()
	t.Logf("%d connections until one suspected it, %d in the %v after that: %s", before, after-before, lasts, strings.Join(text, "; "))
	require.Less(t, after-before, int(lasts/time.Second)/2)
}
