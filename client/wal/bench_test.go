package wal

import (
	"fmt"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/stretchr/testify/require"
)

// BenchmarkCommit keeps messages of 256 bytes, many a commit, and forgets those of the commit
// before.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Open(Options{Dir: b.TempDir(), Server: "mq", ClientID: "c"})
			require.NoError(b, err)
			defer s.Close()
			// Two commits in turn: each keeps n keys and forgets those of the other.
			var changes [2][]client.Change
			for turn := range 2 {
				for i := range n {
					key := fmt.Appendf(nil, "%d.%06d", turn, i)
					changes[turn] = append(changes[turn], client.Change{Key: key, Value: make([]byte, 256)})
					changes[1-turn] = append(changes[1-turn], client.Change{Key: key, Forget: true})
				}
			}
			turn := 0
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Commit(changes[turn]); err != nil {
					b.Fatal(err)
				}
				turn = 1 - turn
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
