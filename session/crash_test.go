package session_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// TestCrashAnywhere kills a process before each of its outputs, kills the next process before each
// of its own, and lets a third one finish [MQTT-4.1.0-1]. Accepted messages arrive at least once at
// QoS 1 and exactly once at QoS 2, in both directions.
func TestCrashAnywhere(t *testing.T) {
	for _, grouped := range []bool{false, true} {
		for _, lateForgets := range []bool{false, true} {
			t.Run(fmt.Sprintf("grouped=%v/late=%v", grouped, lateForgets), func(t *testing.T) {
				whole := newMachine(t, grouped, lateForgets)
				require.True(t, whole.live(-1))
				whole.check()
				runs := 0
				for first := range whole.outputs {
					for second := -1; ; second++ {
						m := newMachine(t, grouped, lateForgets)
						m.story = fmt.Sprintf("first process: %d outputs, second: %d", first, second)
						require.False(t, m.live(first), m.story)
						if second >= 0 && !m.live(second) {
							require.True(t, m.live(-1), m.story)
						} else if second >= 0 {
							break // the second process finished before it was to die
						} else {
							require.True(t, m.live(-1), m.story)
						}
						m.check()
						runs++
					}
				}
				t.Logf("%d runs", runs)
				require.Greater(t, runs, 500)
			})
		}
	}
}

// A machine holds what outlives the process: the disk, the application and the Server.
type machine struct {
	t           *testing.T
	story       string
	grouped     bool // Saves become durable only when a Send needs them
	lateForgets bool // a Forget becomes durable only when a Send needs it
	outputs     int

	disk    []session.Record
	pending []session.Output // Saves and Forgets that are not durable

	accepted [4]bool            // the application knows that its message is durable
	taken    map[string]bool    // incoming QoS 2 messages whose record is durable
	done     map[string]bool    // incoming QoS 1 messages
	tails    map[uint64]int     // Saves that make a message durable
	acks     map[uint16]string  // incoming QoS 2 messages by identifier
	arrived  map[string]int     // at the Server
	known    map[uint16]bool    // QoS 2 identifiers there
	owed     []*packets.Publish // to the client, in order
	rel      map[uint16]bool    // those of known whose PUBREC has been received
	present  bool

	s       *session.Session
	answers []packets.Packet
}

func newMachine(t *testing.T, grouped, lateForgets bool) *machine {
	m := &machine{
		t: t, grouped: grouped, lateForgets: lateForgets, taken: make(map[string]bool), done: make(map[string]bool),
		arrived: make(map[string]int), known: make(map[uint16]bool), rel: make(map[uint16]bool),
	}
	for i := range 4 {
		m.owed = append(m.owed, &packets.Publish{
			Topic: "in", QoS: packets.QoS(1 + i%2), PacketID: uint16(7 + i), Payload: fmt.Append(nil, "in", i),
		})
	}
	return m
}

// live runs a process until it has finished or dies before its next output. It reports whether it
// finished.
func (m *machine) live(outputs int) bool {
	m.tails, m.acks, m.answers = make(map[uint64]int), make(map[uint16]string), nil
	if m.lateForgets {
		m.pending = slices.DeleteFunc(m.pending, func(o session.Output) bool { return o.Op == session.Forget })
	}
	if m.grouped {
		m.pending = nil
	}
	m.sync(^uint64(0))
	var err error
	m.s, err = session.Restore(session.Config{ClientID: "c", KeepAlive: -1, MaxInflight: 3, Durable: true, NoScrub: true}, slices.Clone(m.disk))
	require.NoError(m.t, err, m.story)
	left := outputs
	now := time.Unix(0, 0)
	drain := func() bool {
		for {
			if left == 0 {
				return false
			}
			o, ok := m.s.Next()
			if !ok {
				return true
			}
			left--
			m.outputs++
			m.perform(*o)
		}
	}
	if !drain() {
		return false
	}
	for i := range m.accepted {
		if m.accepted[i] {
			continue
		}
		_, err := m.s.Publish(now, session.Message{Topic: "out", QoS: packets.QoS(1 + i%2), Payload: fmt.Append(nil, "out", i)})
		require.NoError(m.t, err)
		m.tails[m.s.Tail()] = i
		if !drain() {
			return false
		}
	}
	require.NoError(m.t, m.s.Opened(now, session.Login{}))
	for drain() {
		if len(m.answers) == 0 {
			m.sync(^uint64(0))
			return true
		}
		p := m.answers[0]
		m.answers = m.answers[1:]
		m.s.Received(now, p)
	}
	return false
}

