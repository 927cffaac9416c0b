package deadletters

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func note(t *testing.T, n int, payload string) Collected {
	t.Helper()
	var r map[string]any
	require.NoError(t, json.Unmarshal([]byte(letter(t, n, "")), &r))
	r["digest"] = Digest([]byte(payload))
	text, err := json.Marshal(r)
	require.NoError(t, err)
	return Collected{Topic: "dlq/meta", QoS: 1, Payload: text}
}

func message(payload string) Collected {
	return Collected{Topic: "dlq", QoS: 1, ID: 7, Payload: []byte(payload)}
}

func payloads(t *testing.T, f *File) string {
	t.Helper()
	var out []string
	for i := range f.Len() {
		r, err := f.Record(f.At(i))
		require.NoError(t, err)
		out = append(out, r.Topic+" "+payload(t, f, f.At(i)))
	}
	return strings.Join(out, ", ")
}

// Each message is combined with the record about it, in whatever order they arrive, in one batch or several, and
// after a restart.
func TestCollect(t *testing.T) {
	all := []Collected{note(t, 1, "a"), note(t, 2, "b"), message("b"), note(t, 3, "b"), message("a"), message("unknown"), message("b"), message("b")}
	want := "orders/2 b, orders/1 a, dlq unknown, orders/3 b, dlq b"
	for _, batch := range []int{1, 2, 3, 8} {
		f := opened(t, "")
		for from := 0; from < len(all); from += batch {
			require.NoError(t, f.Collect(t.Context(), all[from:min(from+batch, len(all))]))
		}
		require.Equal(t, want, payloads(t, f), batch)
		again, err := Open(t.Context(), f.Path())
		require.NoError(t, err)
		require.Equal(t, want, payloads(t, again))
		require.Empty(t, again.notes)
		require.Empty(t, again.noted)
		require.NoError(t, again.Close())
	}
	f := opened(t, "")
	for _, m := range all {
		require.NoError(t, f.Collect(t.Context(), []Collected{m}))
		require.NoError(t, f.Close())
		var err error
		f, err = Create(t.Context(), f.Path())
		require.NoError(t, err)
	}
	require.Equal(t, want, payloads(t, f))
}

// A server may send a message before the record about it: the message is then written again with
// the record.
func TestCollectLateNote(t *testing.T) {
	f := opened(t, "")
	for _, batch := range [][]Collected{{message("a"), message("a")}, {note(t, 1, "a")}, {message("b"), note(t, 2, "b")}, {note(t, 3, "a"), note(t, 4, "a")}, {message("a")}} {
		require.NoError(t, f.Collect(t.Context(), batch))
	}
	want := "dlq removed, dlq removed, orders/1 waiting, orders/2 waiting, orders/3 waiting, orders/4 waiting"
	require.Equal(t, want, states(t, f))
	for i := range f.Len() {
		require.Contains(t, "ab", payload(t, f, f.At(i)))
	}
	again, err := Open(t.Context(), f.Path())
	require.NoError(t, err)
	defer again.Close()
	require.Equal(t, want, states(t, again))
}

// A message whose acknowledgement did not arrive is sent again. It may also be another message, so both
// are kept.
func TestCollectAgain(t *testing.T) {
	f := opened(t, "")
	again := message("a")
	again.Dup = true
	require.NoError(t, f.Collect(t.Context(), []Collected{note(t, 1, "a"), message("a")}))
	require.NoError(t, f.Collect(t.Context(), []Collected{again}))
	require.Equal(t, "orders/1 a, orders/1 a", payloads(t, f))
}

// A message that only looks like a record about a dead letter is stored as a message.
func TestCollectNoNote(t *testing.T) {
	f := opened(t, "")
	odd := []string{"", "null", "x", "{}", letter(t, 1, "")}
	for _, text := range odd {
		require.NoError(t, f.Collect(t.Context(), []Collected{{Topic: "dlq/meta", Payload: []byte(text)}}))
	}
	require.Equal(t, len(odd), f.Len())
}

// A failed write leaves everything as it was, and the next attempt succeeds.
func TestCollectFails(t *testing.T) {
	f := opened(t, "")
	require.NoError(t, f.Collect(t.Context(), []Collected{note(t, 1, "a")}))
	before, err := os.ReadFile(f.Path())
	require.NoError(t, err)
	f.mu.Lock()
	m := message("a")
	require.Equal(t, "orders/1", f.recordOf(&m, nil).Topic)
	full := errors.New("disk full")
	require.ErrorIs(t, f.append(t.Context(), func(io.Writer) error { return full }), full)
	f.mu.Unlock()
	after, err := os.ReadFile(f.Path())
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.NoError(t, f.Collect(t.Context(), []Collected{message("a")}))
	require.Equal(t, "orders/1 a", payloads(t, f))
}
