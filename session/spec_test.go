package session_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A test for each conformance statement that concerns the state of a Client, named after the
// statement. The commands are those of the conversations (see TestConversations), which show each
// rule in context.

// talk runs commands, one a line, and returns the results.
func talk(t *testing.T, w *world, commands string) []string {
	t.Helper()
	var out []string
	for command := range strings.Lines(commands) {
		if command = strings.TrimSpace(command); command != "" {
			out = append(out, w.do(t, command)...)
		}
	}
	return out
}

// connected returns a world with a session that is connected.
func connected(t *testing.T, settings string) *world {
	t.Helper()
	w := &world{now: time.Unix(0, 0)}
	talk(t, w, "session "+settings+"\nopen\nrecv CONNACK")
	return w
}

// only returns the lines that contain a word.
func only(lines []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(s string) bool { return !strings.Contains(s, word) })
}

func TestMQTT_2_3_1_2(t *testing.T) {
	got := talk(t, connected(t, "inflight=3"), `
		publish t qos=1
		publish t qos=2
		publish t qos=1
		recv PUBACK id=3
		publish t qos=1
		subscribe a:0
		unsubscribe b`)
	require.Equal(t, []string{
		`send    2 PUBLISH "t" qos=1 id=1 dup=0 size=0`,
		`send    3 PUBLISH "t" qos=2 id=2 dup=0 size=0`,
		`send    4 PUBLISH "t" qos=1 id=3 dup=0 size=0`,
		`send    5 PUBLISH "t" qos=1 id=4 dup=0 size=0`,
		`send    6 SUBSCRIBE id=32768 "a":0`,
		`send    7 UNSUBSCRIBE id=32769 "b"`,
	}, only(got, "send"))
}

func TestMQTT_2_3_1_3(t *testing.T) {
	w := connected(t, "")
	got := talk(t, w, `
		publish t qos=2
		lost
		open
		recv CONNACK sp=1
		recv PUBREC id=1
		lost
		open
		recv CONNACK sp=1
		publish t qos=2
		recv PUBCOMP id=1
		publish t qos=2`)
	require.Equal(t, []string{
		`send    2 PUBLISH "t" qos=2 id=1 dup=0 size=0`,
		`send    4 PUBLISH "t" qos=2 id=1 dup=1 size=0`,
		`send    5 PUBREL id=1`,
		`send    7 PUBREL id=1`,
		`send    8 PUBLISH "t" qos=2 id=2 dup=0 size=0`,
		`send    9 PUBLISH "t" qos=2 id=3 dup=0 size=0`,
	}, only(got, "PUB"))
}

func TestMQTT_2_3_1_6(t *testing.T) {
	got := talk(t, connected(t, ""), `
		recv PUBLISH t qos=1 id=11
		ack 1
		recv PUBLISH t qos=2 id=12
		ack 2
		recv PUBREL id=12
		publish t qos=2
		recv PUBREC id=1`)
	require.Equal(t, []string{
		"send    2 PUBACK id=11", "send    3 PUBREC id=12", "send    4 PUBCOMP id=12", "send    6 PUBREL id=1",
	}, slices.DeleteFunc(only(got, "send"), func(s string) bool { return strings.Contains(s, "PUBLISH") }))
}

func TestMQTT_2_3_1_7(t *testing.T) {
	w := connected(t, "")
	require.Empty(t, only(talk(t, w, "subscribe a:1\nrecv SUBACK id=32769 codes=1\nrecv UNSUBACK id=32768"), "done"))
	require.Equal(t, []string{"done    s1 a=1"}, talk(t, w, "recv SUBACK id=32768 codes=1"))
}

func TestMQTT_3_1_0_1(t *testing.T) {
	w := &world{now: time.Unix(0, 0)}
	talk(t, w, "session keepalive=1s")
	got := talk(t, w, "publish t qos=1\nsubscribe a:0\nopen\nwait 5s\nrecv CONNACK")
	require.Equal(t, `send    1 CONNECT client="c" clean=false keepalive=1s`, got[0])
}

