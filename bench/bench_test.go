package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	pahopackets "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// What is compared is the same: every codec writes the same bytes, and reads them.
func TestCodecsAgree(t *testing.T) {
	for _, c := range codecCases() {
		t.Run(c.name, func(t *testing.T) {
			want, err := c.ours.AppendBinary(nil)
			require.NoError(t, err)
			var paho, mochi bytes.Buffer
			require.NoError(t, c.paho.Write(&paho))
			require.Equal(t, want, paho.Bytes())
			m := c.mochi
			require.NoError(t, c.encode(&m, &mochi))
			require.Equal(t, want, mochi.Bytes())
			_, err = pahopackets.ReadPacket(bytes.NewReader(want))
			require.NoError(t, err)
			_, n, err := packets.Parse(want)
			require.NoError(t, err)
			require.Equal(t, len(want), n)
		})
	}
}

// Every row works, and a run leaves numbers, a table and charts.
func TestRun(t *testing.T) {
	m := method{Rounds: 2, Codec: 100 * time.Microsecond, Repeats: 1, Traffic: 5 * time.Millisecond}
	r := results{Machine: machine(), Method: m}
	for _, table := range m.tables() {
		measured, err := m.measure(table, func() {})
		require.NoError(t, err)
		r.Tables = append(r.Tables, measured)
	}
	r.Targets = judge(r.Tables)
	require.Len(t, r.Targets, len(bounds()), "a target names a table that is not there")
	for _, target := range r.Targets {
		require.False(t, math.IsNaN(target.Got), "%s %s: %s is not measured", target.ID, target.Table, target.What)
	}
	dir := t.TempDir()
	require.NoError(t, r.write(dir))
	for _, name := range []string{"results.json", "results.md", "codec-encode.svg", "codec-decode.svg"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NotEmpty(t, b)
	}
	require.ErrorContains(t, run(m, false, "no such table", ""), "no such table")
}

func TestJudge(t *testing.T) {
	table := func(us, them, allocs float64) []measured {
		one := func(who string, ns, allocs float64) figures {
			return figures{who, map[string][]float64{wall: {ns}, mallocs: {allocs}}}
		}
		return []measured{{Name: "codec: encode PUBLISH 256 B", Rows: []figures{
			one(ours, us, allocs), one(limit, them, 0), one(paho, 100*them, 5), one(mochi, us, 2),
		}}}
	}
	require.NoError(t, missed(judge(table(20, 10, 0))))
	require.NoError(t, missed(judge(table(22.9, 10, 0))), "noise is allowed for")
	require.ErrorContains(t, missed(judge(table(23.1, 10, 0))), "P9 codec: encode PUBLISH 256 B: 2.31 of the limit, at most 2")
	require.ErrorContains(t, missed(judge(table(20, 10, 1))), "allocations")
}

// A ratio is taken round by round.
func TestRatio(t *testing.T) {
	m := measured{Rows: []figures{{ours, map[string][]float64{wall: {1, 20, 3}}}, {paho, map[string][]float64{wall: {2, 40, 12}}}}}
	require.Equal(t, spread{0.5, 0.25, 0.5}, m.ratio(paho, wall))
	require.True(t, math.IsNaN(m.ratio(mochi, wall).Median))
}

// The test binary is the program, for the jobs that it gives itself.
func TestMain(m *testing.M) {
	if child() {
		return
	}
	os.Exit(m.Run())
}
