package wal

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/disk"
	"github.com/mqtt311/mqtt311/internal/thorough"
)

// used returns the total size of the files of a disk.
func used(d *disk.RAM) (n int64) {
	for _, f := range d.Files {
		size, _ := f.Size()
		n += size
	}
	return n
}

// A hoarder accepts messages of one size until the store is full, and finishes those that a test
// chooses. It records the largest total size of the files.
type hoarder struct {
	t    *testing.T
	d    *disk.RAM
	s    *Store
	size int
	next uint64 // sequence number of the next message
	most int64
}

func (h *hoarder) commit(changes ...client.Change) {
	h.t.Helper()
	require.NoError(h.t, h.s.Commit(changes))
	h.most = max(h.most, used(h.d))
}

// fill accepts messages until there is no room, and returns their sequence numbers.
func (h *hoarder) fill() (accepted []uint64) {
	granted := 1 + h.size + 256
	for {
		if err := h.s.Room(granted); err != nil {
			require.ErrorIs(h.t, err, client.ErrStoreFull)
			return accepted
		}
		changes := []client.Change{{Key: messageKey(1, h.next), Value: make([]byte, 4+h.size), Granted: granted}}
		if h.next%32 == 0 {
			changes = append(changes, client.Change{Key: []byte{8}, Value: binary.BigEndian.AppendUint64(nil, h.next+32)})
		}
		h.commit(changes...)
		accepted = append(accepted, h.next)
		h.next++
	}
}

// release commits the records that PUBREC causes.
func (h *hoarder) release(messages []uint64) {
	for _, seq := range messages {
		h.commit(client.Change{Key: messageKey(2, seq), Value: make([]byte, 8)})
	}
}

// complete commits the records that PUBCOMP causes.
func (h *hoarder) complete(messages []uint64) {
	for _, seq := range messages {
		h.commit(client.Change{Key: messageKey(1, seq), Forget: true})
		h.commit(client.Change{Key: messageKey(2, seq), Forget: true})
	}
}

// split returns every nth message and the others. If n is 0, each is empty.
func split(messages []uint64, n int) (each, others []uint64) {
	for i, seq := range messages {
		if n > 0 && i%n == 0 {
			each = append(each, seq)
		} else {
			others = append(others, seq)
		}
	}
	return each, others
}

// endings are the orders in which messages are finished. Each starts with a full store and leaves a
// full one.
var endings = []struct {
	name string
	end  func(h *hoarder, accepted []uint64)
}{
	{"oldest first", func(h *hoarder, accepted []uint64) {
		for range 4 {
			h.release(accepted)
			h.complete(accepted)
			accepted = h.fill()
		}
	}},
	{"any first", func(h *hoarder, accepted []uint64) {
		r := rand.New(rand.NewPCG(3, 3))
		for range 4 {
			r.Shuffle(len(accepted), func(i, j int) { accepted[i], accepted[j] = accepted[j], accepted[i] })
			half := len(accepted) / 2
			h.release(accepted)
			h.complete(accepted[:half])
			accepted = append(accepted[half:], h.fill()...)
		}
	}},
	{"one of ten stays", func(h *hoarder, accepted []uint64) {
		for range 8 {
			stay, others := split(accepted, 10)
			h.release(others)
			h.complete(others)
			accepted = append(stay, h.fill()...)
		}
	}},
	{"the oldest half stays", func(h *hoarder, accepted []uint64) { h.churn(accepted, 2) }},
	{"the oldest nine tenths stay", func(h *hoarder, accepted []uint64) { h.churn(accepted, 10) }},
	{"released, the oldest nine tenths stay", func(h *hoarder, accepted []uint64) {
		h.release(accepted)
		h.churn(accepted, 10)
	}},
	{"a process after the other", func(h *hoarder, accepted []uint64) {
		for range 4 {
			h.release(accepted)
			require.NoError(h.t, h.s.Close())
			s, err := open(h.d, h.s.opt)
			require.NoError(h.t, err)
			h.s = s
			h.complete(accepted)
			accepted = h.fill()
		}
	}},
}

// churn finishes the newest 1/n of the messages, and repeatedly those that replace them.
func (h *hoarder) churn(accepted []uint64, n int) {
	passing := accepted[len(accepted)-len(accepted)/n:]
	for range 4 * n {
		h.complete(passing)
		passing = h.fill()
		h.release(passing)
	}
}

// TestWALBound fills a store and finishes its messages in several orders, with payloads of 8 bytes
// and of 64 KiB. The files must never exceed the size documented at Options.MaxBytes.
func TestWALBound(t *testing.T) {
	for _, size := range thorough.Pick([]int{64 << 10}, []int{8, 64 << 10}) {
		for _, segment := range either([]int64{1 << 20}, []int64{1 << 20, 4 << 20, 16 << 20}) {
			for _, e := range endings {
				t.Run(fmt.Sprintf("%d bytes, segments of %d MiB, %s", size, segment>>20, e.name), func(t *testing.T) {
					t.Parallel()
					opt := Options{SegmentBytes: segment, MaxBytes: either[int64](8<<20, 24<<20), Sync: UnsafeNoSync}
					h := &hoarder{t: t, d: disk.NewRAM(), size: size}
					var err error
					h.s, err = open(h.d, opt)
					require.NoError(t, err)
					e.end(h, h.fill())
					bound := 2*opt.MaxBytes + 3*segment
					t.Logf("%.1f MiB, with a bound of %d MiB", float64(h.most)/(1<<20), bound>>20)
					require.LessOrEqual(t, h.most, bound)
				})
			}
		}
	}
}
