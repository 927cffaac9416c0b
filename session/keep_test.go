package session_test

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// A finished message is not kept in memory, however long it takes until the next one comes: a
// payload can be as large as 256 MB.
func TestNothingIsKept(t *testing.T) {
	now := time.Now()
	for qos := packets.AtMostOnce; qos <= packets.ExactlyOnce; qos++ {
		s, err := session.New(session.Config{ClientID: "c", CleanSession: true})
		require.NoError(t, err)
		drain := func() {
			for o, ok := s.Next(); ok; o, ok = s.Next() {
				if o.Op == session.Send {
					s.Written(now, o.N)
				}
			}
		}
		require.NoError(t, s.Opened(now, session.Login{}))
		drain()
		s.Received(now, &packets.Connack{})
		drain()
		payload := make([]byte, 1<<20)
		kept := weak.Make(&payload[0])
		_, err = s.Publish(now, session.Message{Topic: "a", Payload: payload, QoS: qos})
		require.NoError(t, err)
		payload = nil
		drain()
		switch qos {
		case packets.AtLeastOnce:
			s.Received(now, &packets.Puback{PacketID: 1})
		case packets.ExactlyOnce:
			s.Received(now, &packets.Pubrec{PacketID: 1})
			drain()
			s.Received(now, &packets.Pubcomp{PacketID: 1})
		}
		drain()
		runtime.GC()
		require.Nil(t, kept.Value(), "at QoS %d", qos)
		runtime.KeepAlive(s)
	}
}
