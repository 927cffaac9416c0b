package verbs

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector/internal/capture/capturetest"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/packets/vectors"
	"github.com/stretchr/testify/require"
)

const captures = "../explain/testdata/"

// explain describes the fault in every refusal vector in one line, from arguments and from standard input, in both
// languages.
func TestExplainNamesEveryRefusal(t *testing.T) {
	for i, v := range vectors.Refusals {
		lang := []string{"en", "zh"}[i%2]
		args := append([]string{"explain", "--lang", lang}, strings.Fields(fmt.Sprintf("% x", v.Bytes))...)
		r := mqtt311(t, args...)
		require.Equal(t, command.ExitFindings, r.code, v.Name)
		var named []string
		for line := range strings.Lines(r.out) {
			if strings.Contains(line, map[string]string{"en": "wrong: ", "zh": "错误："}[lang]) {
				named = append(named, line)
			}
		}
		require.Len(t, named, 1, v.Name)
		require.Contains(t, named[0], fmt.Sprintf(map[string]string{"en": "byte %d: ", "zh": "第 %d 字节："}[lang], v.Offset), v.Name)
		require.Contains(t, named[0], v.Spec, v.Name)
		if i%20 == 0 && !isText(v.Bytes) { // raw bytes on standard input give the same result
			require.Equal(t, r.out, runWith(t, t.Context(), string(v.Bytes), "explain", "-").out, v.Name)
		}
	}
}

func TestExplainBytes(t *testing.T) {
	require.Equal(t, `PUBLISH "t" qos=1 id=7 dup=0 size=2, 9 bytes at 0
    0  32        Control Packet type and flags  PUBLISH, DUP 0, QoS 1, RETAIN 0
    1  07        Remaining Length               7
    2  00 01 74  Topic Name                     "t"
    5  00 07     Packet Identifier              7
    7  68 69     Payload                        "hi"
`, ok(t, "explain", "0x32", "07:00:01:74:00:07", "6869"))
	require.Equal(t, "PINGREQ，2 字节，位于 0\n    0  c0  报文类型与标志  PINGREQ, flags 0000\n    1  00  剩余长度        0\n", ok(t, "explain", "c000", "--lang", "zh"))
	// Control characters in the input never reach the terminal.
	require.NotContains(t, ok(t, "explain", "30", "08", "0003611b5b", "1b5b6d"), "\x1b")
	require.NotContains(t, mqtt311(t, "explain", "\x1b[31m").err, "\x1b")
	// A hex dump of a capture file.
	file, err := os.ReadFile(captures + "tcpdump-lo.pcap")
	require.NoError(t, err)
	r := runWith(t, t.Context(), hex.Dump(file), "explain", "--brief")
	require.Zero(t, r.code, r.err)
	require.Equal(t, ok(t, "explain", "--brief", captures+"tcpdump-lo.pcap"), r.out)
}

