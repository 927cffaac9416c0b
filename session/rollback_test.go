package session_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A quotaServer is a Server that holds at most quota incoming QoS 2 messages between PUBLISH and
// PUBREL. Messages above the quota wait without an answer, or make it close the connection.
type quotaServer struct {
	quota  int
	closes bool
	bears  int // how many PUBRELs in a row it tolerates; 0: any number

	row       int
	holds     map[uint16]string
	waiting   []*packets.Publish
	delivered map[string]int
	snapshots []map[uint16]string // one for each tenth of the last second
}

// receive returns the answers to a packet, and false if it closes the connection.
func (v *quotaServer) receive(p packets.Packet) ([]packets.Packet, bool) {
	if v.row++; p.Type() != packets.PUBREL {
		v.row = 0
	}
	if v.bears > 0 && v.row > v.bears {
		return nil, false
	}
	switch p := p.(type) {
	case *packets.Connect:
		return []packets.Packet{&packets.Connack{SessionPresent: true}}, true
	case *packets.Pingreq:
		return []packets.Packet{&packets.Pingresp{}}, true
	case *packets.Publish:
		if _, copied := v.holds[p.PacketID]; !copied {
			if len(v.holds) >= v.quota {
				v.waiting = append(v.waiting, p)
				return nil, !v.closes
			}
			v.holds[p.PacketID] = string(p.Payload)
		}
		return []packets.Packet{&packets.Pubrec{PacketID: p.PacketID}}, true
	case *packets.Pubrel:
		answers := []packets.Packet{&packets.Pubcomp{PacketID: p.PacketID}}
		if m, held := v.holds[p.PacketID]; held {
			delete(v.holds, p.PacketID)
			v.delivered[m]++
			if len(v.waiting) > 0 {
				next := v.waiting[0]
				v.waiting = v.waiting[1:]
				more, _ := v.receive(next)
				answers = append(answers, more...)
			}
		}
		return answers, true
	}
	return nil, false
}

// A flight is a packet on its way.
type flight struct {
	at time.Time
	p  packets.Packet
}

// A rollback is a QoS 2 publisher connected to a quotaServer, with a network delay.
type rollback struct {
	t       *testing.T
	s       *session.Session
	v       *quotaServer
	delay   time.Duration // one way
	now     time.Time
	up      bool
	opensAt time.Time // when the next connection comes up
	toUs    []flight
	toThem  []flight
	sent    uint64
	next    int // number of the next message
	done    int // messages
	closes  int // by the Server
	pubrels int // sent
}

func (w *rollback) drain() {
	for {
		o, ok := w.s.Next()
		if !ok {
			return
		}
		switch o.Op {
		case session.Send:
			w.sent = o.N
			b, err := o.AppendPacket(nil)
			require.NoError(w.t, err)
			p, _, err := packets.Parse(b)
			require.NoError(w.t, err)
			if p.Type() == packets.PUBREL {
				w.pubrels++
			}
			w.toThem = append(w.toThem, flight{w.now.Add(w.delay), p})
		case session.Done:
			require.NoError(w.t, o.Err)
			w.done++
		case session.Close:
			w.cut(session.ByUs)
		}
	}
}

// cut ends the connection.
func (w *rollback) cut(by session.EndedBy) {
	if !w.up {
		return
	}
	w.up, w.toUs, w.toThem, w.v.waiting = false, nil, nil, nil
	w.opensAt = w.now.Add(time.Second)
	if by == session.ByPeer {
		w.closes++
	}
	w.s.Lost(w.now, session.Loss{Position: w.sent, By: by})
}

