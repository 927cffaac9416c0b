package session_test

import (
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// Plain accepts exactly the packets that Received would only deliver. They count as a sign of life.
func TestPlain(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c", KeepAlive: time.Minute})
	require.NoError(t, err)
	now := time.Unix(1e9, 0)
	zero := &packets.Publish{Topic: "t"}
	_, ok := s.Plain(now, zero)
	require.False(t, ok, "no connection")
	require.NoError(t, s.Opened(now, session.Login{}))
	_, ok = s.Plain(now, zero)
	require.False(t, ok, "before CONNACK it ends the connection [MQTT-3.2.0-1]")
	s.Received(now, &packets.Connack{})
	outputs(s, now)
	for _, p := range []packets.Packet{&packets.Publish{Topic: "t", QoS: 1, PacketID: 1}, &packets.Pingresp{}, &packets.Suback{PacketID: 1}} {
		_, ok = s.Plain(now, p)
		require.False(t, ok, p)
	}

	now = now.Add(59 * time.Second)
	s.Tick(now)
	require.Equal(t, []string{"PINGREQ"}, outputs(s, now))
	now = now.Add(5 * time.Second)
	got, ok := s.Plain(now, zero)
	require.True(t, ok)
	require.Same(t, zero, got)
	require.Empty(t, outputs(s, now))
	now = now.Add(20 * time.Second)
	s.Tick(now)
	require.Empty(t, outputs(s, now), "it lives")
}

// DropOldest drops messages that were never sent, oldest first, and none that may have left.
func TestDropOldest(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c", MaxInflight: 1})
	require.NoError(t, err)
	now := time.Unix(1e9, 0)
	require.NoError(t, s.Opened(now, session.Login{}))
	s.Received(now, &packets.Connack{})
	var tokens []session.Token
	for range 3 {
		token, err := s.Publish(now, session.Message{Topic: "t", QoS: 1})
		require.NoError(t, err)
		tokens = append(tokens, token)
	}
	outputs(s, now)
	for _, want := range tokens[1:] {
		require.True(t, s.DropOldest())
		o, ok := s.Next()
		require.True(t, ok)
		require.Equal(t, session.Done, o.Op)
		require.Equal(t, want, o.Token)
		require.ErrorIs(t, o.Err, session.ErrQueueFull)
	}
	require.False(t, s.DropOldest(), "the first may have left")
	s.Lost(now, session.Loss{Position: 2})
	require.False(t, s.DropOldest(), "and goes again")
}

// Awaits predicts whether Received will deliver a PUBLISH, or recognise it or leave it to the Server.
func TestAwaits(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c"})
	require.NoError(t, err)
	now := time.Unix(1e9, 0)
	connect := func(present bool) {
		require.NoError(t, s.Opened(now, session.Login{}))
		s.Received(now, &packets.Connack{SessionPresent: present})
		outputs(s, now)
	}
	connect(false)
	counts := make(map[bool]int)
	for round := range 8 {
		for i := range 64 { // each QoS, new and again, one topic or another, acknowledged or not
			p := &packets.Publish{Topic: []string{"a", "b"}[i>>2&1], QoS: packets.QoS(i % 3), Dup: i>>3&1 == 1 && i%3 > 0}
			if p.QoS > 0 {
				p.PacketID = uint16(1 + i>>4)
			}
			s.Shed(round == 6 && i >= 32)
			want := s.Awaits(p)
			s.Received(now, p)
			delivered := false
			for o, ok := s.Next(); ok; o, ok = s.Next() {
				if o.Op == session.Deliver {
					delivered = true
					if i%5 == 0 && o.Token != 0 {
						require.NoError(t, s.Ack(o.Token))
					}
				}
			}
			require.Equal(t, delivered, want, "round %d, %d: %s", round, i, p)
			counts[want]++
			if i%7 == 0 {
				s.Received(now, &packets.Pubrel{PacketID: uint16(1 + i>>4)})
			}
		}
		if round%2 == 1 {
			s.Lost(now, session.Loss{})
			outputs(s, now)
			connect(round != 3)
		}
	}
	require.Greater(t, counts[true], 50)
	require.Greater(t, counts[false], 50)
}
