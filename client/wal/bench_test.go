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
			var keys [2][]client.Change
			seq := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				changes := keys[seq%2][:0]
				for i := range n {
					changes = append(changes, client.Change{Key: fmt.Appendf(nil, "%d.%d", seq%2, i), Value: make([]byte, 256)})
				}
				seq++
				for _, c := range keys[seq%2] {
					changes = append(changes, client.Change{Key: c.Key, Forget: true})
				}
				keys[(seq+1)%2] = changes[:n]
				if err := s.Commit(changes); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
