package wal

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The index returns what a map would, for any keys, and keeps no empty page.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	x, want := newIndex(), make(map[string]place)
	seg := &segment{first: 7}
	x.segments = []*segment{seg}
	key := func() []byte {
		switch n := r.Uint64N(200); r.IntN(4) {
		case 0:
			return binary.BigEndian.AppendUint64([]byte{1}, n)
		case 1:
			return binary.BigEndian.AppendUint64([]byte{2}, 1<<60-100+n) // the highest numbers, and beyond
		case 2:
			return fmt.Appendf(nil, "%03d", n)
		default:
			return fmt.Appendf(nil, "key %020d", n)
		}
	}
	for i := range 50_000 {
		k, now := key(), place{seg.first, int64(i), int64(r.IntN(3))}
		x.apply(k, seg, now)
		if want[string(k)] = now; now.size == 0 {
			delete(want, string(k))
		}
		k = key()
		require.Equal(t, want[string(k)], x.at(k))
		require.Equal(t, len(want), x.keys())
	}
	highest, all, bytes := uint64(0), 0, int64(0)
	for k, at := range want {
		if k[0] == 2 && k[1] < 16 {
			highest = max(highest, binary.BigEndian.Uint64([]byte(k[1:])))
		}
		bytes += at.size
		all++
	}
	got, ok := x.highest(2)
	require.True(t, ok)
	require.Equal(t, highest, got)
	_, ok = x.highest(9)
	require.False(t, ok)
	require.Len(t, x.places(seg), all)
	require.Equal(t, bytes, x.bytes)
	require.Equal(t, bytes, seg.live)
	for k := range want {
		x.apply([]byte(k), seg, place{})
	}
	require.Zero(t, x.keys())
	require.Zero(t, x.bytes)
	require.Zero(t, x.finish)
	require.Empty(t, x.pages)
	require.Empty(t, x.others)
}
