package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/stretchr/testify/require"
)

// runStep runs a step on one message, as a consumer would.
func runStep(t *testing.T, s step, payload string) (string, error) {
	t.Helper()
	return runStepIn(t.Context(), s, payload)
}

func runStepIn(ctx context.Context, s step, payload string) (string, error) {
	m := flow.NewMessage("in/é", []byte(payload), 1, 7)
	out, err := s.flow("in").Run(ctx, m)
	if out == nil {
		out = m
	}
	return string(out.Payload.Blob), err
}

// isPermanent reports whether the connector regards a failure as permanent, which uses up all
// retries.
func isPermanent(err error) bool {
	return fmt.Sprintf("%T", err) == fmt.Sprintf("%T", flow.Permanent(io.EOF))
}

func execOf(t *testing.T, command string) step {
	s := &execStep{command: command, out: &sink{}, over: make(chan struct{})}
	t.Cleanup(func() { require.NoError(t, s.close()) })
	return s
}

func TestExec(t *testing.T) {
	out, err := runStep(t, execOf(t, `cat; echo " $MQTT_CONSUMER $MQTT_TOPIC $MQTT_QOS $MQTT_MESSAGE_ID"`), "21")
	require.NoError(t, err)
	require.Equal(t, "21 in in/é 1 7\n", out)
	_, err = runStep(t, execOf(t, "true"), strings.Repeat("not read", 100_000))
	require.NoError(t, err, "a command need not read")

	_, err = runStep(t, execOf(t, "echo no such line >&2; echo and more >&2; exit 3"), "")
	require.EqualError(t, err, "command: exit status 3: no such line")
	require.False(t, isPermanent(err))
	_, err = runStep(t, execOf(t, "exit 65"), "")
	require.EqualError(t, err, "command: exit status 65")
	require.True(t, isPermanent(err), "EX_DATAERR")
	_, err = runStep(t, execOf(t, "head -c 200000 /dev/zero | tr '\\0' x >&2; exit 1"), "")
	require.Less(t, len(err.Error()), 300, "what a command says is cut")
}

// A command with endless output is killed, and so is one that runs out of time, with all processes
// that it started.
func TestExecIsEndedWithItsGroup(t *testing.T) {
	dir := t.TempDir()
	_, err := runStep(t, execOf(t, "echo $$ > '"+dir+"/pid'; yes"), "")
	require.ErrorContains(t, err, "more than 16777216 bytes of output")
	group := func() string {
		pid, err := os.ReadFile(dir + "/pid")
		require.NoError(t, err)
		return strings.TrimSpace(string(pid))
	}
	gone(t, group())

	ctx, timeout := context.WithCancelCause(t.Context())
	defer timeout(nil)
	ended := make(chan error, 1)
	s := execOf(t, "echo $$ > '"+dir+"/pid'; touch '"+dir+"/began'; sleep 1000 & sleep 1000")
	go func() { _, err := runStepIn(ctx, s, ""); ended <- err }()
	waitFor(t, dir+"/began")
	timeout(context.DeadlineExceeded)
	require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	gone(t, group())
}

// If a command cannot be started, its message fails only if it is too large for the command.
func TestExecThatCannotStart(t *testing.T) {
	large := flow.NewMessage(strings.Repeat("x", 4<<20), nil, 1, 1)
	_, err := execOf(t, "true").flow("in").Run(t.Context(), large)
	require.ErrorContains(t, err, "argument list too long")
	require.False(t, flow.IsUncharged(err))

	t.Setenv("PATH", t.TempDir())
	_, err = runStep(t, execOf(t, "true"), "x")
	require.ErrorContains(t, err, "command: ")
	require.True(t, flow.IsUncharged(err))
}

// answering returns a co-process in sh: it answers each line with f, a sed script that has the id
// in \1 and the payload in \2.
func answering(f string) string {
	return `exec sed -u -E 's/^\{"id":"([0-9]+)".*"payload":"([^"]*)"\}$/` + f + `/'`
}

func pipeOf(t *testing.T, processes int, command string) *pipeStep {
	return pipeTo(t, io.Discard, processes, command)
}

