package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// BenchmarkCommit stores messages of 256 bytes, many in a commit, and removes those of the commit
// before.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Open(Options{Dir: b.TempDir(), Server: "mq", ClientID: "c"})
			require.NoError(b, err)
			defer s.Close()
			// Two commits alternate: each stores n keys and removes those of the other.
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

// BenchmarkOpen opens a store of a million messages of 8 bytes, each in its own commit, and loads
// them. It also reports the time to read the files of the store, the same for the log without the
// reserve, and the memory that an open store needs for each stored byte.
func BenchmarkOpen(b *testing.B) {
	opt := Options{Dir: b.TempDir(), Server: "mq", ClientID: "c", Sync: UnsafeNoSync, MaxBytes: -1}
	s, err := Open(opt)
	require.NoError(b, err)
	for seq := range uint64(1_000_000) {
		r := session.Record{Kind: session.RecordPublish, Seq: seq, Publish: &packets.Publish{Topic: "a", QoS: packets.ExactlyOnce, Payload: make([]byte, 8)}}
		require.NoError(b, s.Room(1+8+256))
		if err := s.Commit([]client.Change{{Key: r.AppendKey(nil), Value: r.AppendValue(nil), Granted: 1 + 8 + 256}}); err != nil {
			b.Fatal(err)
		}
	}
	kept := s.bytes
	require.NoError(b, s.Close())
	s = nil
	files, err := os.ReadDir(Folder(opt.Dir, opt.Server, opt.ClientID))
	require.NoError(b, err)

	var read, readLog, open, load time.Duration
	var held uint64
	for b.Loop() {
		for _, f := range files {
			begun := time.Now()
			if _, err := os.ReadFile(filepath.Join(Folder(opt.Dir, opt.Server, opt.ClientID), f.Name())); err != nil {
				b.Fatal(err)
			}
			read += time.Since(begun)
			if _, ok := firstOf(f.Name()); ok {
				readLog += time.Since(begun)
			}
		}

		before := heap()
		begun := time.Now()
		s, err := Open(opt)
		if err != nil {
			b.Fatal(err)
		}
		open += time.Since(begun)
		begun = time.Now()
		n := 0
		if err := s.Load(func(_, _ []byte) error { n++; return nil }); err != nil || n != 1_000_000 {
			b.Fatal(n, err)
		}
		load += time.Since(begun)
		held = heap() - before
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(read.Milliseconds())/float64(b.N), "ms/read")
	b.ReportMetric(float64(open.Milliseconds())/float64(b.N), "ms/open")
	b.ReportMetric(float64(load.Milliseconds())/float64(b.N), "ms/load")
	b.ReportMetric(open.Seconds()/read.Seconds(), "open/read")
	b.ReportMetric(open.Seconds()/readLog.Seconds(), "open/read-log")
	b.ReportMetric(float64(held)/float64(kept), "held/kept")
}

// heap returns the size of the live heap.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
