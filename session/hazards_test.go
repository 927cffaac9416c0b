package session_test

import (
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// Hazard 4: after sleep, the client sends one more PINGREQ before it gives up the connection. A
// clock that is set back has no effect.
func TestHazard4SleepAndClockSteps(t *testing.T) {
	start := func() (*session.Session, time.Time) {
		s, err := session.New(session.Config{ClientID: "c", KeepAlive: time.Minute, PingTimeout: 10 * time.Second})
		require.NoError(t, err)
		now := time.Unix(1e9, 0)
		require.NoError(t, s.Opened(now, session.Login{}))
		s.Received(now, &packets.Connack{})
		outputs(s, now)
		return s, now
	}

	s, now := start()
	now = now.Add(time.Hour) // asleep
	s.Tick(now)
	require.Equal(t, []string{"PINGREQ"}, outputs(s, now), "one question after an hour")
	now = now.Add(10 * time.Second)
	s.Tick(now)
	require.Empty(t, outputs(s, now), "the Server has its time")
	now = now.Add(2 * time.Second)
	s.Tick(now)
	require.Equal(t, []string{"close"}, outputs(s, now), "and not more")

	s, now = start()
	now = now.Add(59 * time.Second)
	s.Tick(now)
	require.Equal(t, []string{"PINGREQ"}, outputs(s, now))
	now = now.Add(time.Hour) // asleep with a question under way: what was answered may lie unread
	s.Tick(now)
	require.Equal(t, []string{"PINGREQ"}, outputs(s, now))
	s.Received(now, &packets.Pingresp{})
	now = now.Add(30 * time.Second)
	s.Tick(now)
	require.Empty(t, outputs(s, now), "it lives")

	s, now = start()
	s.Tick(now.Add(-time.Hour))
	require.Empty(t, outputs(s, now), "back in time")
	s.Tick(now.Add(59 * time.Second))
	require.Equal(t, []string{"PINGREQ"}, outputs(s, now))
}

// outputs returns the session's outputs in words, and reports to the session that everything was
// written.
func outputs(s *session.Session, now time.Time) (words []string) {
	for {
		o, ok := s.Next()
		switch {
		case !ok:
			return words
		case o.Op == session.Send:
			words = append(words, o.String())
			s.Written(now, o.N)
		case o.Op == session.Close:
			words = append(words, "close")
		}
	}
}

// Hazard 25: identifiers never run out, collide or become zero. When all are in use the window
// waits, and an identifier is used again only when nothing holds it.
func TestHazard25IdentifiersDoNotRunOut(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c", MaxInflight: 65535, MaxInflightQoS2: 65535, QueueMessages: -1, QueueBytes: -1, NoScrub: true})
	require.NoError(t, err)
	now := time.Unix(1e9, 0)
	require.NoError(t, s.Opened(now, session.Login{}))
	s.Received(now, &packets.Connack{})
	inFlight := make(map[uint16]bool)
	var newest []uint16
	drain := func() {
		newest = newest[:0]
		for o, ok := s.Next(); ok; o, ok = s.Next() {
			if p, is := o.Packet.(*packets.Publish); is && o.Op == session.Send {
				require.NotZero(t, p.PacketID)
				require.False(t, inFlight[p.PacketID], "identifier %d is in flight", p.PacketID)
				inFlight[p.PacketID] = true
				newest = append(newest, p.PacketID)
			}
		}
	}
	const all = 100_000
	for i := range all {
		_, err := s.Publish(now, session.Message{Topic: "t", QoS: packets.QoS(1 + i%2)})
		require.NoError(t, err)
		drain()
	}
	require.Len(t, inFlight, 16384, "the window")
	oldest := uint16(1)
	for n := range all {
		delete(inFlight, oldest)
		if n%2 == 0 {
			s.Received(now, &packets.Puback{PacketID: oldest})
		} else {
			s.Received(now, &packets.Pubrec{PacketID: oldest})
			s.Received(now, &packets.Pubcomp{PacketID: oldest})
		}
		drain()
		require.LessOrEqual(t, len(newest), 1, "one is free, one goes")
		oldest = oldest%32767 + 1
	}
	require.Empty(t, inFlight)
	messages, _ := s.Unfinished()
	require.Zero(t, messages)
}
