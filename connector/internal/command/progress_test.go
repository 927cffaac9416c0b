//go:build unix

package command

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// screen returns a terminal and what is written to it.
func screen(t *testing.T) (tty *os.File, told *output) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no terminal: %v", err)
	}
	told = newOutput()
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(told, master) }()
	t.Cleanup(func() { tty.Close(); master.Close(); <-done })
	return tty, told
}

// shown returns the last text of a line that was overwritten repeatedly.
func shown(s string) string {
	lines := regexp.MustCompile("\r\x1b\\[(?:K|\\d+A\x1b\\[J)").Split(s, -1)
	return lines[len(lines)-1]
}

// moving matches the numbers that depend on the time of looking.
var moving = regexp.MustCompile(`(\(|（|oldest |最久 )\d+(/|s)`)

// resize sets the width of a terminal.
func resize(t *testing.T, tty *os.File, columns uint16) {
	t.Helper()
	require.NoError(t, pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: columns}))
}

// On a terminal run shows a line of progress, which is cut to the width, does not mix with logs, and is gone at the
// end. Logs are text in the user's language.
func TestProgressOfRun(t *testing.T) {
	thorough.Only(t)
	addr := startBroker(t)
	t.Setenv("NO_COLOR", "1")
	file := configFile(t, addr, strings.Replace(consumes, "retries: 5", "retries: 0", 1))
	for _, c := range []struct {
		lang    string
		columns uint16
		log     string
		want    string
	}{
		{"en", 120, "WARN  message dropped", "connected  2 received (N/s)  1 running  1 unacknowledged"},
		{"en", 80, "WARN  message dropped", "connected  2 received (N/s)  1 running  1 unacknowledged"},
		{"en", 60, "WARN  message dropped", "connected  2 received (N/s)  1 running  1 unacknowledged"},
		{"zh", 120, "警告  已丢弃消息", "已连接  已接收 2（N/秒）  运行中 1  未确认 1"},
		{"zh", 80, "警告  已丢弃消息", "已连接  已接收 2（N/秒）  运行中 1  未确认 1"},
		{"zh", 60, "警告  已丢弃消息", "已连接  已接收 2（N/秒）  运行中 1  未确认 1"},
		{"zh", 40, "警告  已丢弃消息", "已连接  已接收 2（N/秒）  运行中 1  未…"},
	} {
		queue(t, addr, "in/#")
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "bad", "-q", "1")
		tty, told := screen(t)
		resize(t, tty, c.columns)
		ctx, cancel := context.WithCancel(t.Context())
		dir := t.TempDir()
		code := make(chan int, 1)
		go func() {
			p := &Program{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: tty}
			code <- p.run(ctx, []string{"run", "-c", file, "--lang", c.lang,
				"--exec", "read x; if test $x = bad; then exit 1; fi; while ! test -e '" + dir + "/go'; do sleep 0.01; done"})
		}()
		told.until(t, c.log) // at level warn, the default
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
		require.Eventually(t, func() bool {
			got := moving.ReplaceAllString(shown(told.String()), "${1}N${2}")
			return strings.HasPrefix(got, c.want) && !strings.Contains(got, "\n") && terminal.Columns(shown(told.String())) < int(c.columns)
		}, time.Minute, 10*time.Millisecond, "%q", c.want)
		resize(t, tty, 20) // no SIGWINCH: it is not the process's controlling terminal
		require.Eventually(t, func() bool { return terminal.Columns(shown(told.String())) <= 19 }, time.Minute, 10*time.Millisecond)
		require.Contains(t, told.String(), "A\x1b[J", "the line had been broken into several")
		require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
		cancel()
		require.Zero(t, <-code)
		require.Eventually(t, func() bool { return shown(told.String()) == "" }, time.Minute, 10*time.Millisecond, "the line is gone")
		require.NotContains(t, told.String(), "{", "no JSON for people")
	}
}

// widths are common widths of terminals.
var widths = []uint16{60, 80, 120}

// pub shows a line of progress, too, while it reads many messages; without a terminal there is
// none.
func TestProgressOfPub(t *testing.T) {
	thorough.Only(t)
	addr := startBroker(t)
	for lang, want := range map[string][2]string{"en": {"1500 published (", "mqtt311: 1,500 published\r\n"}, "zh": {"已发布 1500（", "mqtt311：已发布 1,500\r\n"}} {
		for _, columns := range widths {
			tty, told := screen(t)
			resize(t, tty, columns)
			in, stdin := io.Pipe()
			code := make(chan int, 1)
			go func() {
				p := &Program{Stdin: in, Stdout: io.Discard, Stderr: tty}
				code <- p.run(t.Context(), []string{"pub", "-b", addr, "-t", "a", "-q", "1", "-l", "--lang", lang})
			}()
			_, err := stdin.Write(bytes.Repeat([]byte("x\n"), 1500))
			require.NoError(t, err)
			told.until(t, want[0])
			require.NoError(t, stdin.Close())
			require.Zero(t, <-code)
			told.until(t, "\r\x1b[K"+want[1])
			for _, line := range regexp.MustCompile("\r\x1b\\[K|\r\n").Split(told.String(), -1) {
				require.Less(t, terminal.Columns(line), int(columns), "%q", line)
			}
		}
	}
	r := runWith(t, t.Context(), "x\n", "pub", "-b", addr, "-t", "a", "-l")
	require.Equal(t, result{}, r)
}