func pipeTo(t *testing.T, log io.Writer, processes int, command string) *pipeStep {
	s := newPipe(command, processes, io.Discard, slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() {
		select {
		case <-s.stop:
		default:
			require.NoError(t, s.close())
		}
	})
	return s
}

// Each answer goes to its message, in whatever order and through several processes.
func TestPipe(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
		`{"id":\1,"ok":true,"payload":"a number"}`:                        {out: "a number"},
		"\ufeff" + `{"id":"\1","ok":true,"payload":"a mark"}`:             {out: "a mark"},
		`{"id":"\1","ok":false,"error":null}`:                             {err: "pipe: the process gave no reason"},
		`{"id":"\1","ok":false,"error":{"code": 5}}`:                      {err: `pipe: {"code": 5}`},
		`{"id":"\1","ok":1}`:                                              {err: "pipe: the answer: ok is 1, and has to be true or false"},
		`{"id":"\1","ok":"true"}`:                                         {err: `pipe: the answer: ok is "true", and has to be true or false`},
		`{"id":"\1","ok":null}`:                                           {err: "pipe: the answer: ok is null, and has to be true or false"},
		`{"ok":true,"id":"\1","payload":{"v":NaN}}`:                       {err: "pipe: the answer is no JSON: invalid character 'N' looking for beginning of value"},
		`{"id":"\1","ok":true,"payload":"cut`:                             {err: "pipe: the answer is no JSON: unexpected end of JSON input"},
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

// Lines that are not answers are skipped and logged, at a limited rate and never with their
// contents.
func TestPipeOfNonsense(t *testing.T) {
	for _, nonsense := range []string{`loading model secret...`, `{"ok":true}`, `{"id":"\1","secret":1}`, `[]`, `{"id":"\1","secret`, `{"id":null,"ok":true}`, `7`} {
		log := newOutput()
		s := pipeTo(t, log, 1, answering(strings.Repeat(nonsense+`\n`, 100)+`{"id":"\1","ok":true}`))
		for range 3 {
			_, err := runStep(t, s, "x")
			require.NoError(t, err, nonsense)
		}
		require.Equal(t, 1, strings.Count(log.String(), "no answer"), nonsense)
		require.Contains(t, log.String(), "line=1 lines=1")
		require.NotContains(t, log.String(), "secret")
		require.Zero(t, s.restarts.Load())
	}
}

// When a process dies, the message that was alone with it fails, with its exit code.
func TestPipeThatDies(t *testing.T) {
	dir := t.TempDir()
	s := pipeOf(t, 1, "if mkdir '"+dir+"/once' 2>/dev/null; then read line; exit 3; else "+answering(`{"id":"\1","ok":true}`)+"; fi")
	_, err := runStep(t, s, "x")
	require.EqualError(t, err, "pipe: the process ended: exit status 3")
	require.False(t, flow.IsUncharged(err))
	_, err = runStep(t, s, "x")
	require.NoError(t, err)
	require.EqualValues(t, 1, s.restarts.Load())

	// A process that never comes up fails its messages after a while, without charging them.
	for _, command := range []string{"exit 4", "exec /no/such/command", "sleep 0.1; exit 1"} {
		_, err = runStep(t, pipeOf(t, 1, command), "x")
		require.ErrorContains(t, err, "pipe: the process ended: exit status ")
		require.True(t, flow.IsUncharged(err), command)
	}
}

// A process that exits between messages, as many do after a number of them, costs no message anything.
func TestPipeThatEndsNowAndThen(t *testing.T) {
	s := pipeOf(t, 2, `while read -r line; do id=${line#*:\"}; echo "{\"id\":\"${id%%\"*}\",\"ok\":true}"; exit 0; done`)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := runStep(t, s, "x"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A suspect is the context of a message that was, among others, in a process that died.
type suspect struct{ flow.Runner }

func (suspect) Key() string     { return "" }
func (suspect) Suspected() bool { return true }

func suspected(ctx context.Context) context.Context {
	return &flow.Context{Context: ctx, Runner: suspect{}}
}

// When a process dies, all messages that it had are suspects. None is charged until it was alone in
// a process.
func TestPipeSuspects(t *testing.T) {
	thorough.Only(t)
	for name, end := range map[string]string{
		"dies":                   "exit 3",
		"is killed":              "kill -9 $$",
		"closes standard input":  "exec 0</dev/null; sleep 1000",
		"closes standard output": "exec 1>&-; sleep 1000",
		"both, and runs on":      "exec 0</dev/null 1>&-; sleep 1000",
		"leaves a daemon":        "setsid sleep 3 & exit 3",
		"an answer without end":  "yes | tr -d '\\n'",
	} {
		t.Run(name, func(t *testing.T) {
			graceOf(t, 500*time.Millisecond)
			// The process answers good messages, and holds "wait" unanswered until "bad" comes.
			s := pipeOf(t, 1, `while read -r line; do id=${line#*:\"}; id=${id%%\"*}; case $line in
				*bad*) `+end+`;;
				*good*) echo "{\"id\":\"$id\",\"ok\":true}";;
				*wait*) if test -n "$waits"; then echo "{\"id\":\"$id\",\"ok\":true}"; fi; waits=1; echo "{\"id\":\"none\",\"ok\":true}";;
			esac; done`)
			for range 2 {
				_, err := runStep(t, s, "good")
				require.NoError(t, err)
			}
			var all sync.WaitGroup
			errs := make([]error, 2)
			for i, payload := range []string{"wait", "bad"} {
				before := s.last.Load()
				all.Go(func() { _, errs[i] = runStep(t, s, payload) })
				require.Eventually(t, func() bool { return s.last.Load() > before }, 2*time.Minute, time.Millisecond)
				time.Sleep(50 * time.Millisecond) // makes "bad" likely to be second; the other order fails the same way
			}
			all.Wait()
			for _, err := range errs {
				require.True(t, flow.IsSuspect(err), "%v", err)
			}
			_, err := runStepIn(suspected(t.Context()), s, "good")
			require.NoError(t, err)
			_, err = runStepIn(suspected(t.Context()), s, "bad")
			require.Error(t, err)
			require.False(t, flow.IsUncharged(err), "%v", err)
			_, err = runStep(t, s, "good")
			require.NoError(t, err, "another process goes on")
			_, err = runStepIn(suspected(t.Context()), s, "good")
			require.NoError(t, err)
		})
	}
}

// Suspects never share a process, and other messages continue beside them.
func TestPipeSuspectsRunAlone(t *testing.T) {
	dir := t.TempDir()
	s := pipeOf(t, 1, `while read -r line; do id=${line#*:\"}; id=${id%%\"*}; case $line in
		*suspect*) mkdir '`+dir+`/alone' || exit 9; while ! test -e '`+dir+`/go'; do sleep 0.01; done; rmdir '`+dir+`/alone';;
		esac; echo "{\"id\":\"$id\",\"ok\":true}"; done`)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if _, err := runStepIn(suspected(t.Context()), s, "suspect"); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, dir+"/alone")
	for range 10 {
		_, err := runStep(t, s, "good")
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
	all.Wait()
}

// No message is charged when the step is stopped.
func TestPipeStoppedChargesNobody(t *testing.T) {
	graceOf(t, 100*time.Millisecond)
	s := pipeOf(t, 1, "sleep 1000")
	errs := make(chan error, 2)
	go func() { _, err := runStep(t, s, "x"); errs <- err }()
	go func() { _, err := runStepIn(suspected(t.Context()), s, "x"); errs <- err }()
	require.Eventually(t, func() bool { return s.last.Load() == 2 }, 2*time.Minute, time.Millisecond)
	require.NoError(t, s.close()) // whether a process has taken them or not
	for range 2 {
		err := <-errs
		require.True(t, flow.IsUncharged(err), "%v", err)
		require.False(t, flow.IsSuspect(err), "%v", err)
	}
}

// A process that does not read does not block the step: its messages run out of time, and it is
// ended with all that it started.
func TestPipeThatDoesNotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := pipeOf(t, 1, "echo $$ > '"+dir+"/pid'; touch '"+dir+"/began'; sleep 1000 & sleep 1000")
	waitFor(t, dir+"/began")
	pid, err := os.ReadFile(dir + "/pid")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 64 { // more than a pipe can hold
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

// A process that is slow but answers other messages is not ended.
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

// At the end the standard input of a process is closed, and it may finish its work.
func TestPipeEndsInOrder(t *testing.T) {
	dir := t.TempDir()
	s := pipeOf(t, 1, "cat > /dev/null; touch '"+dir+"/ended'")
	require.NoError(t, s.close())
	_, err := os.Stat(dir + "/ended")
	require.NoError(t, err)
}

// httpOf returns a step that posts to a server with handler f.
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

// A topic and a consumer arrive unchanged after decoding: HTTP itself strips blanks at the ends of a value.
func TestHTTPTopics(t *testing.T) {
	type names struct{ topic, consumer string }
	var got names
	s := httpOf(t, func(_ http.ResponseWriter, r *http.Request) {
		topic, _ := url.PathUnescape(r.Header.Get("MQTT-Topic"))
		consumer, _ := url.PathUnescape(r.Header.Get("MQTT-Consumer"))
		got = names{topic, consumer}
	})
	for _, want := range []names{
		{" a ", "in "}, {"a ", " in"}, {" ", " "}, {"  /  ", "  "}, {"a b", "in b"}, {"100%/%20", "%"}, {"\ta\r\nX: y\x7f", "a\t"}, {"温度/％\u3000", "\u00a0é"},
	} {
		_, err := s.flow(want.consumer).Run(t.Context(), flow.NewMessage(want.topic, nil, 1, 7))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// A 4xx status is about the message and permanent, unless it is about access or load; other
// failures may be temporary.
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

// Redirects stay on the host and keep the message; answers and time are limited.
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

// A roundTrips is a server in the same bubble.
type roundTrips func(*http.Request) *http.Response

func (f roundTrips) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// While a busy server asks to be left alone, all messages wait, and none is charged.
func TestHTTPRetryAfter(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		header  func() string
		waits   time.Duration // 0: fails without a pause, like any other status
		charged bool
	}{
		"429, seconds":       {429, func() string { return "30" }, 30 * time.Second, false},
		"503, seconds":       {503, func() string { return "30" }, 30 * time.Second, false},
		"429, a date":        {429, func() string { return time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat) }, 20 * time.Second, false},
		"429, for a century": {429, func() string { return "3153600000" }, time.Hour, false},
		"429, at once":       {429, func() string { return "0" }, 0, true},
		"429, in the past":   {429, func() string { return "Fri, 01 Jan 1999 00:00:00 GMT" }, 0, true},
		"429, nonsense":      {429, func() string { return "soon" }, 0, true},
		"429 alone":          {429, func() string { return "" }, 0, true},
		"500, seconds":       {500, func() string { return "30" }, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := newHTTP("http://x/in", nil)
				require.NoError(t, err)
				asked := 0
				s.client.Transport = roundTrips(func(*http.Request) *http.Response {
					asked++
					r := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}
					if asked == 1 {
						r.StatusCode = c.status
						r.Header.Set("Retry-After", c.header())
					}
					return r
				})
				start := time.Now()
				_, err = runStep(t, s, "21")
				require.Error(t, err)
				require.Equal(t, c.charged, !flow.IsUncharged(err), "%v", err)
				if c.waits > 0 {
					ctx, cancel := context.WithTimeout(t.Context(), c.waits/2)
					defer cancel()
					_, err = runStepIn(ctx, s, "21")
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.True(t, flow.IsUncharged(err), "%v", err)
					require.Equal(t, 1, asked)
				}
				_, err = runStep(t, s, "21")
				require.NoError(t, err)
				took := time.Since(start)
				require.GreaterOrEqual(t, took, c.waits-time.Second) // an HTTP date has whole seconds
				require.LessOrEqual(t, took, c.waits+time.Second)
			})
		})
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"cut`), 0o600)) // as left by a crash
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

	// The file is moved away, as logrotate does: a new one is created.
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

// linesOf returns the payloads in a file of JSON lines, without a line truncated by a crash.
func linesOf(t *testing.T, path string) (payloads []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(text), "\n"))
	for line := range strings.Lines(string(text)) {
		var l struct {
			Attribute map[string]any
			Payload   string
		}
		if line == "{\"cut\n" {
			continue
		}
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		require.Equal(t, "in/é", l.Attribute["topic"])
		payloads = append(payloads, l.Payload)
	}
	return payloads
}

