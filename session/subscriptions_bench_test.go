package session_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// A QoS 1 round trip costs the same however many subscriptions there are.
func BenchmarkRoundTripBesideSubscriptions(b *testing.B) {
	for _, n := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := subscribed(b, n)
			now, ack := time.Unix(0, 0), new(packets.Puback)
			for b.Loop() {
				_, err := s.Publish(now, session.Message{Topic: "t", QoS: packets.AtLeastOnce})
				if err != nil {
					b.Fatal(err)
				}
				for o, ok := s.Next(); ok; o, ok = s.Next() {
					if p, ok := o.Packet.(*packets.Publish); ok {
						ack.PacketID = p.PacketID
					}
				}
				s.Received(now, ack)
				drain(s)
			}
		})
	}
}

// Subscribing to one filter costs the same however many there are.
func BenchmarkSubscribe(b *testing.B) {
	for _, n := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := subscribed(b, n)
			for b.Loop() {
				answerSubscribe(b, s, "one")
			}
		})
	}
}

// subscribed returns a connected session with n subscriptions.
func subscribed(tb testing.TB, n int) *session.Session {
	s, err := session.New(session.Config{ClientID: "c", KeepAlive: -1})
	require.NoError(tb, err)
	require.NoError(tb, s.Opened(time.Unix(0, 0), session.Login{}))
	drain(s)
	s.Received(time.Unix(0, 0), &packets.Connack{})
	drain(s)
	for i := range n {
		answerSubscribe(tb, s, fmt.Sprint("f/", i))
	}
	return s
}

func answerSubscribe(tb testing.TB, s *session.Session, filter string) {
	_, err := s.Subscribe(time.Unix(0, 0), packets.Subscription{Filter: filter})
	require.NoError(tb, err)
	var id uint16
	for o, ok := s.Next(); ok; o, ok = s.Next() {
		if p, ok := o.Packet.(*packets.Subscribe); ok {
			id = p.PacketID
		}
	}
	s.Received(time.Unix(0, 0), &packets.Suback{PacketID: id, Codes: []packets.SubscribeCode{0}})
	drain(s)
}

func drain(s *session.Session) {
	for {
		if _, ok := s.Next(); !ok {
			return
		}
	}
}