func TestMQTT_3_1_0_2(t *testing.T) {
	got := talk(t, connected(t, ""), "open")
	require.Equal(t, []string{"error   session: CONNECT: a network connection is up already [MQTT-3.1.0-2]"}, got)
}

// refused checks that a refusal ends the connection with its code, and that nothing else is sent on
// it: [MQTT-3.1.2-2] [MQTT-3.1.3-9] [MQTT-3.2.2-5].
func refused(t *testing.T, code, text string) {
	t.Helper()
	w := &world{now: time.Unix(0, 0)}
	got := talk(t, w, "session\npublish t qos=1\nopen\nrecv CONNACK code="+code)
	require.Equal(t, []string{
		`send    1 CONNECT client="c" clean=false keepalive=0s`,
		"close   session: server refused the connection: " + text + " (return code " + code + ")",
	}, got)
}

func TestMQTT_3_1_2_2(t *testing.T) { refused(t, "1", "unacceptable protocol version") }
func TestMQTT_3_1_3_9(t *testing.T) { refused(t, "2", "client identifier rejected") }
func TestMQTT_3_2_2_5(t *testing.T) { refused(t, "5", "not authorized") }

func TestMQTT_3_1_2_4(t *testing.T) {
	got := talk(t, connected(t, ""), `
		publish t qos=1
		recv PUBLISH t qos=2 id=5
		ack 1
		lost
		wait 1000h
		open
		recv CONNACK sp=1
		recv PUBLISH t qos=2 id=5 dup=1`)
	require.Equal(t, []string{
		`send    4 CONNECT client="c" clean=false keepalive=0s`,
		"event   connected session_present=true",
		`send    5 PUBLISH "t" qos=1 id=1 dup=1 size=0`,
		"send    6 PUBREC id=5",
	}, got[len(got)-4:])
}

func TestMQTT_3_1_2_6(t *testing.T) {
	got := talk(t, connected(t, "clean=1"), `
		publish t qos=1
		publish t qos=2
		recv PUBLISH t qos=2 id=5
		lost
		ack 1
		open
		recv CONNACK`)
	require.Equal(t, []string{
		"done    p2 session: sent, outcome unknown",
		"error   session: stale acknowledgement",
		`send    4 CONNECT client="c" clean=true keepalive=0s`,
		"event   connected session_present=false",
		`send    5 PUBLISH "t" qos=1 id=1 dup=0 size=0`, // a new message to a new session
	}, got[3:])
}

func TestMQTT_3_1_2_23(t *testing.T) {
	got := talk(t, connected(t, "keepalive=10s"), "wait 9s\nrecv PINGRESP\nwait 9s")
	require.Len(t, only(got, "PINGREQ"), 2)
}

func TestMQTT_3_1_3_2(t *testing.T) {
	got := talk(t, connected(t, ""), "lost\nopen\nrecv CONNACK sp=1\nlost\nopen")
	require.Len(t, only(got, `CONNECT client="c" clean=false`), 2)
}

func TestMQTT_3_1_4_1(t *testing.T) {
	w := &world{now: time.Unix(0, 0)}
	got := talk(t, w, "session\npublish t qos=1\nopen\nlost by=peer\nopen\nrecv CONNACK")
	require.Equal(t, []string{`send    3 PUBLISH "t" qos=1 id=1 dup=0 size=0`}, only(got, "PUBLISH"))
}

func TestMQTT_3_1_4_4(t *testing.T) {
	w := &world{now: time.Unix(0, 0)}
	require.Len(t, talk(t, w, "session\npublish t qos=1\nopen"), 1)
	require.Equal(t, []string{
		"event   connected session_present=false", `send    2 PUBLISH "t" qos=1 id=1 dup=0 size=0`,
	}, talk(t, w, "recv CONNACK"))
}