// Help and hints are folded to the width of the terminal, in both languages; examples are not folded, so that they
// can be copied.
func TestTextsFitTheTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	silent := serveTCP(t, func(net.Conn) {})
	root := (&Program{Lang: "en", Streams: fakeStreams{}}).root()
	var helps [][]string
	for _, c := range root.Commands() {
		helps = append(helps, []string{c.Name(), "--help"})
	}
	require.Greater(t, len(helps), 8)
	for _, lang := range []string{"en", "zh"} {
		for _, columns := range widths {
			see := func(args ...string) string {
				tty, told := screen(t)
				resize(t, tty, columns)
				p := &Program{Stdin: strings.NewReader(""), Stdout: tty, Stderr: tty, Streams: fakeStreams{}}
				p.run(t.Context(), append(args, "--lang", lang))
				told.until(t, "\n")
				tty.Write([]byte("the end"))
				told.until(t, "the end")
				return strings.TrimSuffix(strings.ReplaceAll(told.String(), "\r\n", "\n"), "the end")
			}
			for _, args := range helps {
				text := see(args...)
				before, rest, _ := strings.Cut(text, map[string]string{"en": "Examples:\n", "zh": "示例：\n"}[lang])
				_, after, _ := strings.Cut(rest, "\n\n")
				for line := range strings.Lines(before + after) {
					require.Less(t, terminal.Columns(strings.TrimRight(line, "\n")), int(columns), "%v at %d: %s", args, columns, line)
				}
			}
			// The error is one line that can be copied and searched for; its hint is folded.
			for _, args := range [][]string{
				{"pub", "-b", silent, "-t", "a", "-m", "x"}, {"pub", "-b", silent, "--tls", "-t", "a", "-m", "x"}, {"sub", "-L", "ws://" + silent + "/", "-t", "a"},
			} {
				told := strings.Split(strings.TrimSuffix(see(args...), "\n"), "\n")
				require.Greater(t, len(told), 1, "%v", args)
				for _, line := range told[1:] {
					require.LessOrEqual(t, terminal.Columns(line), int(columns), "%v at %d: %s", args, columns, line)
				}
			}
		}
	}
}

// For a file the progress is a percentage.
func TestProgressOfAFile(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	tty, told := screen(t)
	file, err := os.Open(writeFile(t, "lines", strings.Repeat("line\n", 200)))
	require.NoError(t, err)
	defer file.Close()
	p := &Program{Stdin: file, Stdout: io.Discard, Stderr: tty}
	require.Zero(t, p.run(t.Context(), []string{"pub", "-b", addr, "-t", "a", "-l", "--rate", "150"}))
	require.Regexp(t, `\r\x1b\[K\d\d?%  \d+ published \(`, told.String())
}

// After an interrupt pub reports what became of the lines, with a terminal or without.
func TestSummaryOfPub(t *testing.T) {
	silent := scripted(t, func(p packets.Packet) []packets.Packet {
		switch p := p.(type) {
		case *packets.Connect:
			return []packets.Packet{&packets.Connack{}}
		case *packets.Publish:
			if string(p.Payload) == "answered" {
				return []packets.Packet{&packets.Puback{PacketID: p.PacketID}}
			}
		}
		return []packets.Packet{}
	})
	for lang, want := range map[string]string{"en": "mqtt311: 2 published, 3 unknown, 1 skipped\n", "zh": "mqtt311：已发布 2，结果未知 3，已跳过 1\n"} {
		in, stdin := io.Pipe()
		errs := newOutput()
		ctx, cancel := context.WithCancel(t.Context())
		code := make(chan int, 1)
		hurry := make(chan struct{})
		go func() {
			p := &Program{Stdin: in, Stdout: io.Discard, Stderr: errs, hurry: hurry}
			code <- p.run(ctx, []string{"pub", "-b", silent, "--stdin-json", "-q", "1", "--bad-lines", "skip", "--lang", lang, "-d"})
		}()
		answered, lost := `{"topic":"a","payload":"answered"}`+"\n", `{"topic":"a","payload":"lost"}`+"\n"
		_, err := io.WriteString(stdin, answered+answered+lost+lost+lost+"bad\n")
		require.NoError(t, err)
		errs.until(t, map[string]string{"en": "skipped", "zh": "已跳过"}[lang])
		require.Eventually(t, func() bool { return strings.Count(errs.String(), "PUBACK") >= 2 }, time.Minute, time.Millisecond)
		time.Sleep(50 * time.Millisecond) // nothing shows when they have been counted
		cancel()
		close(hurry)
		require.Equal(t, ExitInterrupt, <-code)
		require.Contains(t, errs.String(), want)
	}
}

