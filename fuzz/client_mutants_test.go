package fuzz

import (
	"testing"

	"github.com/mqtt311/mqtt311/fuzz/internal/clientsim"
	"github.com/stretchr/testify/require"
)

// clientMutantSeeds is how many seeds a bug around the client may survive.
const clientMutantSeeds = 1000

// TestClientMutants puts bugs between the client and the world, one at a time, with the same seeds in
// each run.
func TestClientMutants(t *testing.T) {
	for _, m := range clientsim.Mutants() {
		t.Run(m.String(), func(t *testing.T) {
			b := clientBatch(clientsim.Batch{Options: clientsim.Options{Mutant: m}, Seeds: clientMutantSeeds})
			r, err := b.Run(t.Context())
			require.NoError(t, err)
			require.NotEmpty(t, r.Failures, "%s survived %d seeds", m, clientMutantSeeds)
			t.Logf("%.300v", r.Failures[0])
		})
	}
}
