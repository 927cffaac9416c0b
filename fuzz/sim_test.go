package fuzz

import (
	"flag"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/fuzz/internal/sim"
	"github.com/stretchr/testify/require"
)

// fewSeeds is the number of seeds in a plain go test.
const fewSeeds = 500

var (
	simSeeds = flag.Uint64("sim.seeds", fewSeeds, "how many seeds TestSim runs")
	simFirst = flag.Int64("sim.first", -1, "the first of them; negative: another one each time")
	simSeed  = flag.Int64("sim.seed", -1, "run one seed; with -v its transcript")
)

// firstSeed returns the first seed of a simulation: a random one, so that frequent runs cover more,
// unless a flag sets it.
func firstSeed(t *testing.T) uint64 {
	first := uint64(*simFirst)
	if *simFirst < 0 {
		first = rand.Uint64N(1e12)
	}
	t.Logf("the first seed is %d: -sim.first=%d", first, first)
	return first
}

// minutely returns a function to call with the number of seeds that have run, which it logs once a
// minute.
func minutely(t *testing.T) func(runs int) {
	began := time.Now()
	last := began
	return func(runs int) {
		if now := time.Now(); now.Sub(last) >= time.Minute {
			last = now
			t.Logf("%d of %d seeds, %.0f a second", runs, *simSeeds, float64(runs)/now.Sub(began).Seconds())
		}
	}
}

// TestSim runs the session against everything that can go wrong: see package sim.
//
//	go test ./fuzz -run TestSim -sim.seeds=100000
//	go test ./fuzz -run TestSim -sim.seed=17 -v
func TestSim(t *testing.T) {
	if *simSeed >= 0 {
		o := sim.Options{Seed: uint64(*simSeed)}
		if testing.Verbose() {
			o.Trace = os.Stdout
		}
		_, err := sim.Run(o)
		require.NoError(t, err)
		return
	}

	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	var total struct{ steps, crashes, connections, delivered atomic.Int64 }
	first, began := firstSeed(t), time.Now()
	var progress sync.Mutex
	done, tell := 0, minutely(t)
	seeds(first, *simSeeds, func(seed uint64) bool {
		st, err := sim.Run(sim.Options{Seed: seed})
		if err != nil {
			t.Errorf("%v\ngo test ./fuzz -run 'TestSim$' -v -sim.seed=%d", err, seed)
			explain(t, sim.Options{Seed: seed})
			return false
		}
		total.steps.Add(int64(st.Steps))
		total.crashes.Add(int64(st.Crashes))
		total.connections.Add(int64(st.Connections))
		total.delivered.Add(int64(st.Delivered))
		progress.Lock()
		defer progress.Unlock()
		done++
		tell(done)
		return true
	})
	t.Logf("seeds from %d on: %d, %.0f a second; %d steps, %d connections, %d crashes, %d deliveries",
		first, *simSeeds, float64(*simSeeds)/time.Since(began).Seconds(), total.steps.Load(), total.connections.Load(), total.crashes.Load(), total.delivered.Load())
	// A simulation in which nothing happens proves nothing.
	require.Greater(t, total.steps.Load(), int64(*simSeeds)*100)
	require.Greater(t, total.crashes.Load(), int64(*simSeeds)/4)
	require.Greater(t, total.connections.Load(), int64(*simSeeds))
	require.Greater(t, total.delivered.Load(), int64(*simSeeds))
}

// Seeds that the oracle once misjudged: it took PUBRELs that release Packet Identifiers after the
// loss of the disk for those of earlier messages.
func TestSimSeedsOnceMisjudged(t *testing.T) {
	for _, seed := range []uint64{479321, 226381547942866} {
		_, err := sim.Run(sim.Options{Seed: seed})
		require.NoError(t, err)
	}
}

// seeds calls f for each seed, on all processors, until a call returns false.
func seeds(first, n uint64, f func(seed uint64) bool) {
	var wg sync.WaitGroup
	var next atomic.Uint64
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= n {
					return
				}
				if !f(first + i) {
					next.Store(n)
				}
			}
		})
	}
	wg.Wait()
}

// explain prints the shortest transcript of a failure that it finds.
func explain(t *testing.T, o sim.Options) {
	o = sim.Shrink(o)
	o.Trace = t.Output()
	_, err := sim.Run(o)
	t.Logf("the shortest run found: %v; without steps %v, at most %d messages of a kind", err, o.Without, o.Limit)
}

// A seed always gives the same run.
func TestSimIsDeterministic(t *testing.T) {
	for seed := range uint64(50) {
		a, errA := sim.Run(sim.Options{Seed: seed})
		b, errB := sim.Run(sim.Options{Seed: seed})
		require.Equal(t, a, b, "seed %d", seed)
		require.Equal(t, errA, errB)
	}
}

// gcPercent makes garbage collections rare, because a run leaves little behind: a third faster.
const gcPercent = 800
