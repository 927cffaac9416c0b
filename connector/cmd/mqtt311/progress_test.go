//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// screen is what a terminal was told.
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

// shown returns the last text of a line that was written over and over.
func shown(s string) string {
	lines := strings.Split(s, "\r\x1b[K")
	return lines[len(lines)-1]
}

// moving are the numbers that depend on when one looks.
var moving = regexp.MustCompile(`(\(|（|oldest |最久 )\d+(/|s)`)

// On a terminal run has a line of progress, which logs do not mix with, and which is gone in
// the end.
func TestProgressOfRun(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, strings.Replace(consumes, "retries: 5", "retries: 0", 1))
	for lang, want := range map[string]string{
		"en": "connected  2 received (N/s)  1 running  1 unacknowledged, oldest Ns  0 retries  0 dead letters",
		"zh": "已连接  已接收 2（N/秒）  运行中 1  未确认 1，最久 Ns  重试 0  死信 0",
	} {
		queue(t, addr, "in/#")
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "bad", "-q", "1")
		tty, told := screen(t)
		ctx, cancel := context.WithCancel(t.Context())
		dir := t.TempDir()
		code := make(chan int, 1)
		go func() {
			p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: tty}
			code <- p.run(ctx, []string{"run", "-c", file, "--lang", lang,
				"--exec", "read x; if test $x = bad; then exit 1; fi; while ! test -e '" + dir + "/go'; do sleep 0.01; done"})
		}()
		told.until(t, "message dropped") // at warn, by default
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
		require.Eventually(t, func() bool {
			return moving.ReplaceAllString(shown(told.String()), "${1}N${2}") == want
		}, 10*time.Second, 10*time.Millisecond, "%q", want)
		require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
		cancel()
		require.Zero(t, <-code)
		require.Eventually(t, func() bool { return shown(told.String()) == "" }, 10*time.Second, 10*time.Millisecond, "the line is gone")
		for line := range strings.Lines(told.String()) {
			if i := strings.Index(line, "{"); i > 0 {
				require.True(t, strings.HasSuffix(line[:i], "\x1b[K"), "a log line begins on a line of its own: %q", line)
			}
		}
	}
}

// So has pub while it reads many messages; where there is no terminal there is nothing.
func TestProgressOfPub(t *testing.T) {
	addr := startBroker(t)
	tty, told := screen(t)
	in, stdin := io.Pipe()
	code := make(chan int, 1)
	go func() {
		p := &program{stdin: in, stdout: io.Discard, stderr: tty}
		code <- p.run(t.Context(), []string{"pub", "-b", addr, "-t", "a", "-q", "1", "-l"})
	}()
	_, err := stdin.Write(bytes.Repeat([]byte("x\n"), 500))
	require.NoError(t, err)
	told.until(t, "500 published (")
	require.NoError(t, stdin.Close())
	require.Zero(t, <-code)
	require.Eventually(t, func() bool { return shown(told.String()) == "" }, 10*time.Second, 10*time.Millisecond)

	r := runWith(t, t.Context(), "x\n", "pub", "-b", addr, "-t", "a", "-l")
	require.Equal(t, result{}, r)
}
