package explain

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/capture/capturetest"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/stretchr/testify/require"
)

// told returns the packets and findings in a capture, one a line.
func told(t *testing.T, file []byte) (lines []string, events []Event) {
	t.Helper()
	skipped, err := Capture(bytes.NewReader(file), Options{}, func(e Event) {
		from := ">"
		if e.From == Server {
			from = "<"
		}
		events = append(events, e)
		if e.Finding != nil {
			lines = append(lines, fmt.Sprintf("%d - %v", e.Number, *e.Finding))
			return
		}
		line := fmt.Sprintf("%d %s %s", e.Number, from, e.Packet.Summary)
		for _, f := range e.Packet.Findings {
			line += " ! " + f.String()
		}
		lines = append(lines, line)
	})
	require.NoError(t, err)
	require.NoError(t, skipped.Unreadable)
	return lines, events
}

// Files that tcpdump wrote on the loopback of Linux: IPv4, IPv6 and a WebSocket, with unusual ports.
func TestCapturesOfTcpdump(t *testing.T) {
	for _, name := range []string{"tcpdump-lo.pcap", "tcpdump-lo.pcapng", "tcpdump-any.pcap"} {
		file, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		lines, events := told(t, file)
		require.Equal(t, []string{
			`1 > CONNECT client="real-4" clean=true keepalive=60s`,
			`1 < CONNACK sp=0 code=0`,
			`1 > PUBLISH "plant/7/door" qos=1 id=1 dup=0 size=4`,
			`1 < PUBACK id=1`,
			`1 > DISCONNECT`,
			`1 - the connection ends`,
			`2 > CONNECT client="real-6" clean=true keepalive=60s`,
			`2 < CONNACK sp=0 code=0`,
			`2 > PUBLISH "plant/7/lamp" qos=2 id=1 dup=0 size=2`,
			`2 < PUBREC id=1`,
			`2 > PUBREL id=1`,
			`2 < PUBCOMP id=1`,
			`2 > DISCONNECT`,
			`2 - the connection ends`,
			`3 > CONNECT client="real-ws" clean=true keepalive=60s`,
			`3 < CONNACK sp=0 code=0`,
			`3 > PUBLISH "plant/7/bell" qos=1 id=1 dup=0 size=4`,
			`3 < PUBACK id=1`,
			`3 > DISCONNECT`,
			`3 - the Client closes the WebSocket: 1000`,
			`3 - the Server closes the WebSocket: 1000`,
			`3 - the connection ends`,
		}, lines, name)
		require.Equal(t, OverTCP, events[0].Transport)
		require.Equal(t, "[::1]:21883", events[6].Server.String())
		require.Equal(t, OverWebSocket, events[14].Transport)
		require.EqualValues(t, 21884, events[14].Server.Port())
		require.Equal(t, 2026, events[0].At.Year())
	}
}

// converse holds a conversation with every kind of packet through a proxy, and returns the packets.
func converse(t *testing.T, p *capturetest.Proxy, dial func(context.Context) (net.Conn, error)) *capturetest.Talk {
	t.Helper()
	c, err := client.New(client.Config{
		Dial: dial, ClientID: "explained", CleanSession: true, UserName: "u", Password: []byte("secret word"),
		Will: &packets.Will{Topic: "gone", Payload: []byte("!")}, NoScrub: true,
	})
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	_, err = c.Subscribe(t.Context(), packets.Subscription{Filter: "plant/+/door", QoS: 2})
	require.NoError(t, err)
	for qos := range packets.QoS(3) {
		require.NoError(t, c.Publish(t.Context(), client.Message{Topic: "plant/7/door", Payload: bytes.Repeat([]byte("x"), 3000), QoS: qos}))
	}
	taken := 0
	for d, err := range c.Messages(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, d.Ack())
		if taken++; taken == 3 {
			break
		}
	}
	require.NoError(t, c.Unsubscribe(t.Context(), "plant/+/door"))
	require.NoError(t, c.Close(t.Context()))
	return p.Talk()
}