// Nothing follows CONNECT before CONNACK, so a refusal loses nothing.
func TestMQTT_3_1_4_5(t *testing.T) {
	w := &world{now: time.Unix(0, 0)}
	got := talk(t, w, "session\nopen\npublish t qos=1\npublish t qos=0\nsubscribe a:0\nrecv CONNACK code=3\nlost\nopen\nrecv CONNACK")
	require.Equal(t, []string{
		`send    1 CONNECT client="c" clean=false keepalive=0s`,
		"error   session: not connected",
		"close   session: server refused the connection: server unavailable (return code 3)",
		`send    2 CONNECT client="c" clean=false keepalive=0s`,
		"event   connected session_present=false",
		`send    3 SUBSCRIBE id=32768 "a":0`,
		`send    4 PUBLISH "t" qos=1 id=1 dup=0 size=0`,
	}, slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "lost") }))
}

func TestMQTT_3_2_0_1(t *testing.T) {
	w := &world{now: time.Unix(0, 0)}
	got := talk(t, w, "session\nopen\nrecv PUBLISH t qos=0")
	require.Equal(t, []string{"close   session: PUBLISH: came before CONNACK [MQTT-3.2.0-1]"}, got[1:])
}

func TestMQTT_3_2_2_1(t *testing.T) {
	w := &world{now: time.Unix(0, 0)}
	got := talk(t, w, "session clean=1\nopen\nrecv CONNACK sp=1")
	require.Len(t, only(got, "[MQTT-3.2.2-1]"), 1)
	require.Len(t, only(got, "close"), 1)
}

// Session Present 1: messages that the Server sends again are recognised.
func TestMQTT_3_2_2_2(t *testing.T) {
	got := talk(t, connected(t, ""), "recv PUBLISH t qos=2 id=5\nack 1\nlost\nopen\nrecv CONNACK sp=1\nrecv PUBLISH t qos=2 id=5 dup=1")
	require.Len(t, only(got, "deliver"), 1)
	require.Len(t, only(got, "PUBREC id=5"), 2)
}

// Session Present 0: every incoming message is new, and subscriptions are made again.
func TestMQTT_3_2_2_3(t *testing.T) {
	w := connected(t, "")
	talk(t, w, "subscribe a:1\nrecv SUBACK id=32768 codes=1\nrecv PUBLISH t qos=2 id=5\nack 1\nlost\nopen")
	got := talk(t, w, "recv CONNACK sp=0\nrecv PUBLISH t qos=2 id=5")
	require.Len(t, only(got, "deliver"), 1)
	require.Len(t, only(got, "SUBSCRIBE"), 1)
	require.Len(t, only(got, "session lost"), 1)
}

func TestMQTT_3_3_1_1(t *testing.T) {
	got := talk(t, connected(t, ""), "publish t qos=1\nlost\nopen\nrecv CONNACK sp=1")
	require.Contains(t, got, `send    4 PUBLISH "t" qos=1 id=1 dup=1 size=0`)
}

// A message that matches no filter of ours is delivered like any other: the session does not decide
// whether anyone wants it.
func TestMQTT_3_3_2_3(t *testing.T) {
	got := talk(t, connected(t, ""), "subscribe a:1\nrecv PUBLISH b qos=1 id=1\nack 1")
	require.Contains(t, got, `deliver #1 PUBLISH "b" qos=1 id=1 dup=0 size=0`)
	require.Contains(t, got, "send    3 PUBACK id=1")
}

func TestMQTT_3_3_4_1(t *testing.T) {
	w := connected(t, "")
	require.Empty(t, only(talk(t, w, "recv PUBLISH t qos=0"), "send"))
	require.Equal(t, []string{"send    2 PUBACK id=1"}, only(talk(t, w, "recv PUBLISH t qos=1 id=1\nack 1"), "send"))
	require.Equal(t, []string{"send    3 PUBREC id=2"}, only(talk(t, w, "recv PUBLISH t qos=2 id=2\nack 2"), "send"))
}