func TestExplainCaptures(t *testing.T) {
	out := ok(t, "explain", "--brief", captures+"tcpdump-any.pcap", "--connection", "3")
	require.Regexp(t, `^connection 3: 127.0.0.1:\d+ → 127.0.0.1:21884, WebSocket, from .*
  0.\d{6} → CONNECT client="real-ws" clean=true keepalive=60s
  0.\d{6} ← CONNACK sp=0 code=0
  0.\d{6} → PUBLISH "plant/7/bell" qos=1 id=1 dup=0 size=4
  0.\d{6} ← PUBACK id=1
  0.\d{6} → DISCONNECT
  0.\d{6} note: the Client closes the WebSocket: 1000
  0.\d{6} note: the Server closes the WebSocket: 1000
  0.\d{6} note: the connection ends
$`, out)
	require.Equal(t, "报文：17 个，没有错误\n", ok(t, "explain", "--faults", captures+"tcpdump-lo.pcapng", "--lang", "zh"))

	lines := strings.Split(strings.TrimSpace(ok(t, "explain", "--json", captures+"tcpdump-lo.pcapng")), "\n")
	require.Len(t, lines, 17+5)
	var l packetLine
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &l))
	require.Equal(t, "PUBLISH", l.Type)
	require.Equal(t, "client", l.From)
	require.Equal(t, "tcp", l.Transport)
	require.Equal(t, "127.0.0.1:21883", l.Server)
	require.Len(t, l.Fields, 5)
	require.Equal(t, fieldLine{18, 4, "6f70656e", "Payload", `"open"`}, l.Fields[4])

	// A fault in a conversation.
	talk := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:7000")
	talk.Send([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"))
	talk.Answer([]byte{0x20, 2, 0, 0, 0x40, 2, 0, 9})
	talk.Finish()
	wrong := filepath.Join(t.TempDir(), "wrong.pcapng")
	require.NoError(t, os.WriteFile(wrong, capturetest.File(capturetest.Format{NG: true, Link: 113}, talk.Segments...), 0o600))
	r := mqtt311(t, "explain", "--faults", wrong)
	require.Equal(t, command.ExitFindings, r.code)
	require.Equal(t, "mqtt311: packets: 3, faults: 1\n", r.err)
	require.Contains(t, r.out, "← PUBACK id=9; wrong: byte 2: no message with this Packet Identifier waits for PUBACK [MQTT-2.3.1-6]\n")
}

func TestExplainCode(t *testing.T) {
	out := ok(t, "explain", "E130")
	require.Contains(t, out, "E130: a key that is unknown")
	require.Contains(t, out, "→ did you mean …?")
	require.Contains(t, ok(t, "explain", "dns", "--lang", "zh"), "MQTT:DNS: 主机名无法解析")
	var l codeLine
	require.NoError(t, json.Unmarshal([]byte(ok(t, "explain", "connack", "5", "--json")), &l))
	require.Equal(t, "CONNACK 5", l.Code)
	require.NotEmpty(t, l.Do)
}

func TestExplainRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, c := range []struct {
		stdin, args, want string
		code              int
	}{
		{"", "explain", "standard input is empty", command.ExitUsage},
		{"30 0\nzz", "explain", `standard input, line 2: "zz" is not a hexadecimal byte`, command.ExitUsage},
		{"", "explain " + t.TempDir(), "is a directory", command.ExitUsage},
		{"", "explain 0x", "there is nothing to decode", command.ExitUsage},
		{"", "explain MQTT:nope", `"MQTT:nope" is neither`, command.ExitUsage},
		{"", "explain hello", `"hello" is neither a known code nor an existing file`, command.ExitUsage},
		{"", "explain MQTT:DSN", "did you mean MQTT:DNS?", command.ExitUsage},
		{"", "explain " + empty, "is empty", command.ExitUsage},
		{"", "explain " + captures + "tcpdump-lo.pcap --connection 9", "has no such connection with MQTT", command.ExitUsage},
		{"", "explain --connection=-1 c000", "numbered from 1", command.ExitUsage},
		{"", "explain 30 05 00", "packets: 1, faults: 1", command.ExitFindings},
	} {
		r := runWith(t, t.Context(), c.stdin, strings.Fields(c.args)...)
		require.Equal(t, c.code, r.code, c.args)
		require.Contains(t, r.err, c.want, c.args)
		require.NotContains(t, runWith(t, t.Context(), c.stdin, append(strings.Fields(c.args), "--lang", "zh")...).err, c.want)
	}
	other := filepath.Join(t.TempDir(), "other.pcap")
	talk := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:80")
	talk.Send([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, os.WriteFile(other, capturetest.File(capturetest.Format{Link: 1}, talk.Segments...), 0o600))
	r := mqtt311(t, "explain", other)
	require.Equal(t, command.ExitFindings, r.code)
	require.Contains(t, r.err, other+" contains no MQTT")
}