func (m *machine) perform(o session.Output) {
	switch o.Op {
	case session.Save, session.Forget:
		r := *o.Record
		if r.Publish != nil {
			c := *r.Publish
			r.Publish = &c
		}
		o.Record = &r
		m.pending = append(m.pending, o)
		if !m.grouped && (o.Op == session.Save || !m.lateForgets) {
			m.sync(o.N)
		}
	case session.Send:
		m.sync(o.After)
		b, err := o.AppendPacket(nil)
		require.NoError(m.t, err, m.story)
		p, _, err := packets.Parse(b)
		require.NoError(m.t, err, m.story)
		m.serve(p)
	case session.Deliver:
		p := o.Packet.(*packets.Publish)
		require.False(m.t, m.taken[string(p.Payload)], "%s: delivered again after it was on record", m.story)
		if p.QoS == packets.AtLeastOnce {
			m.done[string(p.Payload)] = true
		}
		m.acks[p.PacketID] = string(p.Payload)
		require.NoError(m.t, m.s.Ack(o.Token), m.story)
	case session.Close:
		m.t.Fatalf("%s: closed: %v", m.story, o.Err)
	}
}

// sync makes the outputs up to n durable.
func (m *machine) sync(n uint64) {
	for len(m.pending) > 0 && m.pending[0].N <= n {
		o := m.pending[0]
		m.pending = m.pending[1:]
		w := world{records: m.disk}
		w.forget(*o.Record)
		m.disk = w.records
		if o.Op == session.Forget {
			continue
		}
		m.disk = append(m.disk, *o.Record)
		if i, ok := m.tails[o.N]; ok && o.Record.Kind == session.RecordPublish {
			m.accepted[i] = true
		}
		if o.Record.Kind == session.RecordReceived {
			m.taken[m.acks[o.Record.PacketID]] = true
		}
	}
}

// serve plays the Server: a strict one, with method B of figure 4.3.
func (m *machine) serve(p packets.Packet) {
	answer := func(p packets.Packet) { m.answers = append(m.answers, p) }
	switch p := p.(type) {
	case *packets.Connect:
		answer(&packets.Connack{SessionPresent: m.present})
		for _, o := range m.owed {
			if m.rel[o.PacketID] {
				answer(&packets.Pubrel{PacketID: o.PacketID})
				continue
			}
			o.Dup = m.present
			answer(o.Clone())
		}
		m.present = true
	case *packets.Publish:
		if p.QoS == packets.AtLeastOnce {
			m.arrived[string(p.Payload)]++
			answer(&packets.Puback{PacketID: p.PacketID})
			return
		}
		if !m.known[p.PacketID] {
			m.arrived[string(p.Payload)]++
		}
		m.known[p.PacketID] = true
		answer(&packets.Pubrec{PacketID: p.PacketID})
	case *packets.Pubrel:
		delete(m.known, p.PacketID)
		answer(&packets.Pubcomp{PacketID: p.PacketID})
	case *packets.Puback:
		m.release(p.PacketID)
	case *packets.Pubrec:
		m.rel[p.PacketID] = true
		answer(&packets.Pubrel{PacketID: p.PacketID})
	case *packets.Pubcomp:
		m.release(p.PacketID)
	default:
		m.t.Fatalf("%s: a client sent %v", m.story, p)
	}
}

func (m *machine) release(id uint16) {
	delete(m.rel, id)
	m.owed = slices.DeleteFunc(m.owed, func(o *packets.Publish) bool { return o.PacketID == id })
}

func (m *machine) check() {
	for i := range m.accepted {
		n := m.arrived[fmt.Sprint("out", i)]
		if i%2 == 0 {
			require.GreaterOrEqual(m.t, n, 1, "%s: QoS 1 message %d", m.story, i)
		} else {
			require.Equal(m.t, 1, n, "%s: QoS 2 message %d", m.story, i)
		}
	}
	require.Empty(m.t, m.owed, m.story)
	require.Len(m.t, m.taken, 2, m.story)
	require.Len(m.t, m.done, 2, m.story)
	messages, bytes := m.s.Unfinished()
	require.Zero(m.t, messages+bytes, m.story)
	for _, r := range m.disk {
		require.NotContains(m.t, []session.RecordKind{
			session.RecordPublish, session.RecordReleased, session.RecordReceived,
		}, r.Kind, "%s: something is left on the disk", m.story)
	}
}
