package disk

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A content behaves like a slice of bytes, and a copy does not change with the original.
func TestContent(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		type pair struct {
			c content
			b []byte
		}
		all := make([]pair, 4)
		for range 40 {
			i, j := r.IntN(len(all)), r.IntN(len(all))
			p, o := &all[i], &all[j]
			switch r.IntN(6) {
			case 0, 1, 2:
				off, part := r.IntN(2000), make([]byte, r.IntN(1500))
				if r.IntN(3) > 0 { // zeros otherwise
					for k := range part {
						part[k] = byte(r.IntN(3))
					}
				}
				p.c.write(part, off)
				p.b = append(p.b, make([]byte, max(0, off+len(part)-len(p.b)))...)
				copy(p.b[off:], part)
			case 3:
				size := r.IntN(3000)
				p.c.resize(size)
				p.b = append(p.b, make([]byte, max(0, size-len(p.b)))...)[:size]
			case 4:
				if r.IntN(2) == 0 {
					p.c = o.c.clone()
				} else {
					p.c.set(&o.c)
				}
				p.b = slices.Clone(o.b)
			case 5:
				for k := range p.c.sectors[:min(len(p.c.sectors), len(o.c.sectors))] {
					if r.IntN(2) == 0 {
						p.c.take(&o.c, k)
						at := k * sector
						end := min(at+sector, len(p.b), len(o.b))
						copy(p.b[at:end], o.b[at:end])
					}
				}
			}
			for i := range all {
				off := r.IntN(100)
				got := make([]byte, 4000)
				got = got[:all[i].c.read(got, off)]
				require.Equal(t, string(all[i].b[min(off, len(all[i].b)):]), string(got), "seed %d", seed)
				require.Equal(t, len(all[i].b), all[i].c.size)
			}
		}
	}
}

// After a loss of power each sector is what was synced or what was written since. After a kill
// everything that was written is there.
func TestRAMForgets(t *testing.T) {
	d := NewRAM()
	f, err := d.Create("file")
	require.NoError(t, err)
	write := func(c byte, n int) {
		_, err := f.WriteAt(slices.Repeat([]byte{c}, n), 0)
		require.NoError(t, err)
	}
	write('a', 5*sector+7)
	require.NoError(t, f.Sync())
	require.NoError(t, d.Sync())
	write('b', 7*sector)
	require.Equal(t, d.Files["file"].Bytes(), d.After(false, d.R).Files["file"].Bytes())
	seen := make(map[byte]bool)
	for range 20 {
		b := d.After(true, d.R).Files["file"].Bytes()
		require.Contains(t, []int{5*sector + 7, 7 * sector}, len(b))
		for i, c := range b {
			at := i - i%sector
			switch {
			case i == at:
				seen[c] = true
			case i == 5*sector+7 && c == 0: // the size was written, and the sector was not
			default:
				require.Equal(t, b[i-1], c)
			}
		}
	}
	require.Len(t, seen, 3)
	write('c', 1)
	require.Equal(t, byte('b'), d.Files["file"].Bytes()[1])
	require.NoError(t, f.Truncate(1))
	require.Equal(t, []byte{'c'}, d.Files["file"].Bytes())
	b := d.After(true, d.R).Files["file"].Bytes()
	require.Len(t, b, 5*sector+7, "the size was not synced")
}
