package session

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table of identifiers behaves like a map for identifiers in sequence, in one bucket, at
// random, around the wrap at 65,535.
func TestIdentifiersAreAMap(t *testing.T) {
	for name, id := range map[string]func(r *rand.Rand, n int) uint16{
		"in a row":         func(_ *rand.Rand, n int) uint16 { return uint16(n) },
		"in one place":     func(r *rand.Rand, _ int) uint16 { return uint16(r.IntN(64)) << 10 },
		"at random":        func(r *rand.Rand, _ int) uint16 { return uint16(r.Uint32()) },
		"around the end":   func(r *rand.Rand, _ int) uint16 { return uint16(65_500 + r.IntN(72)) },
		"few, and so full": func(r *rand.Rand, _ int) uint16 { return uint16(r.IntN(40)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var table identifiers
			var all []incoming
			model := map[uint16]uint32{}
			for n := range 20_000 {
				switch x := id(r, n); {
				case r.IntN(2) == 0:
					all = append(all, incoming{id: x})
					i := uint32(len(all) - 1)
					table.set(all, i)
					model[x] = i
				case len(model) > 0:
					if _, ok := model[x]; !ok {
						for x = range model {
							break
						}
					}
					table.remove(all, x)
					delete(model, x)
				}
				probe := id(r, n)
				want, known := model[probe]
				got, ok := table.get(all, probe)
				require.Equal(t, known, ok, "%d after %d steps", probe, n)
				if known {
					require.Equal(t, want, got)
				}
				require.Equal(t, len(model), table.n)
			}
			for x, want := range model {
				got, ok := table.get(all, x)
				require.True(t, ok)
				require.Equal(t, want, got)
			}
		})
	}
}
