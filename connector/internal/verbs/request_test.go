package verbs

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/require"
)

func startBroker(t *testing.T) string {
	t.Helper()
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b.Addr
}

// responder answers each request below ask/ on the corresponding topic below answer/, and on the topic in the
// payload.
func responder(t *testing.T, addr string, answers int) {
	t.Helper()
	dial, err := transport.Dialer("mqtt://"+addr, nil)
	require.NoError(t, err)
	c, err := client.New(client.Config{Dial: dial, ClientID: "responder", CleanSession: true})
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	require.NoError(t, c.Publish(t.Context(), client.Message{Topic: "answer/old", Payload: []byte("retained"), Retain: true, QoS: 1}))
	_, err = c.Subscribe(t.Context(), packets.Subscription{Filter: "ask/#", QoS: 1})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for d, err := range c.Messages(ctx) {
			if err != nil {
				return
			}
			topic := strings.Replace(d.Topic, "ask/", "answer/", 1)
			if strings.HasPrefix(string(d.Payload), "answer/") {
				topic = string(d.Payload)
			}
			for i := range answers {
				c.Publish(ctx, client.Message{Topic: topic, Payload: fmt.Appendf(nil, "%d: %s", i, d.Payload), QoS: d.QoS})
			}
			d.Ack()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		c.Close(context.Background())
	})
}

func TestRequest(t *testing.T) {
	addr := startBroker(t)
	responder(t, addr, 1)
	require.Equal(t, "0: status\n", ok(t, "request", "-b", addr, "-t", "ask/7", "-e", "answer/7", "-m", "status"))
	require.Regexp(t, `^answer/[a-z2-7]{16} 0: \n$`, ok(t, "request", "-b", addr, "-t", "ask/{id}", "-e", "answer/{id}", "-n", "-v", "-q", "1"))
	require.Regexp(t, `^0: answer/mine/[a-z2-7]{16}\n$`, ok(t, "request", "-b", addr, "-t", "ask/x", "-e", "answer/mine/{id}", "-m", "{response-topic}", "--fill"))
	require.Equal(t, "0: {id}\n", ok(t, "request", "-b", addr, "-t", "ask/x", "-e", "answer/x", "-m", "{id}"), "a payload is what was given")
	r := runWith(t, t.Context(), "from a pipe", "request", "-b", addr, "-t", "ask/7", "-e", "answer/7", "-s", "--json")
	require.Zero(t, r.code, r.err)
	var m struct{ Topic, Payload string }
	require.NoError(t, json.Unmarshal([]byte(r.out), &m))
	require.Equal(t, "answer/7", m.Topic)
	require.Equal(t, "0: from a pipe", m.Payload)
	// A message that was retained before is not a response.
	require.Equal(t, "0: new\n", ok(t, "request", "-b", addr, "-t", "ask/old", "-e", "answer/#", "-m", "new"))
}

func TestRequestOfMany(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	responder(t, addr, 3)
	require.Equal(t, "0: x\n1: x\n2: x\n", ok(t, "request", "-b", addr, "-t", "ask/7", "-e", "answer/7", "-m", "x", "-C", "3", "-q", "1"))
	for _, seconds := range []string{"1", "10", "60"} { // one second is enough except on a very slow machine
		r := mqtt311(t, "request", "-b", addr, "-t", "ask/7", "-e", "answer/7", "-m", "x", "-C", "4", "-W", seconds)
		require.Equal(t, command.ExitTimeout, r.code)
		require.Contains(t, r.err, "timed out after "+seconds+" s: no response\n")
		if r.out == "0: x\n1: x\n2: x\n" {
			break // the responses that arrived in time are printed
		}
		require.NotEqual(t, "60", seconds, r.out)
	}
	r := mqtt311(t, "request", "-b", addr, "-t", "nobody", "-e", "answer/7", "-m", "x", "-W", "1", "--lang", "zh", "--json")
	require.Equal(t, command.ExitTimeout, r.code)
	require.Contains(t, r.err, `{"error":"1 秒后超时：没有收到应答","code":7`)
}

