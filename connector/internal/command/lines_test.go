package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
)

// Lines reach the server unaltered: with carriage returns, with NUL, empty, and the last one
// without an end.
func TestLinesUnaltered(t *testing.T) {
	for _, test := range []struct {
		flag, stdin string
		want        []string
	}{
		{"-l", "a\r\n\r\n\nb\x00c\n\xff\nlast\r", []string{"610d", "0d", "", "620063", "ff", "6c6173740d"}},
		{"-l", "", nil},
		{"-l", "\n", []string{""}},
		{"--stdin-null", "a\r\n\x00\x00b", []string{"610d0a", "", "62"}},
	} {
		addr := startBroker(t)
		queue(t, addr, "in")
		r := runWith(t, t.Context(), test.stdin, "pub", "-b", addr, "-t", "in", "-q", "1", test.flag)
		require.Zero(t, r.code, r.err)
		ok(t, "pub", "-b", addr, "-t", "in", "-q", "1", "-m", "end")
		out := fetch(t, addr, "in", "-F", "%x;", "-N", "-C", fmt.Sprint(len(test.want)+1))
		want := append(test.want, "656e64", "")
		require.ElementsMatch(t, want, strings.Split(out, ";"), "%q", test.stdin)
	}
}

// A piece cut off by a read error is not published, and a line longer than any message is reported
// by its number.
func TestReadPiece(t *testing.T) {
	broken := errors.New("broken")
	in := bufio.NewReader(io.MultiReader(strings.NewReader("whole\ncut o"), iotest.ErrReader(broken)))
	piece, err := readPiece(in, '\n')
	require.NoError(t, err)
	require.Equal(t, "whole", string(piece))
	piece, err = readPiece(in, '\n')
	require.ErrorIs(t, err, broken)
	require.Nil(t, piece)
	long := strings.Repeat("x", 100_000)
	piece, err = readPiece(bufio.NewReaderSize(strings.NewReader(long+"\n"), 16), '\n')
	require.NoError(t, err)
	require.Equal(t, long, string(piece))
}

