package ui

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// deadLettersOf starts a page whose configuration names a dead letter file with these lines, and a server that is at addr.
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

	// A connector goes on writing; or the file is moved away.
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
		{"replay", map[string]any{"ids": []string{id}, "topic": "a"}, 502}, // nobody is at 127.0.0.1:1
	} {
		require.Equal(t, c.status, refused(b, "deadletters/"+c.path, c.body).status, "%s %v", c.path, c.body)
	}
	require.Len(t, b.list(map[string]any{}).Letters, 2)
}

// Answers are bounded, however many dead letters there are; the next one goes on where the last ended.
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

// What is published is marked, each as it is done.
func TestDeadLettersOfThePageReplayed(t *testing.T) {
	server, err := broker.Start()
	require.NoError(t, err)
	defer server.Close()
	b, _ := deadLettersOf(t, server.Addr, twoLetters)
	l := b.list(map[string]any{})
	ids := []string{l.Letters[0].ID.String(), l.Letters[1].ID.String()}
	r := b.do("POST", "/api/deadletters/replay", map[string]any{"ids": ids, "topic": "again/{topic}"}, nil)
	require.Equal(t, http.StatusOK, r.StatusCode)
	var done []replayedLine
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		var line replayedLine
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		done = append(done, line)
	}
	require.Equal(t, []replayedLine{{ID: ids[0]}, {ID: ids[1]}}, done)
	require.Empty(t, b.list(map[string]any{}).Letters)
}

func TestNoDeadLetterFile(t *testing.T) {
	b := openPage(t, Options{File: filepath.Join(t.TempDir(), "none.yaml")})
	r := b.do("GET", "/api/deadletters/files", nil, nil)
	require.Equal(t, http.StatusOK, r.StatusCode)
	var files []letterFile
	require.NoError(t, json.NewDecoder(r.Body).Decode(&files))
	require.Empty(t, files)
}
