package ui

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// deadLettersOf starts a page whose configuration names a dead letter file with these lines, and a
// server at addr.
func deadLettersOf(t *testing.T, addr, lines string) (b *browser, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "dead.jsonl")
	if lines != "" {
		require.NoError(t, os.WriteFile(path, []byte(lines), 0o600))
	}
	text := fmt.Sprintf("connector:\n  general: {broker_url: '%s', client_id: c}\nconsumers:\n  in: {topics: [x], qos: 1, on_failure: {then: dead_letter, dead_letter: {file: '%s'}}}\n", addr, path)
	return openPage(t, Options{File: file(t, text)}), path
}

const twoLetters = `{"topic":"a","payload":"YQ==","error":{"Description":"<b>no</b>"}}` + "\n" + `{"topic":"b","payload":"/w==","consumer":"in"}` + "\nnonsense\n"

func (b *browser) list(in map[string]any) letterList {
	return post[letterList](b, "deadletters/list", in)
}

func TestDeadLettersOfThePage(t *testing.T) {
	b, path := deadLettersOf(t, "127.0.0.1:1", twoLetters)
	l := b.list(map[string]any{})
	require.Len(t, l.Letters, 2)
	require.Equal(t, []int{2, 2, 1}, []int{l.All, l.Waiting, l.Faults})
	require.Equal(t, "b", l.Letters[0].Topic, "the newest first")
	require.Equal(t, "<b>no</b>", l.Letters[1].Why)
	require.Len(t, b.list(map[string]any{"search": "<b>"}).Letters, 1)
	require.Len(t, b.list(map[string]any{"before": 1}).Letters, 1)
	id := l.Letters[0].ID.String()
	v := post[letterView](b, "deadletters/show", map[string]any{"id": id})
	require.Equal(t, "\xff", string(v.Payload))
	require.True(t, v.Whole)
	post[any](b, "deadletters/copy", map[string]any{"id": id, "topic": "c", "payload": []byte("new")})
	post[any](b, "deadletters/remove", map[string]any{"ids": []string{id}})
	l = b.list(map[string]any{})
	require.Len(t, l.Letters, 2)
	require.Equal(t, "c", l.Letters[0].Topic)
	require.Len(t, b.list(map[string]any{"all": true}).Letters, 3)

	// A connector may append more lines, or the file may be moved away.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	f.WriteString(`{"topic":"later"}` + "\n")
	f.Close()
	require.Equal(t, "later", b.list(map[string]any{}).Letters[0].Topic)
	require.NoError(t, os.Rename(path, path+".1"))
	require.Empty(t, b.list(map[string]any{}).Letters)
	require.NoError(t, os.WriteFile(path, []byte(`{"topic":"anew"}`+"\n"), 0o600))
	require.Equal(t, "anew", b.list(map[string]any{}).Letters[0].Topic)
}

func TestDeadLettersOfThePageRefused(t *testing.T) {
	b, _ := deadLettersOf(t, "127.0.0.1:1", twoLetters)
	id := b.list(map[string]any{}).Letters[0].ID.String()
	for _, c := range []struct {
		path   string
		body   any
		status int
	}{
		{"list", map[string]any{"file": 1}, 404},
		{"list", map[string]any{"file": -1}, 404},
		{"list", map[string]any{"file": "/etc/passwd"}, 400},
		{"show", map[string]any{"id": ""}, 404},
		{"show", map[string]any{"id": id[:8]}, 404},
		{"remove", map[string]any{"ids": []string{"zz"}}, 404},
		{"remove", map[string]any{"ids": make([]string, mostActed+1)}, 400},
		{"copy", map[string]any{"id": id, "topic": "a/#"}, 400},
		{"replay", map[string]any{"ids": []string{id}, "topic": "a/#"}, 400},
		{"replay", map[string]any{"ids": []string{id}, "topic": "a", "file": 7}, 404},
		{"replay", map[string]any{"ids": []string{id}, "flow": true}, 409}, // no connector runs
		{"replay", map[string]any{"ids": []string{id}, "topic": "a"}, 502}, // nothing listens at 127.0.0.1:1
	} {
		require.Equal(t, c.status, refused(b, "deadletters/"+c.path, c.body).status, "%s %v", c.path, c.body)
	}
	require.Len(t, b.list(map[string]any{}).Letters, 2)
}

