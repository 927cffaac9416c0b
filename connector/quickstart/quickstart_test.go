package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// The whole quickstart against a broker in the process: nothing is lost, nothing comes
// twice, and the table says so.
func TestQuickstart(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rs, err := loadReadings()
	require.NoError(t, err)
	r := newRun(rs)
	require.NoError(t, r.do(ctx, b.Addr))
	require.True(t, r.ok())
	for qos := range r.tallies {
		tally := &r.tallies[qos]
		require.Equal(t, 1000, tally.sent)
		require.Equal(t, 1000, tally.received)
		require.Equal(t, 1000, tally.succeeded)
		require.Zero(t, tally.lost())
		require.Zero(t, tally.duplicated())
		if qos > 0 {
			require.EqualValues(t, 1000, tally.acknowledged)
		}
	}
	var table strings.Builder
	r.table(&table)
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")
	require.Len(t, lines, 4)
	require.Equal(t, "QoS sent received flows succeeded acknowledged lost duplicated seconds", strings.Join(strings.Fields(lines[0]), " "))
	require.Equal(t, []string{"2", "1000", "1000", "1000", "1000", "0", "0"}, strings.Fields(lines[3])[:7])
}

// The readings are what they are meant to try.
func TestReadings(t *testing.T) {
	rs, err := loadReadings()
	require.NoError(t, err)
	topics, empty, largest, binary, wide := map[string]bool{}, 0, 0, 0, 0
	for i := range rs {
		b := rs[i].content()
		topics[rs[i].Topic] = true
		largest = max(largest, len(b))
		if len(b) == 0 {
			empty++
		}
		if rs[i].Base64 != nil {
			binary++
		}
		if strings.ContainsFunc(rs[i].Topic+rs[i].Payload, func(r rune) bool { return r > 0x7f }) {
			wide++
		}
	}
	require.Len(t, rs, 1000)
	require.Greater(t, len(topics), 5)
	require.Positive(t, empty)
	require.Positive(t, binary)
	require.Positive(t, wide)
	require.GreaterOrEqual(t, largest, 100<<10)
}

// A verdict that cannot fail is none: each way to go wrong makes it one.
func TestVerdict(t *testing.T) {
	good := func() *run {
		r := newRun(nil)
		for qos := range r.tallies {
			tally := &r.tallies[qos]
			tally.sent, tally.received, tally.succeeded = 1, 1, 1
			tally.want[identify("t", nil)], tally.got[identify("t", nil)] = 1, 1
		}
		return r
	}
	require.True(t, good().ok())
	r := good()
	r.tallies[1].got = map[identity]int{}
	require.Equal(t, 1, r.tallies[1].lost())
	require.False(t, r.ok(), "lost")
	r = good()
	r.tallies[2].got[identify("t", nil)] = 2
	require.Equal(t, 1, r.tallies[2].duplicated())
	require.False(t, r.ok(), "duplicated at QoS 2")
	r = good()
	r.tallies[1].got[identify("t", nil)] = 2
	require.True(t, r.ok(), "QoS 1 may repeat")
	r = good()
	r.tallies[0].succeeded = 0
	require.False(t, r.ok(), "a flow failed")
	r = good()
	r.tallies[0].got = map[identity]int{identify("t", []byte("else")): 1}
	require.False(t, r.ok(), "another content")
}

func TestQuickstartWithoutBroker(t *testing.T) {
	ok, err := quickstart(t.Context(), "127.0.0.1:1")
	require.False(t, ok)
	require.ErrorContains(t, err, "refused")
}