// A line of JSON describes the whole message, or is refused; nothing is altered.
func TestJSONLines(t *testing.T) {
	o := &pubOptions{jsonLines: true, topic: "t"}
	o.qos, o.retain = 1, true
	text := func(topic, payload string, qos packets.QoS, retain bool) client.Message {
		return client.Message{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain}
	}
	for in, want := range map[string]client.Message{
		`{"payload":"é\u0000\n"}`:                                                                      text("t", "é\x00\n", 1, true),
		`{"topic":"a/é","payload":"","qos":0,"retain":false}`:                                          text("a/é", "", 0, false),
		`{"payload_base64":"/wA=","qos":2}`:                                                            text("t", "\xff\x00", 2, true),
		`{"payload":1724442618569203714}`:                                                              text("t", "1724442618569203714", 1, true),
		`{"payload":{"a": 1.0, "<": [ ]}}`:                                                             text("t", `{"a": 1.0, "<": [ ]}`, 1, true),
		`{"payload":false,"topic":null,"qos":null,"retain":null}` + "\r":                               text("t", "false", 1, true),
		`{"tst":"2024","topic":"a","qos":1,"retain":0,"payloadlen":1,"mid":7,"payload":"x"}`:           text("a", "x", 1, false),
		"\ufeff" + `{"payload":"x"}`:                                                                   text("t", "x", 1, true),
		`{"at":"2024","topic":"a","qos":0,"retain":true,"duplicate":false,"messageID":0,"payload":{}}`: text("a", "{}", 0, true),
	} {
		got, err := o.messageOf([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for in, says := range map[string]string{
		`null`:                               "neither payload nor payload_base64",
		`{}`:                                 "neither payload nor payload_base64",
		`{"payload":null}`:                   "neither payload nor payload_base64",
		``:                                   "not a message",
		`[]`:                                 "not a message",
		`x`:                                  "not a message",
		`{"payload":"a"} {"payload":"b"}`:    "something follows the object",
		`{"payload":"a"}x`:                   "something follows the object",
		"{\"payload\":\"\xff\"}":             "not UTF-8",
		"{\"topic\":\"\xff\",\"payload\":1}": "not UTF-8",
		`{"payload":"\ud83d"}`:               "surrogate",
		`{"topic":"a\ud83d","payload":"x"}`:  "surrogate",
		`{"topic":7,"payload":"x"}`:          "topic is no text",
		`{"topic":"","payload":"x"}`:         "",
		`{"topic":"a/#","payload":"x"}`:      "",
		`{"payload":"x","qos":3}`:            "qos is 0, 1 or 2, not 3",
		`{"payload":"x","qos":-1}`:           "qos is",
		`{"payload":"x","qos":"1"}`:          "qos is",
		`{"payload":"x","retain":"yes"}`:     "retain is true or false",
		`{"payload":"x","retain":2}`:         "retain is true or false",
		`{"payload":"x","payload_base64":"eA=="}`: "both",
		`{"payload_base64":"?"}`:                  "payload_base64",
		`{"payload":"x","retained":true}`:         "retained",
	} {
		_, err := o.messageOf([]byte(in))
		require.Error(t, err, in)
		require.Contains(t, err.Error(), says, in)
	}
}

// pub publishes what sub printed as JSON: any bytes, QoS and the retained flag.
func TestJSONThereAndBack(t *testing.T) {
	for _, format := range []string{"%j", "%J"} {
		for _, payload := range []string{"text", "", "\xff\x00", "{\"k\":\"caf\xe9\"}", `{"a":1}`, "null", `"quoted"`, "12", "a\u2028<b>&\x00"} {
			addr := startBroker(t)
			r := runWith(t, t.Context(), payload+"\x00", "pub", "-b", addr, "-t", "in/<é>", "--stdin-null", "-q", "1", "-r")
			if strings.Contains(payload, "\x00") {
				file := writeFile(t, "payload", payload)
				r = mqtt311(t, "pub", "-b", addr, "-t", "in/<é>", "-f", file, "-q", "1", "-r")
			}
			require.Zero(t, r.code, r.err)
			if payload == "" {
				continue // an empty payload deletes the retained message
			}
			line := ok(t, "sub", "-b", addr, "-t", "in/+", "-C", "1", "-F", format, "-q", "1")
			r = runWith(t, t.Context(), strings.Replace(line, "in/", "out/", 1), "pub", "-b", addr, "--stdin-json")
			if payload == "null" && format == "%J" {
				require.Equal(t, ExitPublish, r.code, "a payload that is JSON null cannot be told from none")
				continue
			}
			require.Zero(t, r.code, "%q: %s", payload, r.err)
			require.Equal(t, "out/"+line[strings.Index(line, "in/")+3:strings.Index(line, `","qos"`)], "out/"+`\u003cé\u003e`)
			got := ok(t, "sub", "-b", addr, "-t", "out/#", "-C", "1", "-N", "-q", "1")
			if format == "%J" && payload == `"quoted"` {
				payload = "quoted"
			}
			require.Equal(t, payload, got, format)
		}
	}
}

// A bad line is reported by its number, and can be skipped.
func TestBadLines(t *testing.T) {
	addr := startBroker(t)
	queue(t, addr, "in")
	lines := "{\"payload\":\"1\"}\n{\"payload\":\"2\"} x\n{}\n{\"payload\":\"4\"}\n"
	args := []string{"pub", "-b", addr, "-t", "in", "-q", "1", "--stdin-json"}
	r := runWith(t, t.Context(), lines, args...)
	require.Equal(t, ExitPublish, r.code)
	require.Contains(t, r.err, "standard input: line 2: ")
	r = runWith(t, t.Context(), lines, append(args, "--bad-lines", "skip")...)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "line 2: ")
	require.Contains(t, r.err, "line 3: ")
	require.ElementsMatch(t, []string{"1", "1", "4"}, strings.Fields(fetch(t, addr, "in", "-C", "3")))
}

// Numbers that make no sense, and options that contradict each other, are refused.
func TestNumbersRefused(t *testing.T) {
	for args, says := range map[string]string{
		"pub -m x --repeat -1":                   "--repeat is -1",
		"pub -m x --repeat 0":                    "--repeat is 0",
		"pub -m x --repeat 2 --repeat-delay -1":  "--repeat-delay is -1",
		"pub -m x --repeat 2 --repeat-delay NaN": "--repeat-delay is NaN",
		"pub -l --rate -1":                       "--rate is -1",
		"pub -l --rate Inf":                      "--rate is +Inf",
		"pub -m x --rate 1":                      "--rate is for messages of standard input",
		"pub -l --repeat 2":                      "--repeat is for a single message",
		"pub -m x -W -1":                         "--timeout is -1",
		"pub -m x -M 0":                          "--max-inflight is 0",
		"pub -m x -M -1":                         "--max-inflight is -1",
		"pub -m x -q -1":                         "--qos",
		"pub -m x -k -1":                         "--keepalive",
		"pub -m x --will-topic w --will-qos 3":   "--will-qos",
		"pub -m x --connect-timeout 0s":          "--connect-timeout is 0",
		"pub -m x --connect-timeout -1s":         "--connect-timeout is -1",
		"pub -m x --bad-lines skip":              "--bad-lines is for messages of standard input",
		"pub --stdin-json --bad-lines ignore":    `--bad-lines "ignore"`,
		"sub -C -1":                              "--count is -1",
		"sub -W -1":                              "--timeout is -1",
		"sub --random-filter 200":                "--random-filter is 200",
		"sub --random-filter 0":                  "--random-filter is 0",
		"sub --random-filter -5":                 "--random-filter is -5",
		"sub --random-filter NaN":                "--random-filter is NaN",
		"sub --max-packet-size 0":                "--max-packet-size is 0",
		"sub --max-packet-size 268435461":        "--max-packet-size is",
		"sub -M 65536":                           "--max-inflight is 65536",
		"sub -R --retained-only":                 "--no-retained and --retained-only",
		"sub -R --remove-retained":               "--no-retained and --remove-retained",
		"sub -E --remove-retained":               "--exit-after-suback and --remove-retained",
	} {
		for _, lang := range []string{"en", "zh"} {
			r := mqtt311(t, append(strings.Fields(args), "-t", "t", "--lang", lang, "-b", "127.0.0.1:1")...)
			require.Equal(t, ExitUsage, r.code, "%s: %s", args, r.err)
			if lang == "en" {
				require.Contains(t, r.err, says, args)
			} else {
				require.Regexp(t, `\p{Han}`, r.err, args)
			}
		}
	}
}

// Empty standard input publishes nothing, in case the command before the pipe failed; other ways to
// delete a retained message by accident cause a warning.
func TestEmptyPayloads(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	empty := writeFile(t, "empty", "")
	keep := func() { ok(t, "pub", "-b", addr, "-t", "o", "-m", "keep", "-r", "-q", "1") }
	left := func() string { return retained(t, addr, "-t", "o") }
	for _, args := range [][]string{{"-s", "-r"}, {"-s"}, {"-s", "-r", "--lang", "zh"}} {
		keep()
		r := mqtt311(t, append([]string{"pub", "-b", addr, "-t", "o", "-q", "1"}, args...)...)
		require.Equal(t, ExitUsage, r.code)
		require.Contains(t, r.err, "--null-message")
		require.Equal(t, "keep\n", left())
	}
	for _, args := range [][]string{{"-m", ""}, {"-f", empty}, {"-l"}} {
		keep()
		r := runWith(t, t.Context(), "\n\n", append([]string{"pub", "-b", addr, "-t", "o", "-q", "1", "-r"}, args...)...)
		require.Zero(t, r.code, r.err)
		require.Equal(t, 1, strings.Count(r.err, "deletes the retained message"), r.err)
		require.Empty(t, left(), "as mosquitto_pub")
	}
	require.Empty(t, ok(t, "pub", "-b", addr, "-t", "o", "-n", "-r"))
	require.Empty(t, ok(t, "pub", "-b", addr, "-t", "o", "-m", ""))
}

// The payloads and the success of mosquitto_pub and our command are the same.
func TestAsMosquittoPub(t *testing.T) {
	t.Parallel()
	theirs, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip("mosquitto_pub is not installed: apt-get install mosquitto-clients")
	}
	b := mosquitto.Start(t, mosquitto.Options{})
	host, port, _ := strings.Cut(b.Addr(), ":")
	empty := writeFile(t, "empty", "")
	for _, test := range []struct{ args, stdin string }{
		{"-m x", ""}, {"-n", ""}, {"-f " + empty, ""}, {"-s", "a\nb\r\n"}, {"-s", ""},
		{"-l", "a\r\n\nb"}, {"-l", ""}, {"-l", "\n"}, {"-m x --repeat 2", ""}, {"-m x --repeat 0", ""}, {"-m x --repeat -1", ""},
		{"-m x --repeat 2 --repeat-delay -1", ""}, {"-m x -M 0", ""}, {"-m x -q 3", ""}, {"-m x -i a -I b", ""}, {"-m x -t a/#", ""},
		{"-m x -p 0", ""}, {"-m x -p 65536", ""}, {"-m x -k -1", ""}, {"-m x -V 3", ""}, {"-m x --cert c", ""}, {"-m x --nothing", ""},
	} {
		args := append([]string{"-h", host, "-p", port, "-t", "t", "-q", "1"}, strings.Fields(test.args)...)
		var got [2]string
		var fine [2]bool
		for i := range got {
			queue(t, b.Addr(), "t")
			if i == 0 {
				cmd := exec.Command(theirs, args...)
				cmd.Stdin = strings.NewReader(test.stdin)
				fine[i] = cmd.Run() == nil
			} else {
				fine[i] = runWith(t, t.Context(), test.stdin, append([]string{"pub"}, args...)...).code == 0
			}
			ok(t, "pub", "-b", b.Addr(), "-t", "t", "-m", "end", "-q", "1")
			for line := ""; line != "656e64\n"; got[i] += line {
				line = fetch(t, b.Addr(), "t", "-C", "1", "-F", "%x")
			}
		}
		require.Equal(t, got[0], got[1], "%s, %q", test.args, test.stdin)
		require.Equal(t, fine[0], fine[1], "%s, %q", test.args, test.stdin)
	}
}

// A feed waits while the server is unreachable, at QoS 0 too, and continues afterwards.
func TestFeedOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	for _, qos := range []string{"0", "1"} {
		var connects atomic.Int32
		got, away := make(chan string, 10), make(chan struct{})
		addr := scripted(t, func(p packets.Packet) []packets.Packet {
			switch p := p.(type) {
			case *packets.Connect:
				if connects.Add(1) == 2 {
					close(away)
					return nil // not yet
				}
				return []packets.Packet{&packets.Connack{}}
			case *packets.Publish:
				got <- string(p.Payload)
				if connects.Load() == 1 {
					if p.QoS > 0 {
						return []packets.Packet{&packets.Puback{PacketID: p.PacketID}, nil}
					}
					return nil
				}
				if p.QoS > 0 {
					return []packets.Packet{&packets.Puback{PacketID: p.PacketID}}
				}
				return []packets.Packet{}
			}
			return nil
		})
		in, out := io.Pipe()
		errs := newOutput()
		done := make(chan int, 1)
		go func() {
			done <- (&Program{Stdin: in, Stdout: io.Discard, Stderr: errs}).run(t.Context(), []string{"pub", "-b", addr, "-t", "t", "-l", "-q", qos, "-W", "120"})
		}()
		io.WriteString(out, "before\n")
		require.Equal(t, "before", <-got)
		<-away
		io.WriteString(out, "while it is away\n")
		require.Equal(t, "while it is away", <-got)
		out.Close()
		require.Zero(t, <-done, errs.String())
	}
}