// The request is sent only after SUBACK; if the subscription is refused, it is not sent.
func TestRequestWaitsForSuback(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		early := make(chan bool, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			r := packets.NewReader(c, packets.ReaderOptions{})
			said := func() packets.Packet {
				p, err := r.ReadPacket()
				if err != nil {
					return nil
				}
				return packets.Clone(p)
			}
			say := func(p packets.Packet) {
				b, _ := p.AppendBinary(nil)
				c.Write(b)
			}
			said()
			say(&packets.Connack{})
			s, _ := said().(*packets.Subscribe)
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			p := said()
			early <- p != nil
			c.SetReadDeadline(time.Time{})
			if s == nil {
				return
			}
			if refuse {
				say(&packets.Suback{PacketID: s.PacketID, Codes: []packets.SubscribeCode{packets.SubscribeFailure}})
				said()
				return
			}
			say(&packets.Suback{PacketID: s.PacketID, Codes: []packets.SubscribeCode{0}})
			said()
			say(&packets.Publish{Topic: "answer", Payload: []byte("there")})
			said()
		}()
		r := mqtt311(t, "request", "-b", l.Addr().String(), "-t", "ask", "-e", "answer", "-m", "x", "-W", "60")
		require.False(t, <-early)
		if refuse {
			require.Equal(t, command.ExitSubscribe, r.code, r.err)
		} else {
			require.Equal(t, "there\n", r.out, r.err)
		}
		l.Close()
	}
}

func TestRequestRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"request -e a -m x":                    "--topic is missing",
		"request -t a -m x":                    "--response-topic is missing",
		"request -t a -e b":                    "the payload is missing",
		"request -t a -e b -m x -n":            "given in 2 ways",
		"request -t a/# -e b -n":               "[MQTT-3.3.2-2]",
		"request -t a -e b# -n":                "[MQTT-4.7.1-2]",
		"request -t a -e b -n -C 0":            "--count is 0",
		"request -t a -e b -n -W 0":            "--timeout is 0",
		"request -t a -e b -f /no/such/file":   "no such file",
		"request -t a -e b -n extra":           `"extra" is not expected here`,
		"request -t a -e b -n -F %z":           "--format",
		"request -t a -e b -n -b 127.0.0.1:x1": "--broker",
	} {
		r := mqtt311(t, strings.Fields(args)...)
		require.Equal(t, command.ExitUsage, r.code, "%s: %s", args, r.err)
		require.Contains(t, r.err, want, args)
	}
	r := mqtt311(t, "request", "-t", "a", "-e", "b", "-n", "-b", "127.0.0.1:1")
	require.Equal(t, command.ExitConnection, r.code)
}

// If the server closes the connection, the error says so, not only that time is over.
func TestRequestTellsOfOutages(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // closes when SUBSCRIBE arrives
				defer c.Close()
				in := packets.NewReader(c, packets.ReaderOptions{})
				for {
					p, err := in.ReadPacket()
					if _, ok := p.(*packets.Connect); err != nil || !ok {
						return
					}
					c.Write([]byte{0x20, 2, 0, 0})
				}
			}()
		}
	}()
	for lang, says := range map[string]string{"en": `the connection was lost \(the server (closed|reset) it\): connecting again`, "zh": "连接断开（服务端(关闭|重置)了连接）：正在重连"} {
		r := mqtt311(t, "request", "-b", l.Addr().String(), "-t", "q", "-e", "a", "-m", "x", "-W", "2", "--lang", lang)
		require.NotZero(t, r.code)
		require.Regexp(t, says, r.err)
	}
}

// The error about a missing response says how far the request came, with a server that does not answer CONNECT,
// SUBSCRIBE or PUBLISH. The command takes no longer than allowed.
func TestRequestOutOfTime(t *testing.T) {
	for answers, want := range map[int]string{
		0: "timed out after 1 s: not connected, the request was not sent",
		1: "timed out after 1 s: the server has not granted the subscription, the request was not sent",
		2: "timed out after 1 s: no response, and the server did not answer: the request may have arrived",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			in := packets.NewReader(c, packets.ReaderOptions{})
			for n := 0; ; n++ {
				p, err := in.ReadPacket()
				if err != nil {
					return
				}
				if n >= answers {
					continue
				}
				switch p := p.(type) {
				case *packets.Connect:
					c.Write([]byte{0x20, 2, 0, 0})
				case *packets.Subscribe:
					c.Write([]byte{0x90, 3, byte(p.PacketID >> 8), byte(p.PacketID), 1})
				}
			}
		}()
		start := time.Now()
		r := mqtt311(t, "request", "-b", l.Addr().String(), "-t", "a", "-e", "b", "-m", "x", "-q", "1", "-W", "1")
		require.Less(t, time.Since(start), 5*time.Second, "it waits for the answer when its time is over")
		require.Equal(t, command.ExitTimeout, r.code)
		require.Equal(t, "mqtt311: "+want+"\n", r.err)
		l.Close()
	}
}
