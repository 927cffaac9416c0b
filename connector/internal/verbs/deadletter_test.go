package verbs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/deadletters"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/require"
)

// letters writes a file with a dead letter for each payload, on the topics orders/0 and so on.
func letters(t *testing.T, payloads ...string) string {
	t.Helper()
	var text strings.Builder
	for i, payload := range payloads {
		line, err := json.Marshal(connector.DeadLetterRecord{
			Time: time.Unix(int64(i), 0), Consumer: "orders", Topic: fmt.Sprint("orders/", i), QoS: 1, MessageID: uint16(i + 1), Attempts: 3,
			Error: flow.AsError(errors.New("store \x1b[2J down")), Payload: []byte(payload),
		})
		require.NoError(t, err)
		text.Write(append(line, '\n'))
	}
	path := filepath.Join(t.TempDir(), "dead.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	return path
}

var idPattern = regexp.MustCompile(`(?m)^[0-9a-f]{16}`)

// waiting returns the ids printed by ls.
func waiting(t *testing.T, file string, args ...string) []string {
	t.Helper()
	return idPattern.FindAllString(ok(t, append([]string{"deadletter", "ls", file}, args...)...), -1)
}

func TestDeadLetterLooks(t *testing.T) {
	file := letters(t, "first", "\xff\x00second", strings.Repeat("é", shownPayload))
	ids := waiting(t, file)
	require.Len(t, ids, 3)
	out := ok(t, "deadletter", "ls", file)
	require.Contains(t, out, `store \x1b[2J down`)
	require.NotContains(t, out, "\x1b")
	require.Equal(t, ids[1:2], waiting(t, file, "--search", "second"))
	require.Equal(t, ids[2:], waiting(t, file, "--search", "orders/2"))
	require.Empty(t, waiting(t, file, "--search", "no such text"))

	var l struct {
		ID, State, Topic string
		Size             int64
		Payload          []byte
	}
	require.NoError(t, json.Unmarshal([]byte(strings.Split(ok(t, "deadletter", "ls", file, "--json"), "\n")[1]), &l))
	require.Equal(t, ids[1], l.ID)
	require.Equal(t, "waiting", l.State)
	require.EqualValues(t, 8, l.Size)
	require.NoError(t, json.Unmarshal([]byte(ok(t, "deadletter", "show", file, ids[1], "--json")), &l))
	require.Equal(t, "\xff\x00second", string(l.Payload))
	require.Equal(t, "\xff\x00second", ok(t, "deadletter", "show", file, ids[1], "--payload"))
	require.Contains(t, ok(t, "deadletter", "show", file, ids[1]), "00000000  ff 00 73 65")
	out = ok(t, "deadletter", "show", file, ids[2], "--lang", "zh")
	require.Contains(t, out, "ééé")
	require.Contains(t, out, "其余字节数：4096")
	out = ok(t, "deadletter", "show", file, ids[0][:8])
	require.Contains(t, out, "\nfirst\n")
	require.NotContains(t, out, "0001-01-01", "a time that is not known")
}

func TestDeadLetterRemoveAndEdit(t *testing.T) {
	file := letters(t, "a", "b", "c")
	ids := waiting(t, file)
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	r := mqtt311(t, "deadletter", "rm", file, ids[0])
	require.Equal(t, command.ExitUsage, r.code, "it asks, and there is nobody")
	require.Contains(t, r.err, "add --yes")
	require.Len(t, waiting(t, file), 3)
	r = mqtt311(t, "deadletter", "rm", file, ids[0], ids[0][:8], "--yes") // named twice, it is one
	require.Zero(t, r.code, r.err)
	require.Equal(t, 1, strings.Count(r.err, "dead letter removed"))
	require.Equal(t, ids[1:], waiting(t, file))
	require.Equal(t, ids, waiting(t, file, "--all"))

	payload := filepath.Join(t.TempDir(), "p")
	require.NoError(t, os.WriteFile(payload, []byte("B\x00"), 0o600))
	r = mqtt311(t, "deadletter", "edit", file, ids[1], "-f", payload, "-t", "other")
	require.Zero(t, r.code, r.err)
	made := strings.TrimSpace(r.out)
	require.Equal(t, "B\x00", ok(t, "deadletter", "show", file, made, "--payload"))
	require.Contains(t, ok(t, "deadletter", "show", file, made), "copy of")
	r = mqtt311(t, "deadletter", "rm", file, "--all", "--search", "orders/", "--yes")
	require.Zero(t, r.code, r.err)
	require.Equal(t, []string{made}, waiting(t, file))
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(after), string(before)))
}

