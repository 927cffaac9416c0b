package command

import (
	"encoding"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// scripted starts a server that answers each packet with answer; if that returns nil or a slice
// with a nil, the server closes the connection.
func scripted(t *testing.T, answer func(packets.Packet) []packets.Packet) string {
	t.Helper()
	return serveTCP(t, func(c net.Conn) {
		in := packets.NewReader(c, packets.ReaderOptions{})
		for {
			p, err := in.ReadPacket()
			if err != nil {
				return
			}
			answers := answer(p)
			if answers == nil {
				return
			}
			for _, a := range answers {
				if a == nil {
					return
				}
				b, err := a.(encoding.BinaryAppender).AppendBinary(nil)
				if err != nil {
					panic(err)
				}
				c.Write(b)
			}
		}
	})
}

// Hints after errors of pub and sub are about pub and sub, and never contradict the error.
func TestHintsOfTheCommand(t *testing.T) {
	t.Parallel()
	addr := scripted(t, func(p packets.Packet) []packets.Packet {
		switch p.(type) {
		case *packets.Connect:
			return []packets.Packet{&packets.Connack{}}
		case *packets.Pingreq:
			return []packets.Packet{&packets.Pingresp{}}
		}
		return nil
	})
	for _, args := range [][]string{{"pub", "-q", "1"}, {"pub", "-q", "2"}, {"pub", "-q", "1", "--lang", "zh"}} {
		r := runWith(t, t.Context(), "", append(args, "-b", addr, "-t", "forbidden/x", "-m", "x")...)
		require.Equal(t, ExitPublish, r.code)
		require.NotContains(t, r.err, "auto_reconnect")
		require.NotContains(t, r.err, "not published")
		require.NotContains(t, r.err, "自动重试")
		require.NotContains(t, r.err, "发布失败。")
		require.Regexp(t, "may have arrived|可能已送达", r.err)
		// The error says what failed, for which topic, and who closed.
		require.Regexp(t, `^mqtt311: (publish "forbidden/x": sent, outcome unknown: the server (closed|reset) the connection|发布 "forbidden/x"：已发送，结果未知：服务端(关闭|重置)了连接)\n`, r.err)
		require.Regexp(t, "The server closed the connection without an answer|服务端没有应答而是关闭了连接", r.err)
	}
	for _, args := range [][]string{{"-q", "1"}, {"-q", "2"}, {"-q", "2", "--lang", "zh"}} { // with -l, which publishes again after a reconnect
		r := runWith(t, t.Context(), "x\n", append([]string{"pub", "-l", "-b", addr, "-t", "forbidden/x"}, args...)...)
		require.Equal(t, ExitPublish, r.code)
		require.Regexp(t, `(?m)^mqtt311: (publish|发布) "forbidden/x"(: |：).*(closes the connection over this message|因该消息断开连接|the server (closed|reset) the connection|服务端(关闭|重置)了连接)$`, r.err)
		require.Regexp(t, "may have arrived|可能已送达", r.err)
	}
	p := &Program{byOptions: true, Stderr: io.Discard}
	for _, kind := range []flow.ErrorType{
		flow.TypeConnectionLost, flow.TypeWriteTimeout, flow.TypeSubscribe, flow.TypeRejected, flow.TypeSubscribeTimeout,
		flow.TypePublishTimeout, flow.TypePayloadTooLarge,
		flow.TypeRuntime, flow.TypeTimeout, flow.TypePublish, flow.TypeRefused, flow.TypeProtocol, flow.TypeConnectTimeout,
		flow.TypeNotAuthorized, flow.TypePingTimeout, flow.TypeInvalidTopic, flow.TypePublishRefused, flow.TypeTLSExpired,
	} {
		for _, lang := range []string{"en", "zh"} {
			p.Lang = lang
			hint := p.hint(ExitRuntime, &flow.Error{Type: kind})
			require.NotContains(t, hint, "_", "%s names a setting of a configuration: %s", kind, hint)
			require.NotContains(t, strings.ToLower(hint), "connector", kind)
			require.NotContains(t, hint, "flow", kind)
			require.NotContains(t, hint, "流", kind)
		}
	}
}

// If some filters are refused, sub reports them and continues with the others; if all are refused,
// it ends.
func TestSubOneFilterRefused(t *testing.T) {
	t.Parallel()
	addr := scripted(t, func(p packets.Packet) []packets.Packet {
		switch p := p.(type) {
		case *packets.Connect:
			return []packets.Packet{&packets.Connack{}}
		case *packets.Subscribe:
			s := &packets.Suback{PacketID: p.PacketID}
			for _, sub := range p.Subscriptions {
				if strings.HasPrefix(sub.Filter, "secret") {
					s.Codes = append(s.Codes, packets.SubscribeFailure)
				} else {
					s.Codes = append(s.Codes, 0)
				}
			}
			return []packets.Packet{s, &packets.Publish{Topic: "open", Payload: []byte("x")}}
		}
		return nil
	})
	for _, test := range []struct {
		args      string
		code      int
		out, says string
	}{
		{"-t secret/1 -t open", ExitInterrupt, "x\n", `"secret/1"`},
		{"-t secret/1 -t open --lang zh", ExitInterrupt, "x\n", `"secret/1"`},
		{"-t open -t secret/1 -t secret/2 -E", 0, "", `"secret/2"`},
		{"-t secret/1 -t secret/2", ExitSubscribe, "", "secret/2"},
	} {
		r := startRun(t, append([]string{"sub", "-b", addr}, strings.Fields(test.args)...)...)
		r.err.until(t, test.says)
		if test.code == ExitInterrupt { // still running
			r.out.until(t, test.out)
			r.stop()
		}
		r.ends(t, test.code)
		if test.out != "" {
			require.Equal(t, test.out, r.out.String())
		}
	}
}

// The WebSocket headers reach the server; no error shows a value.
func TestWebSocketHeaders(t *testing.T) {
	t.Setenv("TOKEN_OF_TEST", "topsecret")
	request := make(chan string, 1)
	addr := serveTCP(t, func(c net.Conn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		request <- string(b[:n])
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	})
	r := mqtt311(t, "pub", "-L", "ws://"+addr+"/mqtt", "-t", "t", "-m", "x", "--ws-header", "Authorization: Bearer ${TOKEN_OF_TEST}", "--ws-header", "x-a:b:c")
	got := <-request
	require.Contains(t, got, "Authorization: Bearer topsecret\r\n")
	require.Contains(t, got, "X-A: b:c\r\n")
	require.NotContains(t, r.err, "topsecret")
	for header, says := range map[string]string{
		"topsecret":            "--ws-header: write",
		": topsecret":          "--ws-header: write",
		"a b: topsecret":       "--ws-header: write",
		"A: topsecret\r\nB: c": "control character",
		"A: ${NOBODY_SET_IT}":  "NOBODY_SET_IT is not in the environment",
	} {
		for _, way := range [][]string{{"--ws", "-b", addr}, {"-L", "ws://" + addr + "/"}} {
			r := mqtt311(t, append([]string{"pub", "-t", "t", "-m", "x", "--ws-header", header}, way...)...)
			require.Equal(t, ExitUsage, r.code, r.err)
			require.Contains(t, r.err, says)
			require.NotContains(t, r.err, "topsecret")
		}
	}
	r = mqtt311(t, "pub", "-b", addr, "-t", "t", "-m", "x", "--ws-header", "A: b")
	require.Contains(t, r.err, "--ws-header needs --ws")
}

// The table in the documents lists each option of mosquitto's tools, and those listed as the same
// exist.
func TestOptionsOfMosquitto(t *testing.T) {
	text, err := os.ReadFile("../../../docs/command.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(text), "| of mosquitto's | here |")
	table, _, _ = strings.Cut(table, "\n\n")
	option := regexp.MustCompile("`(--?[A-Za-z][a-z0-9-]*)")
	here := make(map[string]string)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, o := range option.FindAllStringSubmatch(cells[1], -1) {
				here[o[1]] = strings.TrimSpace(cells[2])
			}
		}
	}
	require.Greater(t, len(here), 50)
	help := map[string]string{"pub": ok(t, "pub", "--help"), "sub": ok(t, "sub", "--help")}
	for o, what := range here {
		known := regexp.MustCompile(`(?m)^ *(-\w, )?` + o + `\b|^ *` + o + `, `)
		require.Equal(t, !strings.HasPrefix(what, "not here"), known.MatchString(help["pub"]+help["sub"]), o)
	}
	for _, tool := range []string{"pub", "sub"} {
		path, err := exec.LookPath("mosquitto_" + tool)
		if err != nil {
			t.Skip("mosquitto-clients are not installed: apt-get install mosquitto-clients")
		}
		theirs, _ := exec.Command(path, "--help").CombinedOutput() // its exit code is 1
		options := regexp.MustCompile(`(?m)^ (--?[A-Za-z][a-z0-9-]*) :`).FindAllStringSubmatch(string(theirs), -1)
		require.Greater(t, len(options), 30)
		for _, o := range append(options, regexp.MustCompile(`[[{ ](--?[A-Za-z][a-z0-9-]*)`).FindAllStringSubmatch(strings.SplitN(string(theirs), "\n\n", 4)[1], -1)...) {
			require.True(t, here[o[1]] != "" || o[1] == "--property", "%s of mosquitto_%s is not in the table", o[1], tool)
		}
	}
}
