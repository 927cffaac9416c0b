package fuzz

import (
	"runtime/debug"
	"testing"

	"github.com/mqtt311/mqtt311/fuzz/internal/sim"
)

// BenchmarkSim is a seed an operation, on one processor.
func BenchmarkSim(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	seed, steps := uint64(0), 0
	for b.Loop() {
		st, err := sim.Run(sim.Options{Seed: seed})
		if err != nil {
			b.Fatal(err)
		}
		steps += st.Steps
		seed++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "seeds/s")
	b.ReportMetric(float64(steps)/float64(b.N), "steps/seed")
}
