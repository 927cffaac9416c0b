package session_test

import (
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// A round is a driver that takes outputs and discards them, so only the session is measured.
// Package packets has the benchmarks of encoding.
type round struct {
	s     *session.Session
	now   time.Time
	sent  uint64
	id    uint16 // of the newest Send
	token session.Token
	done  int
}

func newRound(tb testing.TB) *round {
	s, err := session.New(session.Config{ClientID: "c", NoScrub: true})
	require.NoError(tb, err)
	r := &round{s: s, now: time.Unix(0, 0)}
	require.NoError(tb, s.Opened(r.now, session.Login{}))
	r.drain()
	r.receive(&packets.Connack{})
	return r
}

func (r *round) drain() {
	for {
		o, ok := r.s.Next()
		if !ok {
			break
		}
		switch o.Op {
		case session.Send:
			r.sent, r.id = o.N, o.PacketID
		case session.Deliver:
			r.token = o.Token
		case session.Done:
			r.done++
		}
	}
	r.s.Written(r.now, r.sent)
}

func (r *round) receive(p packets.Packet) {
	r.s.Received(r.now, p)
	r.drain()
}

// The packets of the four round trips: QoS 1 and 2, in both directions.
var (
	message  = session.Message{Topic: "plant/line/1", Payload: make([]byte, 256)}
	incoming = packets.Publish{Topic: "plant/line/1", Payload: make([]byte, 256), PacketID: 7}
	puback   packets.Puback
	pubrec   packets.Pubrec
	pubrel   = packets.Pubrel{PacketID: 7}
	pubcomp  packets.Pubcomp
)

func (r *round) send1() {
	m := message
	m.QoS = packets.AtLeastOnce
	_, _ = r.s.Publish(r.now, m)
	r.drain()
	puback.PacketID = r.id
	r.receive(&puback)
}

func (r *round) send2() {
	m := message
	m.QoS = packets.ExactlyOnce
	_, _ = r.s.Publish(r.now, m)
	r.drain()
	pubrec.PacketID, pubcomp.PacketID = r.id, r.id
	r.receive(&pubrec)
	r.receive(&pubcomp)
}

func (r *round) receive1() {
	incoming.QoS = packets.AtLeastOnce
	r.receive(&incoming)
	_ = r.s.Ack(r.token)
	r.drain()
}

func (r *round) receive2() {
	incoming.QoS = packets.ExactlyOnce
	r.receive(&incoming)
	_ = r.s.Ack(r.token)
	r.drain()
	r.receive(&pubrel)
}

var rounds = map[string]func(*round){
	"SendQoS1": (*round).send1, "SendQoS2": (*round).send2, "ReceiveQoS1": (*round).receive1, "ReceiveQoS2": (*round).receive2,
}

func BenchmarkRoundTrip(b *testing.B) {
	for name, f := range rounds {
		b.Run(name, func(b *testing.B) {
			r := newRound(b)
			b.ReportAllocs()
			for b.Loop() {
				f(r)
			}
		})
	}
}

// A round trip allocates nothing, in either direction.
func TestRoundTripAllocatesNothing(t *testing.T) {
	for name, f := range rounds {
		r := newRound(t)
		require.Zero(t, testing.AllocsPerRun(1000, func() { f(r) }), name)
	}
	r := newRound(t)
	r.send1()
	r.send2()
	require.Equal(t, 2, r.done, "the rounds end")
}
