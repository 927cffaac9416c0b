package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/stretchr/testify/require"
)

// runStep runs a step on one message, as a consumer would.
func runStep(t *testing.T, s step, payload string) (string, error) {
	t.Helper()
	return runStepIn(t.Context(), s, payload)
}

func runStepIn(ctx context.Context, s step, payload string) (string, error) {
	m := connector.NewMessage("in/é", []byte(payload), 1, 7)
	out, err := s.flow("in").Run(ctx, m)
	if out == nil {
		out = m
	}
	return string(out.Payload.Blob), err
}

// isPermanent asks the connector: a permanent failure uses up all retries.
func isPermanent(err error) bool {
	return fmt.Sprintf("%T", err) == fmt.Sprintf("%T", connector.Permanent(io.EOF))
}

func execOf(command string) step { return &execStep{command: command, out: &sink{}} }

func TestExec(t *testing.T) {
	out, err := runStep(t, execOf(`cat; echo " $MQTT_CONSUMER $MQTT_TOPIC $MQTT_QOS $MQTT_MESSAGE_ID"`), "21")
	require.NoError(t, err)
	require.Equal(t, "21 in in/é 1 7\n", out)
	_, err = runStep(t, execOf("true"), strings.Repeat("not read", 100_000))
	require.NoError(t, err, "a command need not read")

	_, err = runStep(t, execOf("echo no such line >&2; echo and more >&2; exit 3"), "")
	require.EqualError(t, err, "command: exit status 3: no such line")
	require.False(t, isPermanent(err))
	_, err = runStep(t, execOf("exit 65"), "")
	require.EqualError(t, err, "command: exit status 65")
	require.True(t, isPermanent(err), "EX_DATAERR")
	_, err = runStep(t, execOf("head -c 200000 /dev/zero | tr '\\0' x >&2; exit 1"), "")
	require.Less(t, len(err.Error()), 300, "what a command says is cut")
}

// A command whose output has no end is ended, and so is one that runs out of time, with
// everything that it started.
func TestExecIsEndedWithItsGroup(t *testing.T) {
	dir := t.TempDir()
	_, err := runStep(t, execOf("echo $$ > '"+dir+"/pid'; yes"), "")
	require.ErrorContains(t, err, "more than 16777216 bytes of output")
	group := func() string {
		pid, err := os.ReadFile(dir + "/pid")
		require.NoError(t, err)
		return strings.TrimSpace(string(pid))
	}
	gone(t, group())

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = runStepIn(ctx, execOf("echo $$ > '"+dir+"/pid'; sleep 1000 & sleep 1000"), "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	gone(t, group())
}

// answering is a co-process in the language of sh: it answers each line by f, a sed script
// that has the id in \1 and the payload in \2.
func answering(f string) string {
	return `exec sed -u -E 's/^\{"id":"([0-9]+)".*"payload":"([^"]*)"\}$/` + f + `/'`
}

func pipeOf(t *testing.T, processes int, command string) *pipeStep {
	s := newPipe(command, processes, io.Discard, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		select {
		case <-s.stop:
		default:
			require.NoError(t, s.close())
		}
	})
	return s
}

// Each answer goes to its message, whoever comes first and through several processes.
func TestPipe(t *testing.T) {
	s := pipeOf(t, 3, answering(`{"id":"\1","ok":true,"payload":"<\2>"}`))
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			out, err := runStep(t, s, fmt.Sprint("m", i))
			if err != nil || out != fmt.Sprintf("<m%d>", i) {
				t.Errorf("%d: %q %v", i, out, err)
			}
		})
	}
	all.Wait()
}