// Mistakes in a line are reported in the chosen language.
func TestMistakesOfLinesInChinese(t *testing.T) {
	addr := startBroker(t)
	for line, want := range map[string]string{
		`{"topic": 1, "payload": "x"}`:                             "topic 不是文本",
		`{"topic": "a"}`:                                           "既没有 payload",
		`{"topic": "a", "payload": "x", "qos": 3}`:                 "qos 应为 0、1 或 2，而不是 3",
		`{"topic": "a", "payload": "x", "retain": 2}`:              "retain 应为 true 或 false，而不是 2",
		`{"topic": "a", "payload": "x"} y`:                         "对象之后还有内容",
		`{"topic": "a", "payload_base64": "%"}`:                    "payload_base64 不是合法的 Base64",
		`{"topic": "a", "payload_base64": 1}`:                      "payload_base64 不是文本",
		`{"topic": "a", "payload": "x", "payload_base64": "eA=="}`: "同时给出了",
		"x\xff": "不是 UTF-8 编码",
		"{a":    "不是合法的 JSON",
	} {
		r := runWith(t, t.Context(), line+"\n", "pub", "-b", addr, "--stdin-json", "--lang", "zh")
		require.Equal(t, ExitPublish, r.code, line)
		require.Contains(t, r.err, "标准输入第 1 行：")
		require.Contains(t, r.err, want)
		for _, english := range []string{" is ", "not a message", "given", "follows"} {
			require.NotContains(t, r.err, english, line)
		}
	}
}

// A missing or unreadable file is reported in the chosen language, by whatever part of the command reads
// it.
func TestFilesInChinese(t *testing.T) {
	folder := t.TempDir()
	gone := filepath.Join(folder, "gone")
	for args, want := range map[string]string{
		"check -c " + gone:                                gone + " 不存在",
		"check -c " + folder:                              folder + " 是目录",
		"pub -t a -f " + gone:                             gone + " 不存在",
		"pub -t a -f " + folder:                           folder + " 是目录",
		"pub -t a -m x --cafile " + gone:                  gone + " 不存在",
		"pub -t a -m x --cert " + gone + " --key " + gone: gone + " 不存在",
	} {
		r := mqtt311(t, append(strings.Fields(args), "--lang", "zh")...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Contains(t, r.err, want, args)
		require.NotContains(t, r.err, "no such file", args)
		require.NotContains(t, r.err, "directory", args)
	}
}