// On a terminal, control characters in a topic or a payload are escaped in every format, except with
// --raw.
func TestSubOnATerminal(t *testing.T) {
	addr := startBroker(t)
	const payload = "\x1b]0;title\x07\xff\u202e\u009b31m{\"a\":1}\ttext\n2"
	r := runWith(t, t.Context(), payload, "pub", "-b", addr, "-t", "a\x1b[2Jb", "-s", "-r", "-q", "1")
	require.Zero(t, r.code, r.err)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `\x1b]0;title\a\xff\u202e\u009b31m{"a":1}` + "\ttext\r\n2\r\n"},
		{[]string{"-v"}, "\x1b[36ma\\x1b[2Jb\x1b[0m " + `\x1b]0;title\a\xff`},
		{[]string{"-F", "%t"}, `a\x1b[2Jb`},
		{[]string{"--json"}, `"topic":"a\u001b[2Jb"`},
		{[]string{"--raw", "-F", "%t"}, "a\x1b[2Jb\r\n"},
	} {
		t.Setenv("TERM", "xterm")
		t.Setenv("NO_COLOR", "")
		tty, told := screen(t)
		p := &Program{Stdin: strings.NewReader(""), Stdout: tty, Stderr: io.Discard}
		require.Zero(t, p.run(t.Context(), append([]string{"sub", "-b", addr, "-t", "#", "-C", "1"}, c.args...)))
		told.until(t, c.want)
	}
	t.Setenv("NO_COLOR", "1")
	tty, told := screen(t)
	p := &Program{Stdin: strings.NewReader(""), Stdout: tty, Stderr: io.Discard}
	require.Zero(t, p.run(t.Context(), []string{"sub", "-b", addr, "-t", "#", "-C", "1", "-v"}))
	told.until(t, `a\x1b[2Jb `)
	require.NotContains(t, told.String(), "\x1b")
	require.Equal(t, payload+"\n", ok(t, "sub", "-b", addr, "-t", "#", "-C", "1"), "elsewhere bytes are exact")
}

// Errors, warnings and logs escape quoted text, too.
func TestErrorsOnATerminal(t *testing.T) {
	addr := startBroker(t)
	for _, args := range [][]string{
		{"pub", "-b", addr, "-t", "a", "-f", "/no\x1b[2Jthing"},
		{"check", "-c", "/no\x1b[2Jthing"},
		{"pub", "\x1b[2J"},
		{"run", "-c", writeFile(t, "c.yaml", "connector: {\"\x1b[2J\": 1}")},
		{"sub", "-b", addr, "-t", "\x1b[2J\x00"},
	} {
		tty, told := screen(t)
		p := &Program{Stdin: strings.NewReader(""), Stdout: tty, Stderr: tty}
		require.NotZero(t, p.run(t.Context(), args), args)
		told.until(t, "mqtt311:")
		require.NotContains(t, told.String(), "\x1b[2J", args)
	}
}

// -d shows packets as they are sent and received, without payloads and passwords.
func TestDebugShowsPackets(t *testing.T) {
	addr := startBroker(t)
	r := mqtt311(t, "pub", "-b", addr, "-t", "a", "-m", "geheim", "-q", "1", "-d", "-u", "me", "-P", "secret")
	require.Zero(t, r.code, r.err)
	for _, want := range []string{`"msg":"sent","packet":"CONNECT`, `"msg":"received","packet":"CONNACK`, `"msg":"sent","packet":"PUBLISH`, `"msg":"received","packet":"PUBACK`} {
		require.Contains(t, r.err, want)
	}
	require.NotContains(t, r.err, "geheim")
	require.NotContains(t, r.err, "secret")
	tty, told := screen(t)
	p := &Program{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: tty}
	require.Zero(t, p.run(t.Context(), []string{"pub", "-b", addr, "-t", "a", "-m", "x", "-q", "1", "-d", "--lang", "zh"}))
	told.until(t, "已发出")
	told.until(t, "PUBACK")
}

// A lost connection and a client with the same client id are reported without -d.
func TestOutagesAreTold(t *testing.T) {
	addr := startBroker(t)
	errs := newOutput()
	code := make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		p := &Program{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: errs}
		code <- p.run(ctx, []string{"sub", "-b", addr, "-t", "a", "-i", "same"})
	}()
	ok(t, "pub", "-b", addr, "-t", "b", "-m", "x")
	for !strings.Contains(errs.String(), "the connection was lost") {
		r := mqtt311(t, "sub", "-b", addr, "-t", "b", "-i", "same", "-E")
		require.Zero(t, r.code, r.err) // the first one may have come back already, and have disconnected it
	}
	errs.until(t, "connected again")
	cancel()
	require.Equal(t, ExitInterrupt, <-code)
}