// Responses are limited in size, however many dead letters there are; the next one continues where
// the last one ended.
func TestDeadLettersOfThePagePaged(t *testing.T) {
	var text strings.Builder
	const n = 2*mostListed + 5
	for i := range n {
		fmt.Fprintf(&text, `{"topic":"t/%d"}`+"\n", i)
	}
	b, _ := deadLettersOf(t, "127.0.0.1:1", text.String())
	seen, before := 0, 0
	for {
		l := b.list(map[string]any{"before": before})
		for _, letter := range l.Letters {
			seen++
			require.Equal(t, fmt.Sprint("t/", n-seen), letter.Topic)
		}
		if before = l.Next; before == 0 {
			break
		}
	}
	require.Equal(t, n, seen)
}

// Each dead letter is marked as soon as it is published.
func TestDeadLettersOfThePageReplayed(t *testing.T) {
	server, err := broker.Start()
	require.NoError(t, err)
	defer server.Close()
	b, _ := deadLettersOf(t, server.Addr, twoLetters)
	l := b.list(map[string]any{})
	ids := []string{l.Letters[0].ID.String(), l.Letters[1].ID.String()}
	require.Equal(t, []replayedLine{{ID: ids[0]}, {ID: ids[1]}}, b.replays(map[string]any{"ids": ids, "topic": "again/{topic}"}))
	require.Empty(t, b.list(map[string]any{}).Letters)
}

// replays replays dead letters and returns the result of each.
func (b *browser) replays(in map[string]any) (done []replayedLine) {
	b.t.Helper()
	r := b.do("POST", "/api/deadletters/replay", in, nil)
	require.Equal(b.t, http.StatusOK, r.StatusCode)
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		var line replayedLine
		require.NoError(b.t, json.Unmarshal(lines.Bytes(), &line))
		done = append(done, line)
	}
	return done
}

// lettersOf has two dead letters of a running consumer, one of a consumer that does not exist, and
// one without a consumer.
const lettersOf = `{"topic":"x","payload":"YQ==","consumer":"in","key":"k1","qos":1,"messageID":9,"error":{}}` + "\n" +
	`{"topic":"x","payload":"Yg==","consumer":"in"}` + "\n" + `{"topic":"x","payload":"Yw==","consumer":"gone"}` + "\n" + `{"topic":"x"}` + "\n"

// runningLetters starts a page for a running connector that has a dead letter file with these
// lines.
func runningLetters(t *testing.T, f flow.Flow, lines string) (b *browser, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "dead.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(lines), 0o600))
	b, _ = runningOf(t, f, func(addr string) string {
		return fmt.Sprintf("connector:\n  general: {broker_url: '%s', client_id: c, username: u, password: hunter2}\nconsumers:\n  in: {topics: [x], qos: 1, on_failure: {then: dead_letter, retries: 0, dead_letter: {file: '%s'}}}\n", addr, path)
	})
	return b, path
}

