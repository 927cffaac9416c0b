package fuzz

import (
	"runtime/debug"
	"testing"

	"github.com/mqtt311/mqtt311/fuzz/internal/clientsim"
	"github.com/mqtt311/mqtt311/fuzz/internal/sim"
)

// BenchmarkSim runs a seed per operation, on one processor.
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

// BenchmarkClientSim runs a seed per operation, in a process of its own as always. Use -benchtime 2000x,
// and for a profile set MQTT311_CLIENTSIM='{"First":1,"Seeds":2000,"Hangs":60000000000}' and run go test
// ./fuzz -run TestClientSimChild -cpuprofile cpu.out.
func BenchmarkClientSim(b *testing.B) {
	r, err := clientBatch(clientsim.Batch{First: 1, Seeds: uint64(b.N)}).Run(b.Context())
	if err != nil || r.Runs != b.N {
		b.Fatal(r.Failures, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "seeds/s")
	b.ReportMetric(float64(r.Cost.Microseconds())/1000/float64(b.N), "cpu-ms/seed")
}
