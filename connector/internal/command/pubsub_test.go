package command

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/client"
	"github.com/stretchr/testify/require"
)

// A payload arrives as it was given, in whatever way.
func TestPubPayloads(t *testing.T) {
	addr := startBroker(t)
	file := writeFile(t, "payload", "from a\nfile")
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/m", "-m", "hi", "-q", "1")
	ok(t, "pub", "-b", addr, "-t", "in/f", "-f", file, "-q", "2")
	ok(t, "pub", "-b", addr, "-t", "in/n", "-n", "-q", "1")
	for _, args := range [][]string{{"-s", "-t", "in/s"}, {"-l", "-t", "in/l"}} {
		r := runWith(t, t.Context(), "one\ntwo", append([]string{"pub", "-b", addr, "-q", "1"}, args...)...)
		require.Zero(t, r.code, r.err)
	}
	ok(t, "pub", "-b", addr, "-t", "in/r", "-m", "again", "--repeat", "2", "--repeat-delay", "0.001", "-q", "1")
	got := strings.Split(fetch(t, addr, "in/#", "-C", "8", "-F", "%t=%p;", "-N"), ";")
	require.ElementsMatch(t, []string{"in/m=hi", "in/f=from a\nfile", "in/n=", "in/s=one\ntwo", "in/l=one", "in/l=two", "in/r=again", "in/r=again", ""}, got,
		"in whatever order this broker keeps a queue")
}

func TestSubFormats(t *testing.T) {
	addr := startBroker(t)
	cases := map[string]string{
		"%t": "in/é\n", "%p": "a\tb\n", "%x": "610962\n", "%l": "3\n", "%q": "1\n", "%r": "0\n", "%%": "%\n",
		`%t\t%p\\\0`: "in/é\ta\tb\\\x00\n", `\a\e\r\v%%`: "\a\x1b\r\v%\n", "plain": "plain\n", "": "a\tb\n",
	}
	for format, want := range cases {
		queue(t, addr, "in/+")
		ok(t, "pub", "-b", addr, "-t", "in/é", "-m", "a\tb", "-q", "1")
		require.Equal(t, want, fetch(t, addr, "in/+", "-C", "1", "-F", format), format)
	}
	queue(t, addr, "in/+")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	parts := strings.Fields(fetch(t, addr, "in/+", "-C", "1", "-F", "%m %I"))
	require.Regexp(t, `^[1-9][0-9]*$`, parts[0])
	at, err := time.Parse(time.RFC3339Nano, parts[1])
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)

	queue(t, addr, "in/+")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	require.Equal(t, "in/a x\n", fetch(t, addr, "in/+", "-C", "1", "-v"))
}

// In JSON, text is text and other bytes are base64.
func TestSubJSON(t *testing.T) {
	addr := startBroker(t)
	for payload, want := range map[string]map[string]any{
		"é":        {"payload": "é"},
		"":         {"payload": ""},
		"\xff\x00": {"payload_base64": "/wA="},
	} {
		for _, args := range [][]string{{"--json"}, {"-F", "%j"}} {
			queue(t, addr, "in/+")
			ok(t, "pub", "-b", addr, "-t", "in/a", "-f", writeFile(t, "payload", payload), "-q", "2")
			var got map[string]any
			require.NoError(t, json.Unmarshal([]byte(fetch(t, addr, "in/+", append(args, "-C", "1")...)), &got))
			require.Contains(t, got, "at")
			require.Contains(t, got, "messageID")
			delete(got, "at")
			require.Contains(t, got, "duplicate")
			delete(got, "messageID")
			delete(got, "duplicate") // brokers set DUP on whatever they stored
			want["topic"], want["qos"], want["retain"] = "in/a", 2.0, false
			require.Equal(t, want, got)
		}
	}
}