func TestMQTT_3_8_3_2(t *testing.T) {
	got := talk(t, connected(t, ""), "subscribe a/#:1\nrecv SUBACK id=32768 codes=128")
	require.Equal(t, []string{`done    s1 session: server refused the filter "a/#" (return code 0x80) a/#=failed`}, only(got, "done"))
}

func TestMQTT_3_8_4_1(t *testing.T) {
	w := connected(t, "")
	require.Empty(t, only(talk(t, w, "subscribe a:1"), "done"))
	require.Equal(t, []string{"done    s1 a=1"}, talk(t, w, "recv SUBACK id=32768 codes=1"))
}

func TestMQTT_3_8_4_2(t *testing.T) {
	w := connected(t, "")
	talk(t, w, "subscribe a:1\nsubscribe b:2")
	require.Equal(t, []string{"done    s2 b=2"}, talk(t, w, "recv SUBACK id=32769 codes=2"))
	require.Equal(t, []string{"done    s1 a=0"}, talk(t, w, "recv SUBACK id=32768 codes=0"))
}

func TestMQTT_3_8_4_5(t *testing.T) {
	got := talk(t, connected(t, ""), "subscribe a:1 b:1\nrecv SUBACK id=32768 codes=1")
	require.Equal(t, []string{
		"close   session: SUBACK: number of return codes is not the number of filters [MQTT-3.8.4-5]",
	}, only(got, "close"))
}

func TestMQTT_3_9_3_1(t *testing.T) {
	got := talk(t, connected(t, ""), "subscribe a:2 b:1 c:1\nrecv SUBACK id=32768 codes=2,1,0")
	require.Equal(t, []string{"done    s1 a=2 b=1 c=0"}, only(got, "done"))
}

func TestMQTT_3_10_4_3(t *testing.T) {
	got := talk(t, connected(t, ""), `
		subscribe a:2
		recv SUBACK id=32768 codes=2
		recv PUBLISH a qos=2 id=1
		unsubscribe a
		recv UNSUBACK id=32769
		ack 1
		recv PUBREL id=1`)
	require.Equal(t, []string{"done    u1 a=0", "send    4 PUBREC id=1", "send    5 PUBCOMP id=1"}, got[len(got)-3:])
}

func TestMQTT_3_10_4_4(t *testing.T) {
	w := connected(t, "")
	require.Empty(t, only(talk(t, w, "unsubscribe a\nrecv UNSUBACK id=32770"), "done"))
	require.Len(t, only(talk(t, w, "recv UNSUBACK id=32768"), "done"), 1)
}

func TestMQTT_3_10_4_5(t *testing.T) {
	got := talk(t, connected(t, ""), "unsubscribe never/subscribed\nrecv UNSUBACK id=32768")
	require.Equal(t, []string{"done    u1 never/subscribed=0"}, only(got, "done"))
}

func TestMQTT_3_12_4_1(t *testing.T) {
	require.Empty(t, only(talk(t, connected(t, "keepalive=10s"), "wait 9s\nrecv PINGRESP\nwait 8s"), "close"))
	require.Len(t, only(talk(t, connected(t, "keepalive=10s"), "wait 30s"), "close"), 1)
}

func TestMQTT_3_14_4_1(t *testing.T) {
	got := talk(t, connected(t, ""), "disconnect")
	require.Equal(t, []string{"send    2 DISCONNECT", "close"}, got)
}

func TestMQTT_3_14_4_2(t *testing.T) {
	w := connected(t, "keepalive=1s")
	talk(t, w, "recv PUBLISH t qos=1 id=1\ndisconnect")
	require.Empty(t, only(talk(t, w, "publish t qos=1\nack 1\nsubscribe a:0\nwait 5s\nrecv PUBREL id=4\ndisconnect"), "send"))
}

