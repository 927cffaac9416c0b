package fuzz

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/fuzz/internal/clientsim"
	"github.com/stretchr/testify/require"
)

var (
	simHangs   = flag.Duration("sim.hangs", time.Minute, "how long a run of TestClientSim may take on the clock of the wall")
	simSimpler = flag.String("sim.simpler", "", "what is left out of the seed, as a failure of TestClientSim says it")
	simAim     = flag.String("sim.aim", "", "what the seeds of TestClientSim are about, see clientsim/aim.go")
	simExplain = flag.Duration("sim.explain", 2*time.Minute, "how long TestClientSim makes a failure simpler")
)

// TestClientSim runs the shipped client over the shipped log against everything that can go wrong: see
// package clientsim and docs/simulation.md.
//
//	go test ./fuzz -run TestClientSim -sim.seeds=10000
//	go test ./fuzz -run TestClientSim -sim.seed=17 -v
func TestClientSim(t *testing.T) {
	if *simSeed >= 0 {
		clientRun(t, uint64(*simSeed), simpler())
		return
	}
	first, began := firstSeed(t), time.Now()
	r, err := clientBatch(clientsim.Batch{First: first, Seeds: *simSeeds, Progress: minutely(t)}).Run(t.Context())
	require.NoError(t, err)
	t.Logf("seeds from %d on: %d, %.0f a second, each %v of processor time; %+v", first, r.Runs,
		float64(r.Runs)/time.Since(began).Seconds(), (r.Cost / time.Duration(max(1, r.Runs))).Round(10*time.Microsecond), r.Stats)
	for _, f := range r.Failures {
		explainClient(t, f)
	}
	if t.Failed() {
		return
	}
	// A simulation in which nothing happens proves nothing.
	n, total := int(*simSeeds), &r.Stats
	require.Equal(t, n, r.Runs)
	require.Greater(t, total.Deaths, n/4)
	require.Greater(t, total.Connections, n)
	require.Greater(t, total.Published, n)
	require.Greater(t, total.Delivered, n)
}

// Seeds that once failed, through a fault of the client or, as in clientsim's TestBehindPauses, of the
// oracle.
func TestClientSimSeedsOnceFailed(t *testing.T) {
	for _, seed := range []uint64{342829424973, 342829516372, 342829463130} {
		clientRun(t, seed, nil)
	}
}

// TestClientSimChild is the child process that runs the seeds of the other tests.
func TestClientSimChild(t *testing.T) { clientsim.ServeChild(t) }

// clientBatch returns b with the settings that all batches share.
func clientBatch(b clientsim.Batch) clientsim.Batch {
	b.Test, b.Simpler = "TestClientSimChild", simpler()
	if b.Aim == "" {
		b.Aim = *simAim
	}
	if b.Hangs == 0 {
		b.Hangs = *simHangs
	}
	return b
}

func simpler() []string {
	return strings.FieldsFunc(*simSimpler, func(r rune) bool { return r == ',' })
}

// clientRun runs a seed in this process, and prints its transcript if it fails or the flags ask for
// it.
func clientRun(t *testing.T, seed uint64, simpler []string) {
	dog := time.AfterFunc(*simHangs, func() { panic(fmt.Sprintf("seed %d hangs", seed)) })
	defer dog.Stop()
	_, transcript, err := clientsim.Run(t, clientsim.Options{Seed: seed, Simpler: simpler, Aim: *simAim, Tell: testing.Verbose()})
	if testing.Verbose() || err != nil {
		os.Stdout.Write(transcript)
	}
	require.NoError(t, err)
}

// again is how often a failed seed is run again.
const again = 100

// explainClient reports how often a failure occurs, and prints a transcript of the simplest run.
func explainClient(t *testing.T, f *clientsim.Failure) {
	b := clientBatch(clientsim.Batch{First: f.Seed, Repeat: again})
	e, err := clientsim.Explain(t.Context(), b, *simExplain)
	if err != nil {
		t.Errorf("%v", err)
	}
	text := fmt.Sprintf("it failed in %d of %d further runs", e.Failed, e.Runs)
	if e.Shortest == nil {
		e.Shortest = f
	} else {
		text += fmt.Sprintf(", and in %d of %d without what -sim.simpler names", e.SimplerFails, e.SimplerRuns)
	}
	t.Logf("%s", e.Shortest.Transcript)
	t.Errorf("%v\n%s\ngo test ./fuzz -run 'TestClientSim$' -v -sim.seed=%d -sim.simpler=%s",
		f, text, f.Seed, strings.Join(e.Simpler, ","))
}

// A run that hangs or crashes its process is a failure that names its seed.
func TestClientSimSeesHangs(t *testing.T) {
	b := clientBatch(clientsim.Batch{Options: clientsim.Options{Mutant: clientsim.Hangs}, Seeds: 50, Hangs: 2 * time.Second})
	r, err := b.Run(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, r.Failures)
	require.Contains(t, r.Failures[0].Error(), "it hangs")
	require.Contains(t, string(r.Failures[0].Transcript), "(*badStore).Commit", "what stands where")
	require.NotContains(t, string(r.Failures[0].Transcript), "deepStacks")

	b.Mutant = clientsim.Panics
	r, err = b.Run(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, r.Failures)
	require.Contains(t, r.Failures[0].Error(), "the process died")
	require.Contains(t, string(r.Failures[0].Transcript), "panic: a bug")
}

// Parts of a seed that its failure does not need are left out.
func TestClientSimMakesFailuresSimpler(t *testing.T) {
	b := clientBatch(clientsim.Batch{Options: clientsim.Options{Mutant: clientsim.DoublePublish}, Seeds: 50})
	r, err := b.Run(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, r.Failures)
	b.First, b.Repeat = r.Failures[0].Seed, 10
	e, err := clientsim.Explain(t.Context(), b, time.Minute)
	require.NoError(t, err)
	require.Positive(t, e.Failed)
	require.NotEmpty(t, e.Simpler)
	require.Less(t, len(e.Shortest.Transcript), len(r.Failures[0].Transcript))
}
