package session_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// While the oldest message is unanswered, any number of messages behind it may be given up. They
// take no memory, and the rest are sent in order under their own identifiers [MQTT-2.3.1-3]
// [MQTT-4.6.0-1].
func TestWhatWasGivenUpTakesNoMemory(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c", NoScrub: true, QueueMessages: 10})
	require.NoError(t, err)
	now := time.Unix(0, 0)
	sent := func() (texts []string) {
		for o, ok := s.Next(); ok; o, ok = s.Next() {
			if p, ok := o.Packet.(*packets.Publish); ok && o.Op == session.Send {
				texts = append(texts, fmt.Sprintf("id=%d dup=%t %s", p.PacketID, p.Dup, p.Payload))
			}
		}
		return texts
	}
	publish := func(payload string) session.Token {
		token, err := s.Publish(now, session.Message{Topic: "t", QoS: packets.AtLeastOnce, Payload: []byte(payload)})
		require.NoError(t, err)
		return token
	}
	open := func(sessionPresent bool) {
		require.NoError(t, s.Opened(now, session.Login{}))
		s.Received(now, &packets.Connack{SessionPresent: sessionPresent})
	}
	open(false)
	publish("first")
	require.Equal(t, []string{"id=1 dup=false first"}, sent())
	s.Lost(now, session.Loss{Position: ^uint64(0)})
	kept := publish("kept") // and never given up: what goes lies on either side of it
	sent()

	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const rounds = 200_000
	for range rounds {
		require.True(t, s.Withdraw(publish("late")))
		sent()
	}
	require.Less(t, heap(), before+100<<10)
	last := publish("last")
	sent()

	open(true)
	require.Equal(t, []string{
		"id=1 dup=true first", "id=2 dup=false kept",
	}, sent(), "the last is too far away from the first")
	s.Received(now, &packets.Puback{PacketID: 1})
	require.Empty(t, sent())
	s.Received(now, &packets.Puback{PacketID: 2})
	require.Equal(t, []string{fmt.Sprintf("id=%d dup=false last", 1+(rounds+2)%32767)}, sent())
	require.False(t, s.Withdraw(kept))
	require.False(t, s.Withdraw(last))
	s.Received(now, &packets.Puback{PacketID: 1 + (rounds+2)%32767})
	n, _ := s.Unfinished()
	require.Zero(t, n)
}

// DropOldest finds the oldest message however many were dropped before it.
func TestDropOldestBehindAnUnansweredMessage(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c", NoScrub: true, QueueMessages: 3})
	require.NoError(t, err)
	now := time.Unix(0, 0)
	require.NoError(t, s.Opened(now, session.Login{}))
	s.Received(now, &packets.Connack{})
	var dropped, sent []string
	drain := func() {
		for o, ok := s.Next(); ok; o, ok = s.Next() {
			if o.Op == session.Done {
				require.ErrorIs(t, o.Err, session.ErrQueueFull)
				dropped = append(dropped, o.For.(string))
			}
			if p, ok := o.Packet.(*packets.Publish); ok && o.Op == session.Send {
				sent = append(sent, string(p.Payload))
			}
		}
	}
	for i := range 1000 {
		name := fmt.Sprint(i)
		m := session.Message{Topic: "t", QoS: packets.ExactlyOnce, Payload: []byte(name)}
		if _, err := s.PublishFor(now, m, name); err != nil {
			require.ErrorIs(t, err, session.ErrQueueFull)
			require.True(t, s.DropOldest())
			_, err = s.PublishFor(now, m, name)
			require.NoError(t, err)
		}
		drain()
		if i == 0 {
			s.Lost(now, session.Loss{Position: ^uint64(0)})
		}
	}
	require.Len(t, dropped, 996)
	for i, name := range dropped {
		require.Equal(t, fmt.Sprint(i+1), name)
	}
	sent = nil
	require.NoError(t, s.Opened(now, session.Login{}))
	s.Received(now, &packets.Connack{SessionPresent: true})
	drain()
	require.Equal(t, []string{"0", "997", "998", "999"}, sent)
}

// A store may hold messages with distant sequence numbers: the gaps take no memory.
func TestRestoreOfDistantMessages(t *testing.T) {
	record := func(seq uint64) session.Record {
		id := uint16(1 + seq%32767)
		return session.Record{Kind: session.RecordPublish, Seq: seq, PacketID: id, Publish: &packets.Publish{
			QoS: packets.AtLeastOnce, PacketID: id, Topic: "t", Payload: []byte(fmt.Sprint(seq)),
		}}
	}
	s, err := session.Restore(session.Config{ClientID: "c", NoScrub: true, Durable: true}, []session.Record{
		{Kind: session.RecordSession, Made: session.MadeKept}, record(7), record(1 << 40), {Kind: session.RecordSequence, Seq: 1<<40 + 32},
	})
	require.NoError(t, err)
	n, _ := s.Unfinished()
	require.Equal(t, 2, n)
}