func TestMQTT_4_1_0_1(t *testing.T) {
	got := talk(t, connected(t, "durable=1"), `
		publish t qos=1
		publish t qos=2
		recv PUBREC id=2
		recv PUBLISH t qos=2 id=9
		ack 1
		restart
		open
		recv CONNACK sp=1
		recv PUBLISH t qos=2 id=9 dup=1`)
	require.Equal(t, []string{
		"send    2 PUBREL id=2",
		`send    3 PUBLISH "t" qos=1 id=1 dup=1 size=0`,
		"send    4 PUBREC id=9 after=1",
	}, got[len(got)-3:])
}

func TestMQTT_4_1_0_2(t *testing.T) {
	w := connected(t, "")
	talk(t, w, "publish t qos=1\nrecv PUBLISH t qos=2 id=9\nack 1\nwait 10000h")
	require.Equal(t, []string{"done    p1 ok", "send    4 PUBREC id=9"}, talk(t, w, "recv PUBACK id=1\nrecv PUBLISH t qos=2 id=9 dup=1"))
}

func TestMQTT_4_3_1_1(t *testing.T) {
	got := talk(t, connected(t, ""), "publish t qos=0 payload=x\nlost\nopen\nrecv CONNACK sp=1")
	require.Equal(t, []string{`send    2 PUBLISH "t" qos=0 size=1`}, only(got, "PUBLISH"))
}

func TestMQTT_4_3_2_1(t *testing.T) {
	w := connected(t, "")
	require.Equal(t, []string{`send    2 PUBLISH "t" qos=1 id=1 dup=0 size=0`}, talk(t, w, "publish t qos=1"))
	require.Empty(t, only(talk(t, w, "wait 1h\nrecv PUBREC id=1"), "done"))
	require.Equal(t, []string{"done    p1 ok"}, talk(t, w, "recv PUBACK id=1"))
}

func TestMQTT_4_3_2_2(t *testing.T) {
	got := talk(t, connected(t, ""), "recv PUBLISH t qos=1 id=1\nack 1\nrecv PUBLISH t qos=1 id=1 dup=1\nack 2")
	require.Len(t, only(got, "deliver"), 2)
	require.Len(t, only(got, "PUBACK id=1"), 2)
}

func TestMQTT_4_3_3_1(t *testing.T) {
	w := connected(t, "")
	require.Equal(t, []string{`send    2 PUBLISH "t" qos=2 id=1 dup=0 size=0`}, talk(t, w, "publish t qos=2"))
	require.Equal(t, []string{"send    3 PUBREL id=1"}, talk(t, w, "recv PUBREC id=1"))
	got := talk(t, w, "lost\nopen\nrecv CONNACK sp=1")
	require.Empty(t, only(got, "PUBLISH"))
	require.Len(t, only(got, "PUBREL id=1"), 1)
	require.Equal(t, []string{"done    p1 ok"}, talk(t, w, "recv PUBCOMP id=1"))
}

func TestMQTT_4_3_3_2(t *testing.T) {
	w := connected(t, "")
	got := talk(t, w, "recv PUBLISH t qos=2 id=1\nack 1\nrecv PUBLISH t qos=2 id=1 dup=1\nrecv PUBREL id=1")
	require.Len(t, only(got, "deliver"), 1)
	require.Len(t, only(got, "PUBREC id=1"), 2)
	require.Len(t, only(got, "PUBCOMP id=1"), 1)
	require.Len(t, only(talk(t, w, "recv PUBLISH t qos=2 id=1 dup=1"), "deliver"), 1)
}

func TestMQTT_4_4_0_1(t *testing.T) {
	for _, present := range []string{"0", "1"} {
		w := connected(t, "")
		got := talk(t, w, "publish t qos=1\npublish t qos=2\npublish t qos=2\nrecv PUBREC id=3\nlost\nopen\nrecv CONNACK sp="+present)
		require.Equal(t, []string{
			"send    7 PUBREL id=3",
			`send    8 PUBLISH "t" qos=1 id=1 dup=1 size=0`,
			`send    9 PUBLISH "t" qos=2 id=2 dup=1 size=0`,
		}, got[len(got)-3:])
	}
}