func TestDeadLetterRefuses(t *testing.T) {
	file := letters(t, "a")
	id := waiting(t, file)[0]
	for args, want := range map[string]string{
		"ls":                               "name the file",
		"ls /no/such/file":                 "no such file",
		"show FILE":                        "name the dead letter by its id",
		"show FILE zz":                     "has an id that begins with",
		"rm FILE":                          "give ids, or --all",
		"rm FILE ID --all":                 "give ids, or --all",
		"rm FILE ID --search x":            "--search needs --all",
		"edit FILE ID":                     "say what is different",
		"edit FILE ID -m x -f y":           "one of --message and --file",
		"edit FILE ID -t a/#":              "--topic",
		"replay FILE ID":                   "say where to",
		"replay FILE ID --exec x -t y":     "one of --exec and --topic",
		"replay FILE ID --exec x --pipe y": "one of",
		"replay FILE ID --exec x -c y":     "--config needs --topic",
		"replay FILE ID -t y -q 0":         "it must be 1 or 2",
		"replay FILE ID -t {topic}/#":      "wildcard",
		"replay FILE ID --exec x":          "add --yes",
		"collect FILE":                     "--topic is missing",
		"collect FILE -t a/#":              "--topic",
		"collect FILE -t a -b 127.0.0.1:1": "add --yes",
	} {
		fields := strings.Fields(strings.NewReplacer("FILE", file, "ID", id).Replace(args))
		r := mqtt311(t, append([]string{"deadletter"}, fields...)...)
		require.Equal(t, command.ExitUsage, r.code, "%s: %s", args, r.err)
		require.Contains(t, r.err, want, args)
	}
}

// Dead letters that the step accepts are replayed; those that it refuses stay, and the others
// continue.
func TestDeadLetterReplayToAStep(t *testing.T) {
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		r.Body.Read(body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(body))
		if string(body) == "bad" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	file := letters(t, "a", "bad", "c")
	ids := waiting(t, file)
	r := mqtt311(t, "deadletter", "replay", file, "--all", "--http", server.URL, "--yes")
	require.Equal(t, command.ExitRuntime, r.code, r.err)
	require.Contains(t, r.err, "not replayed: 1 of 3")
	require.Equal(t, []string{"a", "bad", "c"}, got)
	require.Equal(t, ids[1:2], waiting(t, file))
	r = mqtt311(t, "deadletter", "replay", file, ids[0][:10], "--http", server.URL, "--yes")
	require.Zero(t, r.code, "a replayed one goes again when it is named: %s", r.err)
	require.Equal(t, "a", got[3])
	r = mqtt311(t, "deadletter", "replay", file, "--all", "--exec", `test "$MQTT_TOPIC $MQTT_CONSUMER" = "orders/1 orders" && cat`, "--yes")
	require.Zero(t, r.code, r.err)
	require.Empty(t, waiting(t, file))
}

// acts runs a verb with --json and returns the lines that it prints.
func acts(t *testing.T, code int, args ...string) (all []map[string]any) {
	t.Helper()
	r := mqtt311(t, append(append([]string{"deadletter"}, args...), "--json")...)
	require.Equal(t, code, r.code, r.err)
	for line := range strings.Lines(r.out) {
		var a map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &a), "%s", r.out)
		all = append(all, a)
	}
	return all
}

