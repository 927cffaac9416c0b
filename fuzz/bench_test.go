package fuzz

import (
	"runtime/debug"
	"testing"

	"github.com/mqtt311/mqtt311/fuzz/internal/clientsim"
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

// BenchmarkClientSim is a seed an operation, in a process of its own as always: -benchtime 2000x, and for a
// profile MQTT311_CLIENTSIM='{"First":1,"Seeds":2000,"Hangs":60000000000}' in front of
// go test ./fuzz -run TestClientSimChild -cpuprofile cpu.out.
func BenchmarkClientSim(b *testing.B) {
	r, err := clientBatch(clientsim.Batch{First: 1, Seeds: uint64(b.N)}).Run(b.Context())
	if err != nil || r.Runs != b.N {
		b.Fatal(r.Failures, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "seeds/s")
	b.ReportMetric(float64(r.Cost.Microseconds())/1000/float64(b.N), "cpu-ms/seed")
}