// -R, -T, --retained-only and --remove-retained select what is shown.
func TestSubRetained(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	ok(t, "pub", "-b", addr, "-t", "kept/a", "-m", "A", "-r", "-q", "1")
	ok(t, "pub", "-b", addr, "-t", "kept/b", "-m", "B", "-r", "-q", "1")
	require.Equal(t, "B 1\n", ok(t, "sub", "-b", addr, "-t", "kept/#", "-T", "kept/a", "-C", "1", "-F", "%p %r"))
	r := mqtt311(t, "sub", "-b", addr, "-t", "kept/#", "-R", "-W", "1")
	require.Equal(t, ExitTimeout, r.code)
	require.Empty(t, r.out)
	require.Equal(t, "mqtt311: timed out after 1 s\n", r.err)
	require.Equal(t, "A\nB\n", sorted(ok(t, "sub", "-b", addr, "-t", "kept/#", "--remove-retained", "-C", "2")))
	r = mqtt311(t, "sub", "-b", addr, "-t", "kept/#", "-W", "1")
	require.Empty(t, r.out, "removed")
}

func sorted(lines string) string {
	parts := strings.SplitAfter(lines, "\n")
	if len(parts) == 3 && parts[0] > parts[1] {
		parts[0], parts[1] = parts[1], parts[0]
	}
	return strings.Join(parts, "")
}

// sub subscribes to several filters, and drops one from a kept session.
func TestSubSeveralFilters(t *testing.T) {
	addr := startBroker(t)
	queue(t, addr, "a")
	ok(t, "sub", "-b", addr, "-i", "q", "-c", "-q", "1", "-t", "b", "-U", "a", "-E")
	ok(t, "pub", "-b", addr, "-t", "a", "-m", "lost", "-q", "1")
	ok(t, "pub", "-b", addr, "-t", "b", "-m", "b", "-q", "1")
	require.Equal(t, "b\n", fetch(t, addr, "b", "-t", "c", "-C", "1"))
}

// An interrupt ends sub with the exit code for that.
func TestInterrupt(t *testing.T) {
	addr := startBroker(t)
	ctx, cancel := context.WithCancel(t.Context())
	out, errs := newOutput(), newOutput()
	done := make(chan int, 1)
	go func() {
		done <- (&Program{Stdin: strings.NewReader(""), Stdout: out, Stderr: errs}).run(ctx, []string{"sub", "-b", addr, "-t", "a"})
	}()
	ok(t, "pub", "-b", addr, "-t", "a", "-m", "x", "-r", "-q", "1") // retained, so it arrives whether or not sub has subscribed yet
	out.until(t, "x\n")
	cancel()
	require.Equal(t, ExitInterrupt, <-done)
	require.Empty(t, errs.String())
}

// A URL can replace the options.
func TestURL(t *testing.T) {
	addr := startBroker(t)
	queue(t, addr, "a/b")
	ok(t, "pub", "-L", "mqtt://me:you@"+addr+"/a/b", "-m", "x", "-q", "1")
	require.Equal(t, "x\n", ok(t, "sub", "-L", "mqtt://"+addr+"/a/b", "-i", "q", "-c", "-q", "1", "-C", "1"))
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	ok(t, "pub", "-h", host, "-p", port, "-t", "a/b", "-m", "x", "-A", "127.0.0.1", "-I", "prefix-", "-k", "0", "--will-topic", "w", "--will-payload", "gone")
}