// run lets time pass and returns how many messages were completed meanwhile.
func (w *rollback) run(d time.Duration) int {
	end, before := w.now.Add(d), w.done
	for {
		w.drain()
		for messages, _ := w.s.Unfinished(); messages < 50; messages++ {
			_, err := w.s.Publish(w.now, session.Message{Topic: "t", QoS: packets.ExactlyOnce, Payload: strconv.AppendInt(nil, int64(w.next), 10)})
			require.NoError(w.t, err)
			w.next++
		}
		w.drain()
		w.s.Written(w.now, w.sent)
		w.drain()
		require.NoError(w.t, w.s.SelfCheck())
		at := end
		earlier := func(t time.Time) {
			if !t.IsZero() && t.Before(at) {
				at = t
			}
		}
		if w.up {
			earlier(w.s.Deadline())
			if len(w.toUs) > 0 {
				earlier(w.toUs[0].at)
			}
			if len(w.toThem) > 0 {
				earlier(w.toThem[0].at)
			}
		} else {
			earlier(w.opensAt)
		}
		snapshot := w.now.Truncate(100 * time.Millisecond).Add(100 * time.Millisecond)
		earlier(snapshot)
		if w.now = at; !at.Before(end) {
			return w.done - before
		}
		if at.Equal(snapshot) {
			w.v.snapshots = append(w.v.snapshots, maps.Clone(w.v.holds))
			if n := len(w.v.snapshots); n > 10 {
				w.v.snapshots = w.v.snapshots[n-10:]
			}
		}
		switch {
		case !w.up:
			if !w.now.Before(w.opensAt) {
				w.up = true
				require.NoError(w.t, w.s.Opened(w.now, session.Login{}))
			}
			continue
		case len(w.toThem) > 0 && !w.now.Before(w.toThem[0].at):
			p := w.toThem[0].p
			w.toThem = w.toThem[1:]
			answers, open := w.v.receive(p)
			for _, a := range answers {
				w.toUs = append(w.toUs, flight{w.now.Add(w.delay), a})
			}
			if !open {
				w.cut(session.ByPeer)
				continue
			}
		case len(w.toUs) > 0 && !w.now.Before(w.toUs[0].at):
			p := w.toUs[0].p
			w.toUs = w.toUs[1:]
			w.s.Received(w.now, p)
		}
		w.s.Tick(w.now)
		if at := w.s.Deadline(); !at.IsZero() { // otherwise the driver would not rest
			require.True(w.t, at.After(w.now), "Deadline is %v after Tick at %v", at, w.now)
		}
	}
}

// A history is a publisher whose Server returns four times to a snapshot that is a second old.
type history struct {
	session.Config
	quota  int
	closes bool            // above the quota
	delay  time.Duration   // one way
	by     session.EndedBy // who appears to have ended the connections
	pauses [4]time.Duration
}

// run returns how many messages were completed in ten seconds before the rollbacks, and in ten seconds a
// minute after them. No message published after them is lost or duplicated, and none is given up.
func (h *history) run(t *testing.T) (good, minute int) {
	s, err := session.New(h.Config)
	require.NoError(t, err)
	w := &rollback{
		t: t, s: s, now: time.Unix(0, 0), delay: h.delay,
		v: &quotaServer{quota: h.quota, closes: h.closes, holds: make(map[uint16]string), delivered: make(map[string]int)},
	}
	w.run(10 * time.Second)
	if h.closes {
		w.run(time.Minute) // until the window has become as small as the quota
		w.closes = 0
	}
	good = w.run(10 * time.Second)
	for _, pause := range h.pauses {
		w.v.holds = maps.Clone(w.v.snapshots[0])
		w.cut(h.by)
		w.run(pause)
	}
	since, before := w.next, w.pubrels
	w.run(50 * time.Second)
	minute = w.run(10 * time.Second)
	t.Logf("messages in 10 s: %d before, %d a minute after; %d closes, %d identifiers held, %d PUBRELs",
		good, minute, w.closes, len(w.v.holds), w.pubrels-before)
	for n := since; n < w.next-50; n++ {
		require.Equal(t, 1, w.v.delivered[strconv.Itoa(n)], "message %d", n)
	}
	return good, minute
}

// TestServerIsRolledBack restores a Server with a quota four times to a snapshot that is a second
// old. Its quota is then full of Packet Identifiers that we have used and will never use again. The
// session releases them: within a minute half of the throughput is back.
func TestServerIsRolledBack(t *testing.T) {
	for _, closes := range []bool{false, true} {
		for _, delay := range thorough.Pick([]time.Duration{25 * time.Millisecond}, []time.Duration{5 * time.Millisecond, 25 * time.Millisecond}) {
			for _, quota := range thorough.Pick([]int{20}, []int{16, 20}) {
				t.Run(fmt.Sprintf("closes %v, one way %v, quota %d", closes, delay, quota), func(t *testing.T) {
					h := history{
						Config: session.Config{ClientID: "c", KeepAlive: 5 * time.Second}, quota: quota, closes: closes, delay: delay,
						by: session.ByPeer, pauses: [4]time.Duration{4 * time.Second, 4 * time.Second, 4 * time.Second, 4 * time.Second},
					}
					good, minute := h.run(t)
					require.Greater(t, good, 1000)
					require.GreaterOrEqual(t, minute, good/2)
				})
			}
		}
	}
}