func TestPipeAnswers(t *testing.T) {
	for answer, want := range map[string]struct {
		out, err  string
		permanent bool
	}{
		`{"id":"\1","ok":true}`:                                           {out: "x"},
		`{"id":"\1","ok":true,"payload":""}`:                              {out: ""},
		`{"id":"\1","ok":true,"payload_base64":"AAE="}`:                   {out: "\x00\x01"},
		`{"id":"\1","ok":true,"payload":{"a":[1]}}`:                       {out: `{"a":[1]}`},
		`{"id":"\1","ok":false,"error":"full"}`:                           {err: "pipe: full"},
		`{"id":"\1","ok":false,"error":"no JSON","permanent":true}`:       {err: "pipe: no JSON", permanent: true},
		`{"id":"\1","ok":false}`:                                          {err: "pipe: the process gave no reason"},
		`{"id":"99","ok":true}\n\n{"id":"\1","ok":true,"payload":"late"}`: {out: "late"},
	} {
		out, err := runStep(t, pipeOf(t, 1, answering(answer)), "x")
		if want.err == "" {
			require.NoError(t, err, answer)
			require.Equal(t, want.out, out, answer)
			continue
		}
		require.EqualError(t, err, want.err)
		require.Equal(t, want.permanent, isPermanent(err))
	}
}

// answered waits until a message has its answer: one that comes while a process ends that
// never answered fails with it.
func answered(t *testing.T, s step) {
	t.Helper()
	require.Eventually(t, func() bool { _, err := runStep(t, s, "x"); return err == nil }, 20*time.Second, 5*time.Millisecond)
}

// A process that prints something else says where it belongs, and is started again.
func TestPipeOfNonsense(t *testing.T) {
	for _, nonsense := range []string{`loading model secret...`, `{"ok":true}`, `{"id":"\1"}`, `[]`} {
		dir := t.TempDir()
		s := pipeOf(t, 1, "if mkdir '"+dir+"/once' 2>/dev/null; then "+answering(nonsense)+"; else "+answering(`{"id":"\1","ok":true}`)+"; fi")
		_, err := runStep(t, s, "x")
		require.ErrorContains(t, err, "line 1 of the process is no answer", nonsense)
		require.NotContains(t, err.Error(), "secret")
		answered(t, s)
	}
}

// A process that dies fails what it has in work, and only that.
func TestPipeThatDies(t *testing.T) {
	dir := t.TempDir()
	s := pipeOf(t, 1, "if mkdir '"+dir+"/once' 2>/dev/null; then read line; exit 3; else "+answering(`{"id":"\1","ok":true}`)+"; fi")
	_, err := runStep(t, s, "x")
	require.EqualError(t, err, "pipe: the process ended: exit status 3")
	answered(t, s)

	// One that never comes up holds up nothing without end.
	_, err = runStep(t, pipeOf(t, 1, "exit 4"), "x")
	require.EqualError(t, err, "pipe: the process ended: exit status 4")
}