// A dead letter goes through the flow of its consumer, and is marked only if the flow succeeds.
// Otherwise it stays as it is, and no second dead letter is written. Errors on the page contain no
// secret of the configuration.
func TestDeadLettersThroughTheFlow(t *testing.T) {
	var mended atomic.Bool
	seen := make(chan string, 10)
	b, path := runningLetters(t, flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		seen <- fmt.Sprint(m.Topic(), " ", string(m.Payload.Blob), " ", flow.IdempotencyKey(ctx) == "k1", " ", m.Attribute[flow.AttributeMessageID])
		if !mended.Load() && string(m.Payload.Blob) == "b" {
			return nil, errors.New("hunter2 is refused")
		}
		return nil, nil
	}), lettersOf)
	l := b.list(map[string]any{})
	require.Len(t, l.Letters, 4)
	require.Equal(t, []bool{false, false, true, true}, []bool{l.Letters[0].Flow, l.Letters[1].Flow, l.Letters[2].Flow, l.Letters[3].Flow})
	ids := func(l letterList) (ids []string) {
		for _, letter := range l.Letters {
			ids = append([]string{letter.ID.String()}, ids...)
		}
		return ids
	}
	all := ids(l)
	done := b.replays(map[string]any{"ids": append(all, all[0]), "flow": true})
	require.Len(t, done, 5)
	require.Nil(t, done[0].Error)
	require.Contains(t, done[1].Error.EN, "is refused")
	require.NotContains(t, done[1].Error.EN+done[1].Error.ZH, "hunter2")
	for _, i := range []int{2, 3} {
		require.Equal(t, errNoFlow.ZH, done[i].Error.ZH)
	}
	require.Equal(t, errDone.ZH, done[4].Error.ZH, "once is enough")
	require.Equal(t, []string{"x a true 9", "x b false 0"}, []string{<-seen, <-seen})
	require.Empty(t, seen)
	l = b.list(map[string]any{})
	require.Equal(t, all[1:], ids(l))
	require.Equal(t, 4, l.All, "no second dead letter")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), `"how":"flow"`))

	mended.Store(true)
	require.Nil(t, b.replays(map[string]any{"ids": all[1:2], "flow": true})[0].Error)
	require.Equal(t, all[2:], ids(b.list(map[string]any{})))
	<-seen
	require.Nil(t, b.replays(map[string]any{"ids": all[:1], "flow": true, "again": true})[0].Error, "when it is asked for")
	require.Equal(t, "x a true 9", <-seen)

	// A copy is a separate message with its own key.
	made := post[map[string]string](b, "deadletters/copy", map[string]any{"id": all[0], "topic": "y"})
	require.Nil(t, b.replays(map[string]any{"ids": []string{made["id"]}, "flow": true})[0].Error)
	require.Equal(t, "y a false 9", <-seen)
}

// If the browser disconnects, the replay in progress is completed and marked, and those that have
// not started are not done. No other replay can start meanwhile.
func TestDeadLettersThroughTheFlowOutliveTheBrowser(t *testing.T) {
	begun, end := make(chan bool, 2), make(chan bool)
	b, _ := runningLetters(t, flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		begun <- true
		select {
		case <-end:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}), lettersOf)
	l := b.list(map[string]any{})
	ctx, cancel := context.WithCancel(t.Context()) // the server cancels it like this when the browser disconnects
	over := make(chan bool)
	go func() {
		defer close(over)
		text, _ := json.Marshal(map[string]any{"ids": []string{l.Letters[3].ID.String(), l.Letters[2].ID.String()}, "flow": true})
		r := httptest.NewRequestWithContext(ctx, "POST", "http://"+b.s.Addr().String()+"/api/deadletters/replay", bytes.NewReader(text))
		r.Header.Set("Content-Type", "application/json")
		r.AddCookie(b.cookie)
		b.s.serve(httptest.NewRecorder(), r)
	}()
	<-begun
	require.Equal(t, errReplaying.ZH, refused(b, "deadletters/replay", map[string]any{"ids": []string{}, "topic": "a"}).ZH)
	cancel()
	end <- true
	<-over
	require.Len(t, b.list(map[string]any{}).Letters, 3)
	require.Empty(t, begun)
}

// A dead letter that cannot be marked is not replayed, because it would be replayed again and
// again.
func TestDeadLettersOfAFileThatMayOnlyBeRead(t *testing.T) {
	runs := new(atomic.Int32)
	b, path := runningLetters(t, flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
		runs.Add(1)
		return nil, nil
	}), lettersOf)
	require.NoError(t, os.Chmod(path, 0o400))
	if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		f.Close()
		t.Skip("this user may write to every file")
	}
	done := b.replays(map[string]any{"ids": []string{b.list(map[string]any{}).Letters[3].ID.String()}, "flow": true})
	require.NotNil(t, done[0].Error)
	require.Zero(t, runs.Load())
}

func TestNoDeadLetterFile(t *testing.T) {
	b := openPage(t, Options{File: filepath.Join(t.TempDir(), "none.yaml")})
	r := b.do("GET", "/api/deadletters/files", nil, nil)
	require.Equal(t, http.StatusOK, r.StatusCode)
	var files []letterFile
	require.NoError(t, json.NewDecoder(r.Body).Decode(&files))
	require.Empty(t, files)
}