var (
	rollbackSeeds = flag.Int("rollback.seeds", 2, "how many histories TestServerIsRolledBackSomehow draws")
	rollbackSeed  = flag.Uint64("rollback.seed", 0, "the seed of the only one; 0: it draws some")
)

// TestServerIsRolledBackSomehow does the same with random histories. With seed 75, a sweep once stayed below
// the identifiers that a later rollback had taken; with seed 90, a few places of the quota were left, so that
// traffic never stopped completely. With seed 80006666, Deadline stayed in the past while a sweep held back a
// message after its probation.
func TestServerIsRolledBackSomehow(t *testing.T) {
	seeds := []uint64{75, 90, 80006666}
	for range *rollbackSeeds {
		seeds = append(seeds, 1+rand.Uint64N(1e9))
	}
	if *rollbackSeed > 0 {
		seeds = []uint64{*rollbackSeed}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			h := history{delay: time.Duration(1+r.IntN(60)) * time.Millisecond, quota: 1 + r.IntN(32), closes: r.IntN(2) == 0}
			window := 1 + r.IntN(40)
			h.Config = session.Config{ClientID: "c", KeepAlive: 5 * time.Second, MaxInflight: window, MaxInflightQoS2: window}
			h.by = []session.EndedBy{session.ByPeer, session.ByNetwork}[r.IntN(2)]
			for i := range h.pauses {
				h.pauses[i] = time.Duration(500+r.IntN(8000)) * time.Millisecond
			}
			good, minute := h.run(t)
			require.GreaterOrEqual(t, minute, good/2, "-rollback.seed=%d: %+v", seed, h)
		})
	}
}

// TestServerHoldsIdentifiersAhead starts from an older copy of a Store, or without one. The quota of the Server is
// full of Packet Identifiers that a later process had used, further ahead than the session releases identifiers
// before their use. They are released, and no message is given up.
func TestServerHoldsIdentifiersAhead(t *testing.T) {
	for _, closes := range []bool{false, true} {
		for _, ahead := range []int{100, 5000, 32000} {
			for _, quota := range []int{2, 20} {
				t.Run(fmt.Sprintf("closes %v, %d ahead, quota %d", closes, ahead, quota), func(t *testing.T) {
					s, err := session.New(session.Config{ClientID: "c", KeepAlive: 5 * time.Second, MaxInflightQoS2: quota})
					require.NoError(t, err)
					w := &rollback{
						t: t, s: s, now: time.Unix(0, 0), delay: 25 * time.Millisecond,
						v: &quotaServer{quota: quota, closes: closes, holds: make(map[uint16]string), delivered: make(map[string]int)},
					}
					for i := range quota {
						w.v.holds[uint16(ahead+7*i)] = "of the process before"
					}
					w.run(time.Minute)
					t.Logf("%d messages in the first minute, %d closes, %d PUBRELs", w.done, w.closes, w.pubrels)
					require.Equal(t, quota, w.v.delivered["of the process before"])
					require.Greater(t, w.run(10*time.Second), 50)
					for n := range w.next - 50 {
						require.Equal(t, 1, w.v.delivered[strconv.Itoa(n)], "message %d", n)
					}
				})
			}
		}
	}
}

// TestServerBearsFewPubrels does the same with a Server that closes when many PUBRELs come in a row. The
// session then stops releasing for a while instead of trying for ever.
func TestServerBearsFewPubrels(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c", KeepAlive: 5 * time.Second, MaxInflightQoS2: 2})
	require.NoError(t, err)
	w := &rollback{
		t: t, s: s, now: time.Unix(0, 0), delay: 25 * time.Millisecond,
		v: &quotaServer{quota: 2, bears: 700, holds: map[uint16]string{5000: "a", 5001: "b"}, delivered: make(map[string]int)},
	}
	w.run(9 * time.Minute)
	closes := w.closes
	require.LessOrEqual(t, closes, 6)
	w.v.bears = 0
	w.run(2 * time.Minute)
	w.cut(session.ByNetwork) // a later connection tries again
	w.run(10 * time.Minute)
	require.Equal(t, closes, w.closes)
	require.Greater(t, w.done, 50)
}
