// Package storetest tests whether a client.Store keeps what it says.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/mqtt311/mqtt311/client"
)

// Run tests stores. Open returns the store that is kept under a name, empty when the name is
// new; the store that it returned for the name before is not used any more: open ends it
// as the end of its process would. Every subtest uses names of its own.
func Run(t *testing.T, open func(t *testing.T, name string) client.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, reopen func() client.Store)
	}{
		{"StoreIsEmptyAtFirst", emptyAtFirst},
		{"StoreKeepsWhatWasCommitted", keeps},
		{"StoreTakesTheLastWord", lastWord},
		{"StoreForgets", forgets},
		{"StoreTakesAnyBytes", anyBytes},
		{"StoreTakesLargeValues", large},
		{"StoreStopsLoadingOnAnError", loadStops},
		{"StoreDoesNotKeepTheCallersMemory", callersMemory},
		{"StoreFollowsAModel", model},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, func() client.Store { return open(t, c.name) })
		})
	}
}

func load(t *testing.T, s client.Store) map[string]string {
	t.Helper()
	got := make(map[string]string)
	err := s.Load(func(key, value []byte) error {
		if _, twice := got[string(key)]; twice {
			t.Errorf("Load: key %q came twice", key)
		}
		got[string(key)] = string(value)
		return nil
	})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return got
}

func commit(t *testing.T, s client.Store, changes ...client.Change) {
	t.Helper()
	for _, c := range changes {
		if err := s.Room(len(c.Value)); err != nil {
			t.Fatalf("Room: %v", err)
		}
	}
	if err := s.Commit(changes); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func expect(t *testing.T, s client.Store, want map[string]string) {
	t.Helper()
	if got := load(t, s); !maps.Equal(got, want) {
		t.Fatalf("Load: %d keys %.200q, want %d keys %.200q", len(got), got, len(want), want)
	}
}

func set(key, value string) client.Change {
	return client.Change{Key: []byte(key), Value: []byte(value)}
}

func forget(key string) client.Change { return client.Change{Key: []byte(key), Forget: true} }

func emptyAtFirst(t *testing.T, reopen func() client.Store) {
	expect(t, reopen(), nil)
	expect(t, reopen(), nil)
}

func keeps(t *testing.T, reopen func() client.Store) {
	s := reopen()
	commit(t, s, set("a", "1"), set("b", ""))
	commit(t, s, set("c", "3"))
	expect(t, reopen(), map[string]string{"a": "1", "b": "", "c": "3"})
}

func lastWord(t *testing.T, reopen func() client.Store) {
	s := reopen()
	commit(t, s, set("a", "1"), set("a", "2"))
	commit(t, s, forget("b"), set("b", "1"))
	s = reopen()
	expect(t, s, map[string]string{"a": "2", "b": "1"})
	commit(t, s, set("a", "3"), set("b", "2"), forget("b"))
	expect(t, reopen(), map[string]string{"a": "3"})
}

func forgets(t *testing.T, reopen func() client.Store) {
	s := reopen()
	commit(t, s, forget("never"), set("a", "1"), set("b", "1"))
	commit(t, s, forget("a"))
	commit(t, s, forget("a"))
	expect(t, reopen(), map[string]string{"b": "1"})
}

func anyBytes(t *testing.T, reopen func() client.Store) {
	want := make(map[string]string)
	s := reopen()
	for i := range 256 {
		key, value := string([]byte{byte(i)}), string([]byte{0, byte(i), '/', '\n'})
		want[key], want[key+"\x00"] = value, value
		commit(t, s, set(key, value), set(key+"\x00", value))
	}
	long := string(bytes.Repeat([]byte{0xff}, 1<<16))
	commit(t, s, set(long, "long"))
	want[long] = "long"
	expect(t, reopen(), want)
}

func large(t *testing.T, reopen func() client.Store) {
	value := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<18)) // 4 MiB
	s := reopen()
	commit(t, s, set("large", value), set("small", "1"))
	s = reopen()
	expect(t, s, map[string]string{"large": value, "small": "1"})
	commit(t, s, forget("large"))
	expect(t, reopen(), map[string]string{"small": "1"})
}

func loadStops(t *testing.T, reopen func() client.Store) {
	s := reopen()
	commit(t, s, set("a", "1"), set("b", "2"))
	stop, calls := errors.New("stop"), 0
	err := reopen().Load(func([]byte, []byte) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Fatalf("Load: %v after %d calls of add, which had returned an error", err, calls)
	}
}

func callersMemory(t *testing.T, reopen func() client.Store) {
	s := reopen()
	c := set("key", "value")
	commit(t, s, c)
	copy(c.Key, "xxx")
	copy(c.Value, "xxxxx")
	commit(t, s, set("other", "1"))
	expect(t, reopen(), map[string]string{"key": "value", "other": "1"})
}

// model makes many changes of few keys, with restarts, and compares with a map.
func model(t *testing.T, reopen func() client.Store) {
	r := rand.New(rand.NewPCG(3, 11))
	want := make(map[string]string)
	s := reopen()
	for i := range 300 {
		var changes []client.Change
		for range 1 + r.IntN(8) {
			key := fmt.Sprint("key", r.IntN(20))
			if r.IntN(2) == 0 {
				changes = append(changes, forget(key))
				delete(want, key)
				continue
			}
			value := string(bytes.Repeat([]byte{byte(i)}, r.IntN(2000)))
			changes = append(changes, set(key, value))
			want[key] = value
		}
		commit(t, s, changes...)
		if r.IntN(20) == 0 {
			s = reopen()
			expect(t, s, want)
		}
	}
	expect(t, reopen(), want)
}
