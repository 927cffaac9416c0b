package deadletters

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/lines"
	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 7, 1, 8, 0, 0, 0, time.UTC)

// letter returns a line in the form in which a connector writes it.
func letter(t *testing.T, n int, payload string) string {
	t.Helper()
	text, err := json.Marshal(connector.DeadLetterRecord{
		Time: start.Add(time.Duration(n) * time.Second), Received: start, Consumer: "orders", Topic: fmt.Sprint("orders/", n), QoS: 1,
		MessageID: uint16(n), Key: "k", Attempts: 4, Error: flow.AsError(errors.New(`the "store" is down: {"payload":"no"}`)), Payload: []byte(payload),
	})
	require.NoError(t, err)
	return string(text)
}

func opened(t *testing.T, text string) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dead.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	f, err := Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// states returns the topic and the state of each dead letter in a file.
func states(t *testing.T, f *File) string {
	t.Helper()
	var out []string
	for i := range f.Len() {
		r, err := f.Record(f.At(i))
		require.NoError(t, err)
		out = append(out, r.Topic+" "+f.At(i).State.String())
	}
	return strings.Join(out, ", ")
}

func payload(t *testing.T, f *File, e Entry) string {
	t.Helper()
	b, err := io.ReadAll(f.Payload(e))
	require.NoError(t, err)
	require.EqualValues(t, len(b), e.Size)
	return string(b)
}

// A dead letter written by a connector is read with everything known about it.
func TestRecord(t *testing.T) {
	f := opened(t, letter(t, 1, "\x00hello")+"\n"+letter(t, 2, "")+"\n")
	require.Equal(t, 2, f.Len())
	e := f.At(0)
	r, err := f.Record(e)
	require.NoError(t, err)
	var want Record
	require.NoError(t, json.Unmarshal([]byte(letter(t, 1, "")), &want))
	require.Equal(t, &want, r)
	require.Equal(t, `the "store" is down: {"payload":"no"}`, r.Why())
	require.Equal(t, "\x00hello", payload(t, f, e))
	require.Empty(t, payload(t, f, f.At(1)))
	found, err := f.Find(e.ID.String()[:6])
	require.NoError(t, err)
	require.Equal(t, e, found)
	var missing *FindError
	for _, id := range []string{"", "zz", e.ID.String() + "0"} {
		_, err = f.Find(id)
		require.ErrorAs(t, err, &missing)
		require.False(t, missing.Many)
	}
	var id ID
	require.NoError(t, id.UnmarshalText([]byte(e.ID.String())))
	require.Equal(t, e.ID, id)
	for _, bad := range []string{"", "+123456789abcdef", "xyz", e.ID.String() + "0"} {
		require.Error(t, id.UnmarshalText([]byte(bad)), bad)
	}
}

// The payload is found wherever it is in the line, however another program has encoded it, and whatever
// else has that name.
func TestPayloadOfStrangers(t *testing.T) {
	for text, want := range map[string]string{
		`{"payload":"aGk=","topic":"t"}`:                                       "hi",
		`{ "topic" : "t" , "payload" : "aGk=" , "more":[{"payload":"AAAA"}] }`: "hi",
		`{"topic":"t","x":{"payload":"AAAA"},"payload":"aGk="}`:                "hi",
		`{"topic":"t","y":"payload","payload":"aGk="}`:                         "hi",
		`{"topic":"payload","payload":"Pz8\/"}`:                                "???",
		`{"topic":"t","payload":"Pj4\u002b"}`:                                  ">>>",
		`{"topic":"t\"","z\"":"\\","payload":"aGk="}`:                          "hi",
		`{"topic":"t","payload":""}`:                                           "",
		`{"topic":"t","payload":null}`:                                         "",
		`{"topic":"t"}`:                                                        "",
	} {
		f := opened(t, text+"\r\n\n")
		require.Equal(t, 1, f.Len(), text)
		_, err := f.Record(f.At(0))
		require.NoError(t, err, text)
		b, err := io.ReadAll(f.Payload(f.At(0)))
		require.NoError(t, err, text)
		require.Equal(t, want, string(b), text)
	}
	f := opened(t, `{"topic":"t","payload":"!!"}`+"\n")
	_, err := io.ReadAll(f.Payload(f.At(0)))
	require.Error(t, err)
}