// With --json each act is a line, and standard output has nothing else.
func TestDeadLetterActsAsJSON(t *testing.T) {
	file := letters(t, "a", "bad", "c", "d")
	ids := waiting(t, file)
	require.Equal(t, []map[string]any{{"letter": ids[2], "act": "removed"}, {"letter": ids[3], "act": "removed"}},
		acts(t, 0, "rm", file, ids[2], ids[3], "--yes"))
	copied := acts(t, 0, "edit", file, ids[0], "-m", "new")
	require.Len(t, copied, 1)
	made := copied[0]["copy"]
	require.Equal(t, []map[string]any{{"letter": ids[0], "act": "copied", "copy": made}}, copied)
	require.Equal(t, []map[string]any{
		{"letter": ids[0], "act": "replayed", "to": "exec"},
		{"letter": ids[1], "act": "failed", "to": "exec", "error": "command: exit status 1"},
		{"letter": made, "act": "replayed", "to": "exec"},
	}, acts(t, command.ExitRuntime, "replay", file, "--all", "--exec", `p=$(cat); echo "$p"; test "$p" != bad`, "--yes"))
	require.Equal(t, ids[1:2], waiting(t, file))

	addr := startBroker(t)
	require.Equal(t, []map[string]any{{"letter": ids[1], "act": "replayed", "to": "topic x"}}, acts(t, 0, "replay", file, "--all", "-t", "x", "-b", addr, "--yes"))
	gathered := filepath.Join(t.TempDir(), "gathered.jsonl")
	collect := []string{"collect", gathered, "-t", "dlq", "-b", addr, "--yes"}
	require.Empty(t, acts(t, 0, append(collect, "--idle", "10ms")...))
	ok(t, "pub", "-b", addr, "-t", "dlq", "-m", "12345", "-q", "1")
	got := acts(t, 0, append(collect, "-C", "1")...)
	require.Equal(t, []map[string]any{{"letter": waiting(t, gathered)[0], "act": "collected", "topic": "dlq", "size": 5.0}}, got)
}

// received subscribes, and returns a function that waits for the next message as topic and payload.
func received(t *testing.T, addr, filter string) func() string {
	t.Helper()
	dial, err := transport.Dialer("tcp://"+addr, nil)
	require.NoError(t, err)
	c, err := client.New(client.Config{Dial: dial, ClientID: "watcher", CleanSession: true})
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	t.Cleanup(func() { c.Close(context.Background()) })
	_, err = c.Subscribe(t.Context(), packets.Subscription{Filter: filter, QoS: 1})
	require.NoError(t, err)
	return func() string {
		for d, err := range c.Messages(t.Context()) {
			require.NoError(t, err)
			d.Ack()
			return d.Topic + " " + string(d.Payload)
		}
		return ""
	}
}

func TestDeadLetterReplayToATopic(t *testing.T) {
	addr := startBroker(t)
	next := received(t, addr, "#")
	file := letters(t, "a", "b")
	r := mqtt311(t, "deadletter", "replay", file, "--all", "-t", "again/{topic}", "-b", addr, "--yes")
	require.Zero(t, r.code, r.err)
	require.Equal(t, "again/orders/0 a", next())
	require.Equal(t, "again/orders/1 b", next())
	require.Empty(t, waiting(t, file))
	file = letters(t, "a")
	require.Equal(t, command.ExitConnection, mqtt311(t, "deadletter", "replay", file, "--all", "-t", "x", "-b", "127.0.0.1:1", "--yes").code)
	require.Len(t, waiting(t, file), 1)
}

// The server keeps messages that arrive on a topic while nobody collects; they are combined with the records
// about them.
func TestDeadLetterCollect(t *testing.T) {
	addr := startBroker(t)
	file := filepath.Join(t.TempDir(), "gathered.jsonl")
	collect := func(args ...string) {
		t.Helper()
		r := mqtt311(t, append([]string{"deadletter", "collect", file, "-t", "dlq", "-b", addr, "--yes"}, args...)...)
		require.Zero(t, r.code, r.err)
	}
	collect("--idle", "10ms")
	note, err := json.Marshal(connector.DeadLetterRecord{Topic: "orders/7", Consumer: "orders", Digest: deadletters.Digest([]byte("x"))})
	require.NoError(t, err)
	for _, m := range [][2]string{{"dlq/meta", string(note)}, {"dlq", "y"}, {"dlq", "x"}} {
		ok(t, "pub", "-b", addr, "-t", m[0], "-m", m[1], "-q", "1")
	}
	var out string
	for begun := time.Now(); !strings.Contains(out, "orders/7") || len(idPattern.FindAllString(out, -1)) < 2; {
		require.Less(t, time.Since(begun), time.Minute, out)
		collect("-C", "1", "--idle", "100ms")
		out = ok(t, "deadletter", "ls", file)
	}
	require.Len(t, idPattern.FindAllString(out, -1), 2)
	require.Contains(t, out, "orders/7")
	require.Equal(t, "x", ok(t, "deadletter", "show", file, waiting(t, file, "--search", "orders/7")[0], "--payload"))
	collect("--forget")
	ok(t, "pub", "-b", addr, "-t", "dlq", "-m", "not kept", "-q", "1")
	collect("--idle", "100ms")
	require.Len(t, waiting(t, file), 2)
}
