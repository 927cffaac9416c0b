package wal

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
)

// fill keeps messages until there is no room, forgets all, and so on. It returns the store, or
// nil when the power went.
func fill(d *ram, opt Options, h *history) (*Store, error) {
	s, err := open(d, opt)
	if err != nil {
		return nil, err
	}
	for i := range 40 {
		h.perhaps = maps.Clone(h.want)
		var changes []client.Change
		switch err := s.Room(3000); {
		case err == nil:
			key, value := fmt.Sprint("m", i), make([]byte, 3000)
			h.perhaps[key] = string(value)
			changes = []client.Change{{Key: []byte(key), Value: value}}
		case errors.Is(err, client.ErrStoreFull):
			for key := range h.want {
				if key != "stays" {
					changes = append(changes, client.Change{Key: []byte(key), Forget: true})
					delete(h.perhaps, key)
				}
			}
			h.perhaps["stays"] = fmt.Sprint(i)
			changes = append(changes, client.Change{Key: []byte("stays"), Value: fmt.Append(nil, i)})
		default:
			return nil, err
		}
		if err := s.Commit(changes); err != nil {
			return nil, err
		}
		h.want, h.perhaps = h.perhaps, nil
	}
	return s, nil
}

// A store that fills the disk by itself has room again when all is finished, and a crash at any
// operation of that loses nothing.
func TestWALCrashOnAFullDisk(t *testing.T) {
	opt := Options{SegmentBytes: 1 << 20}
	disk := func() *ram {
		d := newRAM()
		d.space = 115_000
		return d
	}
	h := &history{want: map[string]string{}}
	s, err := fill(disk(), opt, h)
	require.NoError(t, err)
	require.Greater(t, s.head.generation, uint64(4), "segments came and went")
	require.Equal(t, h.want, contents(t, s))

	for _, power := range []bool{false, true} {
		for at := 1; ; at++ {
			d, h := disk(), &history{want: map[string]string{}}
			d.powerAt = at
			if _, err := fill(d, opt, h); err == nil {
				t.Logf("full disk, loss of power %v: a crash at each of %d operations, nothing lost", power, at-1)
				break
			} else if !errors.Is(err, errPower) {
				t.Fatalf("operation %d: %v", at, err)
			}
			s, err := open(d.after(power, rand.New(rand.NewPCG(5, uint64(at)))), opt)
			require.NoError(t, err, "power %v, operation %d", power, at)
			got := contents(t, s)
			if !maps.Equal(got, h.want) && (h.perhaps == nil || !maps.Equal(got, h.perhaps)) {
				t.Fatalf("power %v, operation %d: %d keys, want %d or %d", power, at, len(got), len(h.want), len(h.perhaps))
			}
		}
	}
}
