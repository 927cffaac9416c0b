package fuzz

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/mqtt311/mqtt311/fuzz/internal/clientsim"
	"github.com/mqtt311/mqtt311/fuzz/internal/sim"
	"github.com/stretchr/testify/require"
)

// mutantSeeds is how many seeds a bug may survive.
const mutantSeeds = 2000

// TestMutants puts in bugs, one at a time. A simulation that overlooks one of them proves little.
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

// The documents state the right number of bugs.
func TestNumbersOfMutants(t *testing.T) {
	for file, texts := range map[string][]string{
		"conformance.md":    {fmt.Sprintf("each of %d bugs is found", len(sim.Mutants()))},
		"zh/conformance.md": {fmt.Sprintf("植入的 %d 个错误都能发现", len(sim.Mutants()))},
		"simulation.md": {
			fmt.Sprintf("`TestMutants`: %d bugs in the driver and the disk", len(sim.Mutants())),
			fmt.Sprintf("`TestClientMutants`: %d bugs around the client", len(clientsim.Mutants())),
			fmt.Sprintf("`TestDriverMutants`: %d bugs in the client", len(driverMutants)),
		},
		"zh/simulation.md": {
			fmt.Sprintf("`TestMutants`：在驱动程序和磁盘中植入 %d 个错误", len(sim.Mutants())),
			fmt.Sprintf("`TestClientMutants`：在客户端周围植入 %d 个错误", len(clientsim.Mutants())),
			fmt.Sprintf("`TestDriverMutants`：在客户端、日志和会话中植入 %d 个错误", len(driverMutants)),
		},
	} {
		b, err := os.ReadFile(filepath.Join("..", "docs", file))
		require.NoError(t, err)
		for _, text := range texts {
			require.Contains(t, string(b), text, file)
		}
	}
}