// --then publishes the result of a step; without a step, the message itself.
func TestRunThen(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	for _, args := range [][]string{{"--exec", "tr a-z A-Z"}, {"--pipe", answering(`{"id":"\1","ok":true,"payload":"HELLO"}`)}, {}} {
		queue(t, addr, "in/#")
		ok(t, "sub", "-b", addr, "-i", "s", "-c", "-q", "1", "-t", "out/#", "-E")
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "hello", "-q", "1")
		file := configFile(t, addr, consumes+"producers:\n  out: {topic: 'out/${attribute.topic}', qos: 1}\n")
		r := startRun(t, append([]string{"run", "-c", file, "-v", "--then", "out"}, args...)...)
		r.err.until(t, `"flow succeeded"`) // sub may only connect now: the broker may lose messages during a resume
		want := "out/in/a HELLO\n"
		if len(args) == 0 {
			want = "out/in/a hello\n"
		}
		require.Equal(t, want, ok(t, "sub", "-b", addr, "-i", "s", "-c", "-q", "1", "-t", "out/#", "-C", "1", "-v", "-W", "120"), args)
		r.stop()
		require.Equal(t, ExitOK, <-r.code)
		require.Empty(t, r.out.String(), "it went to the producer")
	}
}

// --step-timeout limits one run; the failure policy decides what follows.
func TestStepTimeout(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	file := configFile(t, addr, strings.Replace(consumes, "retries: 5", "retries: 0", 1))
	r := startRun(t, "run", "-c", file, "--exec", "sleep 1000", "--step-timeout", "50ms")
	r.err.until(t, "message dropped")
	require.Contains(t, r.err.String(), "not done within 50ms")
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
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
		require.Equal(t, ExitUsage, r.code, r.err)
		require.Contains(t, r.err, want, args)
	}
}