// The application acknowledges unwanted messages, too: otherwise nothing after them would ever be
// acknowledged.
func TestMQTT_4_5_0_2(t *testing.T) {
	got := talk(t, connected(t, ""), "recv PUBLISH unwanted qos=1 id=1\nrecv PUBLISH unwanted qos=2 id=2\nack 1\nack 2")
	require.Equal(t, []string{"send    2 PUBACK id=1", "send    3 PUBREC id=2"}, only(got, "send"))
}

func TestMQTT_4_6_0_1(t *testing.T) {
	got := talk(t, connected(t, ""), `
		publish t qos=1 payload=1
		publish t qos=2 payload=22
		publish t qos=1 payload=333
		recv PUBACK id=1
		lost
		open
		recv CONNACK sp=1
		publish t qos=1 payload=4444`)
	require.Equal(t, []string{
		`send    6 PUBLISH "t" qos=2 id=2 dup=1 size=2`,
		`send    7 PUBLISH "t" qos=1 id=3 dup=1 size=3`,
		`send    8 PUBLISH "t" qos=1 id=4 dup=0 size=4`,
	}, got[len(got)-3:])
}

// inOrder checks that acknowledgements leave in the order of arrival, in whatever order the
// application acknowledges.
func inOrder(t *testing.T, qos, ack string) {
	t.Helper()
	var commands strings.Builder
	for _, id := range []string{"7", "3", "5"} {
		commands.WriteString("recv PUBLISH t qos=" + qos + " id=" + id + "\n")
	}
	got := talk(t, connected(t, ""), commands.String()+"ack 3\nack 2\nack 1")
	require.Equal(t, []string{
		"send    2 " + ack + " id=7", "send    3 " + ack + " id=3", "send    4 " + ack + " id=5",
	}, only(got, "send"))
}

func TestMQTT_4_6_0_2(t *testing.T) { inOrder(t, "1", "PUBACK") }
func TestMQTT_4_6_0_3(t *testing.T) { inOrder(t, "2", "PUBREC") }

func TestMQTT_4_6_0_4(t *testing.T) {
	w := connected(t, "")
	got := talk(t, w, "publish t qos=2\npublish t qos=2\npublish t qos=2\nrecv PUBREC id=2\nrecv PUBREC id=3\nrecv PUBREC id=1")
	require.Equal(t, []string{"send    5 PUBREL id=2", "send    6 PUBREL id=3", "send    7 PUBREL id=1"}, only(got, "PUBREL"))
	got = talk(t, w, "lost\nopen\nrecv CONNACK sp=1")
	require.Equal(t, []string{"send    9 PUBREL id=2", "send    10 PUBREL id=3", "send    11 PUBREL id=1"}, only(got, "PUBREL"))
}

func TestMQTT_4_8_0_1(t *testing.T) {
	for _, violation := range []string{"recv CONNACK", "recv SUBSCRIBE", "recv PINGREQ"} {
		w := connected(t, "")
		require.Len(t, only(talk(t, w, violation), "close   session: "), 1, violation)
		require.Empty(t, talk(t, w, "publish t qos=1\nrecv PUBLISH t qos=1 id=1"), violation)
	}
}

// A message that cannot be taken in is left to the Server, with all that follow it. The Server
// sends them again on the next connection.
func TestMQTT_4_8_0_2(t *testing.T) {
	w := connected(t, "")
	require.Empty(t, talk(t, w, "shed\nrecv PUBLISH t qos=1 id=1\nrecv PUBLISH t qos=2 id=2"))
	got := talk(t, w, "lost\nopen\nrecv CONNACK sp=1\nrecv PUBLISH t qos=1 id=1 dup=1\nrecv PUBLISH t qos=2 id=2 dup=1")
	require.Len(t, only(got, "deliver"), 2)
}
