package session_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// New and Restore report every mistake in a Config at once.
func TestConfigErrors(t *testing.T) {
	cfg := session.Config{KeepAlive: 20 * time.Hour}
	_, err := session.New(cfg)
	require.ErrorContains(t, err, "[MQTT-3.1.3-7]")
	require.ErrorContains(t, err, "20h0m0s is above 18h12m15s")
	_, err = session.Restore(cfg, nil)
	require.Error(t, err)
	_, err = session.New(session.Config{ClientID: "a\x00b"})
	require.ErrorContains(t, err, "[MQTT-1.5.3-2]")
	_, err = session.New(session.Config{CleanSession: true})
	require.NoError(t, err)
}

// Opened refuses a login that no CONNECT can carry, and does not begin the Network Connection.
func TestOpenedRefusesALogin(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c"})
	require.NoError(t, err)
	now := time.Unix(0, 0)
	require.ErrorContains(t, s.Opened(now, session.Login{HasPassword: true}), "[MQTT-3.1.2-22]")
	_, ok := s.Next()
	require.False(t, ok, "nothing is sent")
	require.NoError(t, s.Opened(now, session.Login{}))
}

// The queries that a driver may make between its inputs.
func TestQueries(t *testing.T) {
	w := connected(t, "durable=1")
	require.True(t, w.s.Up())
	require.False(t, w.s.Outstanding())
	require.EqualValues(t, 1, w.s.Tail(), "how the session is made is on record")

	talk(t, w, "publish t qos=1 payload=12345")
	messages, bytes := w.s.Unfinished()
	require.Equal(t, 1, messages)
	require.Equal(t, len("t")+5, bytes)
	require.EqualValues(t, 3, w.s.Tail())
	require.True(t, w.s.Outstanding())
	talk(t, w, "recv PUBACK id=1")
	require.False(t, w.s.Outstanding())

	talk(t, w, "subscribe a:1 b/#:2\nunsubscribe c")
	require.True(t, w.s.Outstanding())
	require.Equal(t, []packets.Subscription{{Filter: "a", QoS: 1}, {Filter: "b/#", QoS: 2}}, w.s.Wanted())

	talk(t, w, "recv PUBLISH t qos=1 id=1")
	require.True(t, w.s.Unacked(w.tokens[0]))
	talk(t, w, "ack 1")
	require.False(t, w.s.Unacked(w.tokens[0]))

	talk(t, w, "lost")
	require.False(t, w.s.Up())
}

// Tokens that the session never issued have no effect.
func TestForeignTokens(t *testing.T) {
	w := connected(t, "")
	for _, token := range []session.Token{0, 99, 1 << 40, 1<<62 | 7, 3 << 62, ^session.Token(0)} {
		require.ErrorIs(t, w.s.Ack(token), session.ErrStale)
		require.False(t, w.s.Unacked(token))
		require.False(t, w.s.Withdraw(token))
		w.s.Keep(token)
	}
	require.Empty(t, w.drain())
}

// After Keep the caller may reuse its memory.
func TestKeep(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c"})
	require.NoError(t, err)
	now := time.Unix(0, 0)
	payload := []byte("first")
	token, err := s.Publish(now, session.Message{Topic: "t", QoS: 1, Payload: payload})
	require.NoError(t, err)
	s.Keep(token)
	copy(payload, "other")
	require.NoError(t, s.Opened(now, session.Login{}))
	s.Received(now, &packets.Connack{})
	var sent []byte
	for o, ok := s.Next(); ok; o, ok = s.Next() {
		if o.Op == session.Send {
			sent, err = o.AppendPacket(nil)
			require.NoError(t, err)
		}
	}
	require.Contains(t, string(sent), "first")
}

// A message that no packet can carry is refused and changes nothing.
func TestPublishRefuses(t *testing.T) {
	w := connected(t, "")
	for _, qos := range []packets.QoS{0, 1, 2, 3} {
		_, err := w.s.Publish(w.now, session.Message{Topic: "a/#", QoS: qos})
		var refused *packets.EncodeError
		require.ErrorAs(t, err, &refused)
	}
	require.Empty(t, w.drain())
	messages, _ := w.s.Unfinished()
	require.Zero(t, messages)
}

// ErrQueueFull and ErrNotConnected are kinds of ErrNotSent, ErrPoison one of ErrUnknown.
func TestErrorKinds(t *testing.T) {
	require.ErrorIs(t, session.ErrQueueFull, session.ErrNotSent)
	require.ErrorIs(t, session.ErrNotConnected, session.ErrNotSent)
	require.ErrorIs(t, session.ErrPoison, session.ErrUnknown)
	require.Equal(t, "event 200", session.EventKind(200).String())
	require.Equal(t, "event 0", session.EventKind(0).String())
}

// Output.String describes a Send, of a packet as of an acknowledgement.
func TestSendInWords(t *testing.T) {
	s, err := session.New(session.Config{ClientID: "c"})
	require.NoError(t, err)
	now := time.Unix(0, 0)
	require.NoError(t, s.Opened(now, session.Login{}))
	s.Received(now, &packets.Connack{})
	s.Received(now, &packets.Pubrel{PacketID: 7})
	s.Disconnect()
	var said []string
	for o, ok := s.Next(); ok; o, ok = s.Next() {
		if o.Op == session.Send {
			said = append(said, o.String())
		}
	}
	require.Equal(t, []string{`CONNECT client="c" clean=false keepalive=30s`, "PUBCOMP id=7", "DISCONNECT"}, said)
}

// Restore accepts records in any order, and ignores what belongs to no message.
func TestRestoreLeftovers(t *testing.T) {
	publish := func(seq uint64) session.Record {
		return session.Record{Kind: session.RecordPublish, Seq: seq, Publish: &packets.Publish{Topic: "t", QoS: 2}}
	}
	s, err := session.Restore(session.Config{ClientID: "c", Durable: true}, []session.Record{
		{Kind: session.RecordReleased, Seq: 3, Order: 2},
		{Kind: session.RecordReleased, Seq: 99, Order: 1}, // its message is gone
		publish(5), publish(3),
		{Kind: session.RecordReleased, Seq: 4, Order: 3}, // so is its one
		{Kind: session.RecordApplication},
	})
	require.NoError(t, err)
	messages, _ := s.Unfinished()
	require.Equal(t, 2, messages)
	w := &world{s: s, now: time.Unix(0, 0)}
	require.Equal(t, []string{"send    2 PUBREL id=4", `send    3 PUBLISH "t" qos=2 id=6 dup=1 size=0`},
		only(talk(t, w, "open\nrecv CONNACK sp=1"), "PUB"))
}

// SUBSCRIBE and UNSUBSCRIBE alternate within the limits on filters per packet and on unanswered
// requests.
func TestManyRequests(t *testing.T) {
	w := connected(t, "filters=2")
	var commands strings.Builder
	for range 40 {
		commands.WriteString("subscribe a:0 b:0\nunsubscribe c\n")
	}
	require.Len(t, only(talk(t, w, commands.String()), "send"), 16)
}
