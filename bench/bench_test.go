package main

import (
	"bytes"
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
	m := method{Rounds: 2, Round: 100 * time.Microsecond}
	r := results{Machine: machine(), Method: m}
	for _, table := range codecTables() {
		r.Tables = append(r.Tables, m.measure(table))
	}
	r.Targets = judge(r.Tables)
	require.Len(t, r.Targets, len(bounds()), "a target names a table that is not there")
	dir := t.TempDir()
	require.NoError(t, r.write(dir))
	for _, name := range []string{"results.json", "results.md", "codec-encode.svg", "codec-decode.svg"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NotEmpty(t, b)
	}
	require.ErrorContains(t, run(true, false, "no such table", ""), "no such table")
}

func TestJudge(t *testing.T) {
	table := func(us, them, allocs float64) []measured {
		return []measured{{Name: "codec: encode PUBLISH 256 B", Rows: []figures{
			{Who: ours, Nanoseconds: us, Allocs: allocs}, {Who: limit, Nanoseconds: them}, {Who: paho, Nanoseconds: 100 * them}, {Who: mochi, Nanoseconds: us},
		}}}
	}
	require.NoError(t, missed(judge(table(20, 10, 0))))
	require.NoError(t, missed(judge(table(22.9, 10, 0))), "noise is allowed for")
	require.ErrorContains(t, missed(judge(table(23.1, 10, 0))), "P9 codec: encode PUBLISH 256 B: 2.31 of the limit, at most 2")
	require.ErrorContains(t, missed(judge(table(20, 10, 1))), "allocations")
}
