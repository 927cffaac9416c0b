// Package storetest tests an implementation of client.Store.
package storetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/mqtt311/mqtt311/client"
)

// Run tests an implementation of Store. The function open must return the Store with the given
// name, which is empty if the name is new. If it returned a Store with that name before, it must
// first close that one as the end of a process would. Every subtest uses different names.
//
// The subtests of Room fill the Store. They are skipped if it accepts more than 64 MiB, so run them
// with a smaller limit.
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
		{"StoreGrantsRoomUntilItIsUsed", grantStands},
		{"StoreTakesWhatItGranted", grantIsKept},
		{"StoreGrantsRoomDuringACommit", roomDuringCommit},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, func() client.Store { return open(t, c.name) })
		})
	}
}

// overhead is what Store.Room counts for a message besides its topic and payload.
const overhead = 256

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
	for i := range changes {
		if c := &changes[i]; !c.Forget {
			c.Granted = len(c.Key) + len(c.Value) + overhead
			if err := s.Room(c.Granted); err != nil {
				t.Fatalf("Room: %v", err)
			}
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

// block is how much room the subtests of Room request at a time.
const block = 1 << 16

// takeAll requests room until the Store is full, and returns the number of blocks granted.
func takeAll(t *testing.T, s client.Store) int {
	t.Helper()
	const enough = 64 << 20 / block
	for n := range enough {
		if err := s.Room(block); err != nil {
			if !errors.Is(err, client.ErrStoreFull) {
				t.Fatalf("Room: %v, which does not wrap ErrStoreFull", err)
			}
			if n < 4 {
				t.Fatalf("an empty Store granted %d blocks of %d bytes", n, block)
			}
			return n
		}
	}
	t.Skipf("the Store has granted %d MiB and is not full", enough*block>>20)
	return 0
}

func mustBeFull(t *testing.T, s client.Store, when string) {
	t.Helper()
	if err := s.Room(block); !errors.Is(err, client.ErrStoreFull) {
		t.Fatalf("Room %s: %v, want ErrStoreFull", when, err)
	}
}

// grantStands checks that a reservation is ended only by Change.Granted and Load.
func grantStands(t *testing.T, reopen func() client.Store) {
	s := reopen()
	load(t, s)
	n := takeAll(t, s)
	for i := range 20 {
		if err := s.Commit([]client.Change{set("a", fmt.Sprint(i)), forget("b")}); err != nil {
			t.Fatalf("Commit: %v", err)
		}
	}
	mustBeFull(t, s, "after commits that use nothing of what was granted")

	used := set("message", "1")
	used.Granted = 2 * block
	if err := s.Commit([]client.Change{used}); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	if err := s.Room(block); err != nil {
		t.Fatalf("Room after two blocks were used up: %v", err)
	}
	mustBeFull(t, s, "after one of two blocks was granted again")

	load(t, s)
	if again := takeAll(t, s); again < n-2 {
		t.Fatalf("after Load the Store granted %d blocks, and %d when it was empty", again, n)
	}
	s = reopen()
	load(t, s)
	if again := takeAll(t, s); again < n-2 {
		t.Fatalf("after a restart the Store granted %d blocks, and %d when it was empty", again, n)
	}
}

// grantIsKept uses all room that a full Store has granted, for the smallest messages and a large
// one, and finishes them as at QoS 2, each step in its own commit.
func grantIsKept(t *testing.T, reopen func() client.Store) {
	s := reopen()
	load(t, s)
	granted := takeAll(t, s) * block
	large := bytes.Repeat([]byte("x"), 3*block)
	n := 0
	for granted >= overhead {
		c := client.Change{Key: messageKey(1, n), Value: make([]byte, 3)}
		if n == 100 && granted > 4*block {
			c.Value = append(c.Value, large...)
		}
		c.Granted = len(c.Value) - 3 + overhead
		if err := s.Commit([]client.Change{c}); err != nil {
			t.Fatalf("Commit of message %d: %v", n, err)
		}
		granted -= c.Granted
		n++
	}
	for i := range n {
		for _, c := range []client.Change{
			{Key: messageKey(2, i), Value: make([]byte, 8)}, {Key: messageKey(1, i), Forget: true}, {Key: messageKey(2, i), Forget: true},
		} {
			if err := s.Commit([]client.Change{c}); err != nil {
				t.Fatalf("finishing message %d of %d: %v", i, n, err)
			}
		}
	}
	expect(t, s, nil)
}

// messageKey returns a key like that of a record of a Session.
func messageKey(kind byte, n int) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(n))
}

// roomDuringCommit requests room while commits are in progress.
func roomDuringCommit(t *testing.T, reopen func() client.Store) {
	s := reopen()
	load(t, s)
	const messages, bytes = 200, 100 + overhead
	granted := make(chan error, messages)
	go func() {
		defer close(granted)
		for range messages {
			granted <- s.Room(bytes)
		}
	}()
	want, n := make(map[string]string), 0
	for err := range granted {
		if err != nil {
			t.Fatalf("Room: %v", err)
		}
		c := client.Change{Key: messageKey(1, n), Value: make([]byte, 100), Granted: bytes}
		if err := s.Commit([]client.Change{c}); err != nil {
			t.Fatalf("Commit: %v", err)
		}
		want[string(c.Key)] = string(c.Value)
		n++
	}
	expect(t, s, want)
	expect(t, reopen(), want)
}
