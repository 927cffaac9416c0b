package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector/jetstream"
	internalnats "github.com/mqtt311/mqtt311/internal/nats"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A house is a group of processes that divide shares. It records which process works on which
// share.
type house struct {
	*testing.T
	nats *internalnats.Broker

	mu     sync.Mutex
	owner  map[int]string
	epochs map[int]uint64
	wrong  []string
}

func newHouse(t *testing.T) *house {
	return &house{T: t, nats: internalnats.Start(t, internalnats.Options{}), owner: make(map[int]string), epochs: make(map[int]uint64)}
}

// A member is one of these processes.
type member struct {
	leases *jetstream.Leases
	stop   context.CancelFunc
	nc     *nats.Conn
}

func (h *house) member(name string, ttl time.Duration) *member {
	h.Helper()
	return h.memberWho(name, ttl, func(ctx context.Context, l *jetstream.Lease) error {
		h.begin(name, l)
		<-ctx.Done()
		h.end(name, l)
		return nil
	})
}

// memberWho returns a member that calls hold with its shares.
func (h *house) memberWho(name string, ttl time.Duration, hold func(context.Context, *jetstream.Lease) error) *member {
	h.Helper()
	nc, err := nats.Connect(h.nats.Client, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(h, err)
	ctx, stop := context.WithCancel(h.Context())
	leases, err := jetstream.NewLeases(ctx, nc, jetstream.LeaseConfig{Group: "g", Count: 8, TTL: ttl, Name: name})
	require.NoError(h, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		leases.Run(ctx, hold)
	}()
	m := &member{leases, func() { stop(); <-ended }, nc}
	h.Cleanup(func() { m.stop(); nc.Close() })
	return m
}

func (h *house) begin(name string, l *jetstream.Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other := h.owner[l.Index]; other != "" {
		h.wrong = append(h.wrong, fmt.Sprintf("%s begins share %d while %s has it", name, l.Index, other))
	}
	if l.Epoch <= h.epochs[l.Index] {
		h.wrong = append(h.wrong, fmt.Sprintf("share %d: epoch %d after %d", l.Index, l.Epoch, h.epochs[l.Index]))
	}
	h.owner[l.Index], h.epochs[l.Index] = name, l.Epoch
}

func (h *house) end(name string, l *jetstream.Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owner[l.Index] == name {
		h.owner[l.Index] = ""
	}
}

// settles waits until each member has so many shares.
func (h *house) settles(shares map[*member]int) {
	h.Helper()
	require.Eventually(h, func() bool {
		var all []int
		for m, n := range shares {
			held := m.leases.Held()
			if len(held) != n {
				return false
			}
			all = append(all, held...)
		}
		slices.Sort(all)
		return slices.Equal(all, []int{0, 1, 2, 3, 4, 5, 6, 7})
	}, time.Minute, 10*time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Empty(h, h.wrong)
}

// Processes join and leave: each share has at most one owner at a time, and all processes have about the
// same number.
func TestLeases(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const ttl = 2 * time.Second
	one := h.member("one", ttl)
	h.settles(map[*member]int{one: 8})
	two := h.member("two", ttl)
	h.settles(map[*member]int{one: 4, two: 4})
	one.stop()
	h.settles(map[*member]int{two: 8})
}

// A process that cannot work on its shares leaves them to others.
func TestLeasesOfProcessThatFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const ttl = 2 * time.Second
	var failures atomic.Int32
	h.memberWho("broken", ttl, func(context.Context, *jetstream.Lease) error {
		failures.Add(1)
		return errors.New("broken")
	})
	require.Eventually(t, func() bool { return failures.Load() > 0 }, time.Minute, 10*time.Millisecond)
	h.settles(map[*member]int{h.member("one", ttl): 8})
}

// A process that cannot reach the server loses its shares when their time is over, before another
// process can have them.
func TestLeasesWithoutServer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const ttl = 2 * time.Second
	one := h.member("one", ttl)
	h.settles(map[*member]int{one: 8})
	h.nats.Pause()
	require.Eventually(t, func() bool { return len(one.leases.Held()) == 0 }, time.Minute, 10*time.Millisecond)
	h.nats.Resume()
	h.settles(map[*member]int{one: 8})
}

// In a bucket that was deleted and created again, revisions start at 1. An owner has a higher epoch than earlier
// ones nevertheless, and no share is taken before the leases of the old bucket have ended.
func TestLeasesOfNewBucket(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const ttl = 2 * time.Second
	one := h.member("one", ttl)
	h.settles(map[*member]int{one: 8})
	h.mu.Lock()
	before := maps.Clone(h.epochs)
	h.mu.Unlock()
	js, err := natsjs.New(one.nc)
	require.NoError(t, err)
	require.NoError(t, js.DeleteKeyValue(t.Context(), "mqtt311-leases"))
	two := h.member("two", ttl) // which makes the bucket
	h.settles(map[*member]int{one: 4, two: 4})
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, e := range h.epochs {
			if e <= before[i] {
				return false
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
}

// A bucket that is deleted while shares are in use is created again by the processes themselves. Each share still
// has at most one owner at a time.
func TestLeasesOfDeletedBucket(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const ttl = 2 * time.Second
	one, two := h.member("one", ttl), h.member("two", ttl)
	h.settles(map[*member]int{one: 4, two: 4})
	js, err := natsjs.New(one.nc)
	require.NoError(t, err)
	for range 2 {
		h.mu.Lock()
		before := maps.Clone(h.epochs)
		h.mu.Unlock()
		require.NoError(t, js.DeleteKeyValue(t.Context(), "mqtt311-leases"))
		require.Eventually(t, func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			for i, e := range h.epochs {
				if e <= before[i] {
					return false
				}
			}
			return true
		}, time.Minute, 10*time.Millisecond)
		h.settles(map[*member]int{one: 4, two: 4})
	}
}

func TestNewLeasesRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	nc, err := nats.Connect(h.nats.Client)
	require.NoError(t, err)
	defer nc.Close()
	_, err = jetstream.NewLeases(t.Context(), nc, jetstream.LeaseConfig{Group: "a.b", Count: 0})
	require.ErrorContains(t, err, "LeaseConfig.Group")
	require.ErrorContains(t, err, "LeaseConfig.Count")
	_, err = jetstream.NewLeases(t.Context(), nc, jetstream.LeaseConfig{Group: "a", Count: 1})
	require.NoError(t, err)
	_, err = jetstream.NewLeases(t.Context(), nc, jetstream.LeaseConfig{Group: "b", Count: 1, TTL: time.Second})
	require.ErrorContains(t, err, "TTL 10s instead of 1s")
}