// A command that exits with 0 has succeeded, whatever it leaves behind. Processes left in its process group are
// soon ended, even if they ignore SIGTERM; a process with its own session is not touched.
func TestExecLeavesSomethingBehind(t *testing.T) {
	graceOf(t, 300*time.Millisecond)
	for name, behind := range map[string]string{
		"holds its output":        "sleep 1000 &",
		"holds standard output":   "sleep 1000 2>/dev/null &",
		"holds standard error":    "sleep 1000 >/dev/null &",
		"holds nothing":           "sleep 1000 >/dev/null 2>&1 &",
		"nohup":                   "nohup sleep 1000 &",
		"ignores SIGTERM":         "(trap '' TERM; while :; do sleep 0.1; done) &",
		"writes on":               "(while :; do echo more; sleep 0.01; done) &",
		"holds its input, unread": "sleep 1000 <&3 &",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := execOf(t, "exec 3<&0; echo $$ > '"+dir+"/pid'; "+behind+" echo done; exit 0")
			began := time.Now()
			out, err := runStep(t, s, strings.Repeat("x", 200_000))
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(strings.TrimPrefix(out, "more\n"), "done\n"), out)
			require.Less(t, time.Since(began), time.Minute)
			pid, err := os.ReadFile(dir + "/pid")
			require.NoError(t, err)
			gone(t, strings.TrimSpace(string(pid)))
		})
	}
	dir := t.TempDir()
	s := execOf(t, "setsid sh -c 'echo $$ > "+dir+"/pid; touch "+dir+"/up; exec sleep 1000' & while ! test -e "+dir+"/up; do sleep 0.01; done")
	_, err := runStep(t, s, "")
	require.NoError(t, err)
	text, err := os.ReadFile(dir + "/pid")
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	daemon, err := os.FindProcess(pid)
	require.NoError(t, err)
	require.NoError(t, daemon.Kill(), "it lives on")

	// A command that fails and leaves a process behind fails at once, with its own exit code and output.
	began := time.Now()
	s = execOf(t, "sleep 1000 & echo why >&2; exit 3")
	_, err = runStep(t, s, "")
	require.EqualError(t, err, "command: exit status 3: why")
	require.Less(t, time.Since(began), time.Minute)
}