// A conversation of our client with a real server, over TCP and WebSocket: in order, then with some segments late
// and some repeated, then with one missing.
func TestCaptureOfAConversation(t *testing.T) {
	for _, over := range []Transport{OverTCP, OverWebSocket} {
		t.Run(string(over), func(t *testing.T) {
			var talk *capturetest.Talk
			if over == OverTCP {
				b, err := broker.Start()
				require.NoError(t, err)
				defer b.Close()
				p := capturetest.NewProxy(t, b.Addr)
				dial, err := transport.Dialer("mqtt://"+p.Addr, nil)
				require.NoError(t, err)
				talk = converse(t, p, dial)
			} else {
				b := mosquitto.Start(t, mosquitto.Options{})
				p := capturetest.NewProxy(t, strings.TrimSuffix(strings.TrimPrefix(b.WS, "ws://"), "/mqtt"))
				dial, err := ws.Dialer("ws://"+p.Addr+"/mqtt", nil)
				require.NoError(t, err)
				talk = converse(t, p, dial)
			}
			lines, events := told(t, capturetest.File(capturetest.Format{NG: true, Link: 1}, talk.Segments...))
			require.Equal(t, `1 > CONNECT client="explained" clean=true keepalive=30s will="gone" willqos=0 willretain=false willsize=1 user=yes password=yes`, lines[0])
			kinds := make(map[packets.Type]int)
			for _, e := range events {
				require.Equal(t, over, e.Transport)
				if e.Packet != nil {
					require.Zero(t, e.Packet.Faults(), "%v", e.Packet.Findings)
					kinds[e.Packet.Type]++
				}
			}
			require.Equal(t, 6, kinds[packets.PUBLISH])
			for _, kind := range []packets.Type{packets.CONNACK, packets.SUBSCRIBE, packets.SUBACK, packets.UNSUBSCRIBE, packets.UNSUBACK, packets.DISCONNECT} {
				require.Equal(t, 1, kinds[kind], "%v", kind)
			}
			require.Equal(t, "1 - the connection ends", lines[len(lines)-1])
			require.NotContains(t, fmt.Sprint(lines), "secret word")

			disordered := slices.Clone(talk.Segments)
			for i := 4; i+3 < len(disordered); i += 2 {
				if disordered[i].From == disordered[i+1].From { // swap segments of opposite directions, which a capture may have in either order
					disordered[i], disordered[i+1] = disordered[i+1], disordered[i]
					disordered = slices.Concat(disordered[:i+3], disordered[i:]) // and retransmit three
					i += 3
				}
			}
			again, _ := told(t, capturetest.File(capturetest.Format{Link: 113}, disordered...))
			require.ElementsMatch(t, lines, again)

			// A segment is missing within the payload of a PUBLISH: the packets after it are still found.
			i := slices.IndexFunc(talk.Segments, func(s capturetest.Segment) bool {
				return len(s.Payload) == 1000 && bytes.Count(s.Payload, s.Payload[999:]) > 200
			})
			require.Positive(t, i)
			i++
			for len(talk.Segments[i].Payload) != 1000 {
				i++
			}
			holed, _ := told(t, capturetest.File(capturetest.Format{Link: 1}, slices.Delete(slices.Clone(talk.Segments), i, i+1)...))
			require.Contains(t, fmt.Sprint(holed), "1000 bytes of the")
			require.Contains(t, fmt.Sprint(holed), "were not captured")
			require.Contains(t, fmt.Sprint(holed), "DISCONNECT")
		})
	}
}

// from returns a capture of what a client and a server send in turn.
func from(server string, turns ...[]byte) []byte {
	talk := capturetest.NewTalk("192.0.2.1:40000", server)
	for i, b := range turns {
		if i%2 == 0 {
			talk.Send(b)
		} else {
			talk.Answer(b)
		}
	}
	talk.Finish()
	return capturetest.File(capturetest.Format{Link: 1}, talk.Segments...)
}