func TestWrongUsage(t *testing.T) {
	cases := map[string]string{
		"pub -m x":                                 "--topic is missing",
		"pub -t a":                                 "give one of --message, --file, --null-message, --stdin-line, --stdin-null",
		"pub -t a -m x -n":                         "give one of --message",
		"pub -t a/# -m x":                          "[MQTT-",
		"pub -t a -m x -q 3":                       "--qos and --will-qos are 0, 1 or 2",
		"pub -t a -m x -k 70000":                   "--keepalive is 0 to 65535 seconds",
		"pub -t a -m x -c":                         "--disable-clean-session needs --id",
		"pub -t a -m x --will-payload y":           "need --will-topic",
		"pub -t a -m x -L host/topic":              "--url has no scheme",
		"pub -t a -m x -L ftp://host/":             `--url has the scheme "ftp"`,
		"pub -t a -m x --bind nowhere.invalid":     "--bind",
		"pub -t a -m x --tls-version ssl3":         `--tls-version "ssl3" is neither`,
		"pub -t a -m x --cafile /nowhere.pem":      "/nowhere.pem",
		"pub -t a -f /nowhere":                     "/nowhere",
		"pub -t a -m x -P secret":                  "user name",
		"pub -t a -m x extra":                      "extra",
		"pub -t a -m x --nothing":                  "unknown flag: --nothing",
		"sub":                                      "--topic is missing",
		"sub -t a#":                                "[MQTT-4.7.1-",
		"sub -t a -F %z":                           "--format",
		"sub -t a -F 100%":                         "--format",
		`sub -t a -F x\q`:                          "--format",
		`sub -t a -F abc\`:                         "--format",
		`sub -t a -F \x1b`:                         "--format",
		"sub -t a -C x":                            `--count is "x": a whole number is expected`,
		"check":                                    "--config is missing",
		"run":                                      "--config is missing",
		"check -c /nowhere.yaml":                   "/nowhere.yaml",
		"run -c /nowhere.yaml":                     "/nowhere.yaml",
		"nothing":                                  `unknown command "nothing"`,
		"version extra":                            "extra",
		"pub -t a -m x --ws --ws-path x y":         "y",
		"sub -t a --unsubscribe b# -b localhost:1": "[MQTT-4.7.1-",
	}
	for args, want := range cases {
		r := mqtt311(t, strings.Fields(args)...)
		require.Equal(t, ExitUsage, r.code, "%s: %s", args, r.err)
		require.Contains(t, r.err, want, args)
		require.True(t, strings.HasPrefix(r.err, "mqtt311: "), r.err)
		require.NotContains(t, r.err, "secret")
		require.Empty(t, r.out, args)
	}
}

// If there is no MQTT server, the error says at which step the connection failed, and what to try.
func TestNoServer(t *testing.T) {
	t.Parallel()
	gone := serveTCP(t, func(c net.Conn) { io.ReadAtLeast(c, make([]byte, 64), 1) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	say := func(text string) string {
		return serveTCP(t, func(c net.Conn) {
			io.ReadAtLeast(c, make([]byte, 64), 1)
			io.WriteString(c, text)
			io.Copy(io.Discard, c)
		})
	}
	cases := map[string]struct{ addr, want string }{
		"not there":             {l.Addr().String(), "refused"},
		"closes at once":        {gone, "closed the connection before CONNACK"},
		"is a web server":       {say("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), "HTTP"},
		"speaks garbage":        {say("\x00\x00\x00\x00\x00"), "Another protocol answers"},
		"never answers":         {serveTCP(t, func(c net.Conn) { io.Copy(io.Discard, c) }), "nobody answers"},
		"answers out of turn":   {say("\x40\x02\x00\x01"), "PUBACK: came before CONNACK"},
		"is not to be resolved": {"nowhere.invalid:1883", "nowhere.invalid"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			patience := "2m"
			if name == "never answers" {
				patience = "300ms"
			}
			for _, command := range [][]string{{"pub", "-m", "x"}, {"sub", "-C", "1"}} {
				r := mqtt311(t, append(command, "-t", "a", "-b", c.addr, "--connect-timeout", patience)...)
				require.Equal(t, ExitConnection, r.code, r.err)
				require.Contains(t, r.err, c.want)
				require.Len(t, strings.Split(strings.TrimSpace(r.err), "\n"), 2, "the error, and what to try: %s", r.err)
				zh := mqtt311(t, append(command, "-t", "a", "-b", c.addr, "--connect-timeout", patience, "--lang", "zh")...)
				require.Regexp(t, `\p{Han}`, zh.err)
			}
		})
	}
}

// A refusal by the server has another error and exit code.
func TestRefused(t *testing.T) {
	addr := serveTCP(t, func(c net.Conn) {
		io.ReadAtLeast(c, make([]byte, 64), 1)
		c.Write([]byte{0x20, 2, 0, 5})
		io.Copy(io.Discard, c)
	})
	r := mqtt311(t, "pub", "-t", "a", "-m", "x", "-b", addr)
	require.Equal(t, ExitRefused, r.code)
	require.Contains(t, r.err, "not authorized")
	require.Contains(t, r.err, "Check user name, password")
}

// The examples in the help are valid commands.
func TestHelpExamples(t *testing.T) {
	root := (&Program{}).root()
	n := 0
	for _, cmd := range append(root.Commands(), root) {
		require.NotEmpty(t, cmd.Example, cmd.Name())
		for line := range strings.Lines(cmd.Example) {
			_, line, found := strings.Cut(line, "mqtt311 ")
			require.True(t, found, cmd.Name())
			line, _, _ = strings.Cut(line, " #")
			line, _, _ = strings.Cut(line, " | ")
			found2, rest, err := root.Find(words(line))
			require.NoError(t, err, line)
			require.NoError(t, found2.ParseFlags(rest), line)
			n++
		}
		r := mqtt311(t, append(strings.Fields(strings.TrimPrefix(cmd.CommandPath(), "mqtt311")), "--help")...)
		require.Zero(t, r.code)
		require.Contains(t, r.out, "Examples:\n"+cmd.Example)
	}
	require.Greater(t, n, 12)
}

// words splits a line like a shell, as far as the examples need that.
func words(line string) (out []string) {
	for i, part := range strings.Split(strings.TrimSpace(line), "'") {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}

func TestVersion(t *testing.T) {
	require.Regexp(t, `^mqtt311 \S+, MQTT 3\.1\.1, go\S+ \w+/\w+\n$`, ok(t, "version"))
	require.Equal(t, ok(t, "version"), ok(t, "--version"))
	var v map[string]string
	require.NoError(t, json.Unmarshal([]byte(ok(t, "version", "--json")), &v))
	require.Equal(t, "MQTT 3.1.1", v["protocol"])
}

// The JSON of a message is valid, whatever its payload.
func TestJSONOfAnyPayload(t *testing.T) {
	for _, payload := range []string{"{\"k\":\"caf\xe9\"}", `{"k":1.0}`, "\xff", "", "{", "\"\xed\xa0\x80\"", "1 2"} {
		d := &client.Delivery{Topic: "t", Payload: []byte(payload)}
		for _, verb := range []string{"%j", "%J"} {
			var got struct {
				Payload json.RawMessage `json:"payload"`
				Base64  []byte          `json:"payload_base64"`
			}
			text := formatted(verb, d, time.Now(), &look{pretty: verb == "%J"})
			require.True(t, utf8.Valid(text), "%q", text)
			require.NoError(t, json.Unmarshal(text, &got), "%s", text)
			if utf8.ValidString(payload) {
				require.NotEmpty(t, got.Payload)
				require.Nil(t, got.Base64)
			} else {
				require.Empty(t, got.Payload)
				require.Equal(t, payload, string(got.Base64))
			}
		}
	}
}

func TestPretty(t *testing.T) {
	d := &client.Delivery{Topic: "t", Payload: []byte(`{"a":[1]}`)}
	text := formatted("%J", d, time.Time{}, &look{pretty: true})
	require.Contains(t, string(text), "{\n  \"at\": ")
	require.Contains(t, string(text), "  \"payload\": {\n    \"a\": [\n")
	for args, fine := range map[string]bool{"--json": true, "-F %j": true, "-F %t%J": true, "-F %%%j": true, "-F %%j": false, "-F %p": false, "": false} {
		r := mqtt311(t, append([]string{"sub", "-b", "127.0.0.1:1", "-t", "t", "--pretty"}, strings.Fields(args)...)...)
		require.Equal(t, fine, r.code == ExitConnection, "%s: %s", args, r.err)
	}
}