// Unreadable lines are reported with their offsets and hide nothing else.
func TestFaults(t *testing.T) {
	good := letter(t, 1, "a")
	text := "{\"time\":\"2026-\n" + good + "\nnull\n[]\n{\"act\":\"replayed\"}\n{\"act\":\"noted\"}\n{\"act\":\"of a later version\"}\n" +
		`{"topic":"` + strings.Repeat("x", mostHead) + "\"}\n" + letter(t, 2, "b") + "\n" + letter(t, 3, "c")
	f := opened(t, text)
	require.Equal(t, "orders/1 waiting, orders/2 waiting", states(t, f))
	faults, n, torn := f.Faults()
	require.Equal(t, 6, n)
	require.True(t, torn, "the last line has no end")
	require.Zero(t, faults[0].At)
	require.EqualValues(t, strings.Index(text, "null"), faults[1].At)
	require.ErrorIs(t, faults[5].Reason, errLongHead)
	require.NoError(t, f.Mark(t.Context(), f.At(0).ID, Removed, ""))
	require.Equal(t, "orders/1 removed, orders/2 waiting, orders/3 waiting", states(t, f), "the last line is whole now")

	f = opened(t, strings.Repeat("x\n", mostFaults+5))
	faults, n, _ = f.Faults()
	require.Len(t, faults, mostFaults)
	require.Equal(t, mostFaults+5, n)

	_, err := Open(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "is no regular file")
	_, err = Open(t.Context(), filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Acts are appended; a removal cannot be undone, and the existing bytes do not change.
func TestMark(t *testing.T) {
	before := letter(t, 1, "a") + "\n" + letter(t, 2, "b") + "\n" + letter(t, 3, "c") + "\n"
	f := opened(t, before)
	ids := []ID{f.At(0).ID, f.At(1).ID, f.At(2).ID}
	require.NoError(t, f.Mark(t.Context(), ids[0], Replayed, "exec"))
	require.NoError(t, f.Mark(t.Context(), ids[1], Removed, ""))
	require.NoError(t, f.Mark(t.Context(), ids[1], Replayed, ""))
	require.Equal(t, "orders/1 replayed, orders/2 removed, orders/3 waiting", states(t, f))
	made, err := f.Copy(t.Context(), f.At(2), "other", strings.NewReader("C"))
	require.NoError(t, err)
	require.Equal(t, "C", payload(t, f, made))
	again, err := f.Copy(t.Context(), made, "", nil)
	require.NoError(t, err)
	require.Equal(t, "C", payload(t, f, again))
	r, err := f.Record(again)
	require.NoError(t, err)
	require.Equal(t, "other", r.Topic)
	require.Equal(t, made.ID, *r.CopyOf)
	require.Equal(t, "k", r.Key)

	text, err := os.ReadFile(f.Path())
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(text, []byte(before)))
	other, err := Open(t.Context(), f.Path())
	require.NoError(t, err)
	defer other.Close()
	require.Equal(t, states(t, f), states(t, other))
	require.NoError(t, other.Mark(t.Context(), ids[2], Removed, ""))
	require.Contains(t, states(t, f), "orders/3 waiting")
	require.NoError(t, f.Refresh(t.Context()))
	require.Contains(t, states(t, f), "orders/3 removed")
	require.NoError(t, os.WriteFile(f.Path(), []byte(letter(t, 9, "")+"\n"), 0o600))
	require.NoError(t, f.Refresh(t.Context()))
	require.Equal(t, "orders/9 waiting", states(t, f), "of a file that was cut")
}

// Wherever a crash truncates the file, its complete lines are read, and a line appended then is
// complete.
func TestCutAnywhere(t *testing.T) {
	f := opened(t, letter(t, 1, "a")+"\n"+letter(t, 2, "b")+"\n")
	require.NoError(t, f.Mark(t.Context(), f.At(0).ID, Replayed, "exec"))
	_, err := f.Copy(t.Context(), f.At(1), "t", strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, f.Mark(t.Context(), f.At(1).ID, Removed, ""))
	text, err := os.ReadFile(f.Path())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "cut.jsonl")
	for n := range len(text) + 1 {
		require.NoError(t, os.WriteFile(path, text[:n], 0o600))
		whole := bytes.Count(text[:n], []byte("\n"))
		cut, err := Open(t.Context(), path)
		require.NoError(t, err)
		want := []string{"", "orders/1 waiting", "orders/1 waiting, orders/2 waiting", "orders/1 replayed, orders/2 waiting",
			"orders/1 replayed, orders/2 waiting, t waiting", "orders/1 replayed, orders/2 removed, t waiting"}
		require.Equal(t, want[whole], states(t, cut), n)
		if n%5 != 0 { // a sync is slow, so only every fifth time
			require.NoError(t, cut.Close())
			continue
		}
		require.NoError(t, lines.Append(path, func(w io.Writer) error { _, err := io.WriteString(w, letter(t, 3, "c")); return err }))
		require.NoError(t, cut.Refresh(t.Context()))
		require.Contains(t, states(t, cut), "orders/3 waiting", n)
		require.NoError(t, cut.Close())
	}
}

// A connector and several goroutines that mark entries share a file.
func TestWritersAtOnce(t *testing.T) {
	f := opened(t, "")
	var all sync.WaitGroup
	all.Go(func() {
		for n := range 50 {
			text := letter(t, n, strings.Repeat("x", 5000*n))
			if err := lines.Append(f.Path(), func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		all.Go(func() {
			mine, err := Open(context.Background(), f.Path())
			if err != nil {
				t.Error(err)
				return
			}
			defer mine.Close()
			for done := 0; done < 50; {
				if err := mine.Refresh(context.Background()); err != nil {
					t.Error(err)
					return
				}
				for ; done < mine.Len(); done++ {
					if err := mine.Mark(context.Background(), mine.At(done).ID, Replayed, "test"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, f.Refresh(t.Context()))
	_, faults, torn := f.Faults()
	require.Zero(t, faults)
	require.False(t, torn)
	require.Equal(t, 50, strings.Count(states(t, f), "replayed"))
}

// A file that may only be read can be listed, and refuses changes.
func TestReadOnly(t *testing.T) {
	f := opened(t, letter(t, 1, "a")+"\n")
	f.readOnly = true
	require.ErrorIs(t, f.Mark(t.Context(), f.At(0).ID, Removed, ""), ErrReadOnly)
}

// The payload is never held in memory as a whole.
func TestLongPayload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dead.jsonl")
	out, err := os.Create(path)
	require.NoError(t, err)
	io.WriteString(out, `{"topic":"t","payload":"`)
	const size = 16 << 20
	text := base64.NewEncoder(base64.StdEncoding, out)
	_, err = io.CopyN(text, zeros{}, size)
	require.NoError(t, err)
	require.NoError(t, text.Close())
	io.WriteString(out, "\"}\n")
	require.NoError(t, out.Close())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := Open(t.Context(), path)
	require.NoError(t, err)
	defer f.Close()
	require.EqualValues(t, size, f.At(0).Size)
	n, err := io.Copy(io.Discard, f.Payload(f.At(0)))
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/8))
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