// A violation within a conversation is described in one line.
func TestCaptureNamesTheFault(t *testing.T) {
	connect, connack := one(t, &packets.Connect{ClientID: "c", CleanSession: true}), one(t, &packets.Connack{})
	lines, _ := told(t, from("192.0.2.2:4000", connect, connack, []byte{0x32, 5, 0, 1, 't', 0, 0}))
	require.Equal(t, "1 >  ! byte 5: packet identifier is zero [MQTT-2.3.1-1]", lines[2])
	require.Equal(t, "1 - the connection ends, without DISCONNECT", lines[3])
	lines, _ = told(t, from("192.0.2.2:4000", connect, one(t, &packets.Connack{Code: packets.NotAuthorized})))
	require.Contains(t, lines[1], "the Server refused: not authorized.")
	lines, _ = told(t, from("192.0.2.2:4000", []byte("\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00")))
	require.Contains(t, lines[0], "protocol level is 5, not 4 [MQTT-3.1.2-2]")
	lines, _ = told(t, from("192.0.2.2:1883", []byte("hello")))
	require.Contains(t, lines[0], "[MQTT-3.1.0-1]", "what comes to the port of MQTT is told")
}

// TLS connections are reported, and other protocols are skipped.
func TestCaptureOfOthers(t *testing.T) {
	lines, events := told(t, from("192.0.2.2:8883", []byte("\x16\x03\x01\x02\x00\x01\x00"), []byte("\x16\x03\x03")))
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "TLS: what it carries cannot be read")
	require.Equal(t, OverTLS, events[0].Transport)
	for _, other := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-x\r\n", "\x10", "G", "\x10\x20\x00\x04HTTP", "\x10\xff\xff\xff\xff\xff"} {
		lines, _ = told(t, from("192.0.2.2:4000", []byte(other), []byte("answer")))
		require.Empty(t, lines, other)
	}
}

// If the beginning of a connection was not captured, its packets show that it is MQTT and which side is
// the Server.
func TestCaptureFromTheMiddle(t *testing.T) {
	talk := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:9999")
	talk.Send(one(t, &packets.Connect{ClientID: "c", CleanSession: true}))
	talk.Answer(one(t, &packets.Connack{}))
	talk.Send([]byte("half of a payload"))
	talk.Answer(one(t, &packets.Publish{Topic: "a", QoS: 1, PacketID: 9, Payload: []byte("x")}))
	talk.Send(one(t, &packets.Puback{PacketID: 9}))
	lines, events := told(t, capturetest.File(capturetest.Format{Link: 1}, talk.Segments[5:]...))
	require.Equal(t, []string{`1 < PUBLISH "a" qos=1 id=9 dup=0 size=1`, `1 > PUBACK id=9`}, lines)
	require.Equal(t, "192.0.2.2:9999", events[0].Server.String())
	require.True(t, events[0].Partial)

	mid := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:9999")
	mid.Answer(masked(nil, 2, one(t, &packets.Pingresp{})))
	mid.Send(masked([]byte{1, 2, 3, 4}, 2, one(t, &packets.Pingreq{})))
	lines, events = told(t, capturetest.File(capturetest.Format{Link: 1}, mid.Segments[3:]...))
	require.Equal(t, []string{`1 < PINGRESP`, `1 > PINGREQ`}, lines)
	require.Equal(t, OverWebSocket, events[0].Transport)
}

// masked returns a WebSocket frame.
func masked(mask []byte, opcode byte, b []byte) []byte {
	frame := []byte{0x80 | opcode, byte(len(b))}
	if mask == nil {
		return append(frame, b...)
	}
	frame[1] |= 0x80
	frame = append(frame, mask...)
	for i, c := range b {
		frame = append(frame, c^mask[i&3])
	}
	return frame
}