// A process that does not read blocks nobody: the messages run out of time, it is ended, and
// so is what it started.
func TestPipeThatDoesNotRead(t *testing.T) {
	dir := t.TempDir()
	s := pipeOf(t, 1, "echo $$ > '"+dir+"/pid'; sleep 1000 & sleep 1000")
	waitFor(t, dir+"/pid")
	pid, err := os.ReadFile(dir + "/pid")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 64 { // more than a pipe holds
		all.Go(func() {
			_, err := runStepIn(ctx, s, strings.Repeat("x", 10_000))
			if err == nil || !strings.HasPrefix(err.Error(), "pipe: ") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	gone(t, strings.TrimSpace(string(pid)))
}

// One that is slow and answers others is left alone.
func TestPipeThatIsSlow(t *testing.T) {
	dir := t.TempDir()
	s := pipeOf(t, 1, `mkdir '`+dir+`/once' || exit 9; read line; touch '`+dir+`/took'; exec sed -u -n -E 's/^\{"id":"([0-9]+)".*"payload":"quick"\}$/{"id":"\1","ok":true}/p'`)
	ctx, timeout := context.WithCancelCause(t.Context())
	defer timeout(nil)
	slow := make(chan error, 1)
	go func() { _, err := runStepIn(ctx, s, "slow"); slow <- err }()
	waitFor(t, dir+"/took")
	_, err := runStep(t, s, "quick")
	require.NoError(t, err)
	timeout(context.DeadlineExceeded)
	require.ErrorIs(t, <-slow, context.DeadlineExceeded)
	_, err = runStep(t, s, "quick")
	require.NoError(t, err, "the same process goes on: a second one would exit with 9")
}

// At the end its standard input ends, and a process may finish what it does.
func TestPipeEndsInOrder(t *testing.T) {
	dir := t.TempDir()
	s := pipeOf(t, 1, "cat > /dev/null; touch '"+dir+"/ended'")
	require.NoError(t, s.close())
	_, err := os.Stat(dir + "/ended")
	require.NoError(t, err)
}

// httpOf posts to a server.
func httpOf(t *testing.T, f http.HandlerFunc, headers ...string) step {
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	s, err := newHTTP(server.URL+"/in?token=secret", headers)
	require.NoError(t, err)
	t.Cleanup(func() { s.close() })
	return s
}

func TestHTTP(t *testing.T) {
	t.Setenv("TOKEN", "abc")
	s := httpOf(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s|%s %s %s %s|%s %s", r.Method, r.URL, body,
			r.Header.Get("MQTT-Topic"), r.Header.Get("MQTT-QoS"), r.Header.Get("MQTT-Message-Id"), r.Header.Get("MQTT-Consumer"),
			r.Header.Get("Authorization"), r.Header.Get("Content-Type"))
	}, "Authorization: Bearer ${TOKEN}", "content-type: text/plain")
	out, err := runStep(t, s, "21")
	require.NoError(t, err)
	require.Equal(t, "POST /in?token=secret 21|in/%C3%A9 1 7 in|Bearer abc text/plain", out)
}

// 4xx is about the message and permanent, unless it is about the way; the rest may pass.
func TestHTTPStatus(t *testing.T) {
	for status, permanent := range map[int]bool{400: true, 409: true, 413: true, 422: true, 401: false, 403: false, 404: false, 408: false, 429: false, 500: false, 503: false, 304: false} {
		s := httpOf(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, err := runStep(t, s, "21")
		require.ErrorContains(t, err, fmt.Sprint("http: ", status))
		require.Equal(t, permanent, isPermanent(err), status)
	}
	for _, status := range []int{200, 201, 202, 204} {
		s := httpOf(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, err := runStep(t, s, "21")
		require.NoError(t, err)
	}
}

// Redirects stay on the host and keep the message; answers are bounded; time-outs are.
func TestHTTPLimits(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the message went elsewhere") }))
	defer other.Close()
	s := httpOf(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	_, err := runStep(t, s, "21")
	require.ErrorContains(t, err, "redirects to another host")
	s = httpOf(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) })
	_, err = runStep(t, s, "21")
	require.ErrorContains(t, err, "redirects without the message")
	s = httpOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/other" {
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
			return
		}
		io.Copy(w, r.Body)
	})
	out, err := runStep(t, s, "21")
	require.NoError(t, err)
	require.Equal(t, "21", out)

	s = httpOf(t, func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, io.LimitReader(endless{}, mostOutput+1)) })
	_, err = runStep(t, s, "21")
	require.ErrorContains(t, err, "the answer has more than 16777216 bytes")

	s = httpOf(t, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = runStepIn(ctx, s, "21")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotContains(t, err.Error(), "secret")

	s, err = newHTTP("http://127.0.0.1:1/?token=secret", nil)
	require.NoError(t, err)
	_, err = runStep(t, s, "21")
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "secret")
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"cut`), 0o600)) // by a crash
	s, err := openAppend(path)
	require.NoError(t, err)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if _, err := runStep(t, s, fmt.Sprintf("<%d>", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Len(t, linesOf(t, path), 100)

	// Moved away, as by logrotate: the file is made anew.
	require.NoError(t, os.Rename(path, path+".1"))
	_, err = runStep(t, s, "after")
	require.NoError(t, err)
	require.Equal(t, []string{"after"}, linesOf(t, path))
	require.NoError(t, s.close())

	_, err = openAppend(filepath.Join(t.TempDir(), "no", "such"))
	require.ErrorContains(t, err, "--append")
	if _, err := os.Stat("/dev/full"); err == nil {
		_, err = openAppend("/dev/full")
		require.ErrorContains(t, err, "no regular file")
	}
}

// linesOf returns the payloads in a file of JSON lines; what a crash cut is left out.
func linesOf(t *testing.T, path string) (payloads []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(text), "\n"))
	for line := range strings.Lines(string(text)) {
		var l messageLine
		if line == "{\"cut\n" {
			continue
		}
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		require.Equal(t, "in/é", l.Attribute["topic"])
		payloads = append(payloads, *l.Payload)
	}
	return payloads
}

