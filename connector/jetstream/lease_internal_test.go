package jetstream

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A lease expires unless it is renewed, and an expired lease stays expired.
func TestLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLease(t.Context(), 3, 7, 7, time.Now().Add(10*time.Second))
		flow, cancel := l.withCancel()
		defer cancel()
		epoch, err := Fence(flow)
		require.NoError(t, err)
		require.EqualValues(t, 7, epoch)
		time.Sleep(9 * time.Second)
		l.renew(8, time.Now().Add(10*time.Second))
		time.Sleep(9 * time.Second)
		require.True(t, l.Valid())
		require.NoError(t, flow.Err())
		time.Sleep(2 * time.Second)
		require.False(t, l.Valid())
		<-flow.Done()
		require.ErrorIs(t, context.Cause(flow), ErrLeaseLost)
		_, err = Fence(flow)
		require.ErrorIs(t, err, ErrLeaseLost)
		require.ErrorContains(t, err, "partition 3")
		l.renew(9, time.Now().Add(10*time.Second))
		require.False(t, l.Valid())
	})
}

// Err checks the clock: it is right even before the timer fires.
func TestLeaseContextIsExact(t *testing.T) {
	l := newLease(t.Context(), 0, 1, 1, time.Now().Add(time.Hour))
	flow, cancel := l.withCancel()
	defer cancel()
	require.NoError(t, flow.Err())
	l.mu.Lock()
	l.until = time.Now().Add(-time.Nanosecond)
	l.mu.Unlock()
	require.ErrorIs(t, flow.Err(), ErrLeaseLost)
	l.end(context.Canceled)
	require.ErrorIs(t, flow.Err(), context.Canceled)
}

// A server whose clock was set back reports an age of the bucket that is too low or negative. A bucket that this
// process has known for the TTL is at least that old.
func TestAgeOfBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ls := new(Leases)
		made := time.Now().Add(24 * time.Hour)
		require.Zero(t, ls.age(made, -24*time.Hour))
		time.Sleep(7 * time.Second)
		require.Equal(t, 7*time.Second, ls.age(made, -24*time.Hour))
		require.Equal(t, time.Hour, ls.age(made, time.Hour))
		require.Zero(t, ls.age(made.Add(time.Microsecond), -time.Hour), "another bucket")
	})
}

// A flow of another source has no fence.
func TestFenceOfOthers(t *testing.T) {
	epoch, err := Fence(t.Context())
	require.NoError(t, err)
	require.Zero(t, epoch)
}