// Violations of the WebSocket protocol are reported with their statement.
func TestCaptureOfAWebSocket(t *testing.T) {
	ask := func(protocol string) []byte {
		return []byte("GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nAuthorization: Basic c2VjcmV0\r\n" + protocol + "\r\n")
	}
	const mqtt = "Sec-WebSocket-Protocol: mqtt\r\n"
	yes := "HTTP/1.1 101 Switching Protocols\r\n"
	connect := one(t, &packets.Connect{ClientID: "c", CleanSession: true})
	mask := []byte{1, 2, 3, 4}
	// Fragments, with a ping between them, and two packets in a frame.
	fragment := masked(mask, 2, connect[:5])
	fragment[0] &^= 0x80
	fragments := slices.Concat(fragment, masked(mask, 9, []byte("ping")), masked(mask, 0, append(connect[5:len(connect):len(connect)], one(t, &packets.Pingreq{})...)))
	lines, _ := told(t, from("192.0.2.2:80", ask(mqtt), []byte(yes+mqtt+"\r\n"), fragments,
		masked(nil, 2, one(t, &packets.Connack{})), masked(mask, 8, []byte("\x03\xe8bye"))))
	require.Equal(t, []string{
		`1 > CONNECT client="c" clean=true keepalive=0s`, `1 > PINGREQ`, `1 < CONNACK sp=0 code=0`,
		`1 - the Client closes the WebSocket: 1000 "bye"`, `1 - the connection ends, without DISCONNECT`,
	}, lines)
	for want, turns := range map[string][][]byte{
		`the request offers the subprotocol "" instead of "mqtt" [MQTT-6.0.0-3]`: {ask(""), []byte(yes + mqtt + "\r\n")},
		`instead of "mqtt" [MQTT-6.0.0-3]`:                                       {ask("Sec-WebSocket-Protocol: mqttv3.1\r\n")},
		`the Server chose no subprotocol; "mqtt" is required [MQTT-6.0.0-4]`:     {ask(mqtt), []byte(yes + "\r\n")},
		`the Server chose the subprotocol "amqp"`:                                {ask(mqtt), []byte(yes + "Sec-WebSocket-Protocol: amqp\r\n\r\n")},
		`the Server answered HTTP status "403"`:                                  {ask(mqtt), []byte("HTTP/1.1 403 Forbidden\r\n\r\n")},
		`a text frame: MQTT must use binary frames [MQTT-6.0.0-1]`:               {ask(mqtt), []byte(yes + mqtt + "\r\n"), masked(mask, 1, []byte("text"))},
		`a frame of the Client is masked the wrong way`:                          {ask(mqtt), []byte(yes + mqtt + "\r\n"), masked(nil, 2, connect)},
		`reserved bits`: {ask(mqtt), []byte(yes + mqtt + "\r\n"), masked(mask, 0x42, connect)},
	} {
		lines, _ := told(t, from("192.0.2.2:80", turns...))
		require.Contains(t, strings.Join(lines, "\n"), want)
		require.NotContains(t, strings.Join(lines, "\n"), "c2VjcmV0")
	}
}

// Whatever a file contains, packets are consistent and findings have texts in both languages.
func FuzzExplain(f *testing.F) {
	for _, name := range []string{"tcpdump-lo.pcap", "tcpdump-lo.pcapng", "tcpdump-any.pcap"} {
		file, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {

		Capture(bytes.NewReader(file), Options{}, func(e Event) {
			for _, lang := range []string{"en", "zh"} {
				if e.Finding != nil && e.Finding.Line(lang) == "" {
					t.Fatal("a finding says nothing")
				}
			}
			if p := e.Packet; p != nil && (p.Held > mostHeld || p.Size < 0 || p.Faults() == 0 && p.Size < int64(p.Held)) {
				t.Fatalf("%+v", p)
			}
		})
	})
}