// What a step gives back is published with --then; without a step it is the message.
func TestRunThen(t *testing.T) {
	addr := startBroker(t)
	for _, args := range [][]string{{"--exec", "tr a-z A-Z"}, {"--pipe", answering(`{"id":"\1","ok":true,"payload":"HELLO"}`)}, {}} {
		queue(t, addr, "in/#")
		ok(t, "sub", "-b", addr, "-i", "s", "-c", "-q", "1", "-t", "out/#", "-E")
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "hello", "-q", "1")
		file := configFile(t, addr, consumes+"producers:\n  out: {topic: 'out/${attribute.topic}', qos: 1}\n")
		r := startRun(t, append([]string{"run", "-c", file, "--then", "out"}, args...)...)
		want := "out/in/a HELLO\n"
		if len(args) == 0 {
			want = "out/in/a hello\n"
		}
		require.Equal(t, want, ok(t, "sub", "-b", addr, "-i", "s", "-c", "-q", "1", "-t", "out/#", "-C", "1", "-v", "-W", "20"), args)
		r.stop()
		require.Equal(t, exitOK, <-r.code)
		require.Empty(t, r.out.String(), "it went to the producer")
	}
}

// --step-timeout bounds one run; the failure policy decides what then.
func TestStepTimeout(t *testing.T) {
	addr := startBroker(t)
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	file := configFile(t, addr, strings.Replace(consumes, "retries: 5", "retries: 0", 1))
	r := startRun(t, "run", "-c", file, "--exec", "sleep 1000", "--step-timeout", "50ms")
	r.err.until(t, "message dropped")
	require.Contains(t, r.err.String(), "not done within 50ms")
	r.stop()
	require.Equal(t, exitOK, <-r.code)
}

func TestStepMistakes(t *testing.T) {
	file := configFile(t, "127.0.0.1:1883", consumes)
	for args, want := range map[string]string{
		"--exec a --pipe b":              "give one of --exec, --pipe, --http, --append",
		"--then x":                       `--then: there is no producer "x"`,
		"--processes 0 --pipe x":         "--processes is 1 at the least",
		"--step-timeout -1s":             "--step-timeout is not negative",
		"-H a:b":                         "--header needs --http",
		"--http x":                       "give a URL as https://host/path",
		"--http http://x -H nothing":     "write 'Name: value'",
		"--http http://x -H a:${NO_VAR}": "NO_VAR is not in the environment",
		"--append /no/such/folder/x":     "--append: ",
		"--log-level loud":               `--log-level "loud" is none of`,
		"--listen nowhere":               "--listen: ",
	} {
		r := mqtt311(t, append([]string{"run", "-c", file}, strings.Fields(args)...)...)
		require.Equal(t, exitUsage, r.code, r.err)
		require.Contains(t, r.err, want, args)
	}
}
