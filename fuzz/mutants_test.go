package fuzz

import (
	"sync/atomic"
	"testing"

	"github.com/mqtt311/mqtt311/fuzz/internal/sim"
	"github.com/stretchr/testify/require"
)

// mutantSeeds is how many seeds a bug may survive.
const mutantSeeds = 2000

// TestMutants puts in one bug after the other. A simulation that overlooks one of them
// is not worth its runs.
func TestMutants(t *testing.T) {
	for _, m := range sim.Mutants() {
		t.Run(m.String(), func(t *testing.T) {
			var killed atomic.Pointer[error]
			seeds(0, mutantSeeds, func(seed uint64) bool {
				_, err := sim.Run(sim.Options{Seed: seed, Mutant: m})
				if err != nil {
					killed.CompareAndSwap(nil, &err)
				}
				return err == nil
			})
			require.NotNil(t, killed.Load(), "%s survived %d seeds", m, mutantSeeds)
			t.Log(*killed.Load())
		})
	}
}
