package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pahopackets "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// The comparison is fair: every codec writes the same bytes, and reads them.
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

// Every row works, and a run writes numbers, a table and charts.
func TestRun(t *testing.T) {
	m := method{Rounds: 2, Codec: 2 * time.Millisecond, Repeats: 1, Traffic: 5 * time.Millisecond, Idle: 10, Messages: 3000}
	r := results{Machine: machine(), Method: m}
	for _, table := range m.tables() {
		if strings.HasPrefix(table.Name, "program: ") {
			continue // see TestProgram
		}
		measured, err := m.measure(table, func() {})
		require.NoError(t, err)
		r.Tables = append(r.Tables, measured)
	}
	r.Targets = judge(r.Tables)
	for _, target := range r.Targets {
		i := slices.IndexFunc(bounds(), func(b bound) bool { return b.table == target.Table && b.what == target.What })
		j := slices.IndexFunc(r.Tables, func(m measured) bool { return m.Name == target.Table })
		require.False(t, math.IsNaN(bounds()[i].get(&r.Tables[j])), "%s %s: %s is not measured", target.ID, target.Table, target.What)
	}
	dir := t.TempDir()
	require.NoError(t, r.write(dir))
	for _, c := range charts {
		b, err := os.ReadFile(filepath.Join(dir, c.file))
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(strings.TrimSpace(string(b)), "</svg>"), c.file)
	}
	again, err := read(dir)
	require.NoError(t, err)
	require.Equal(t, &r, again)
	var md strings.Builder
	again.markdown(&md)
	for _, s := range sections {
		if s.prefix != "program: " && (s.prefix != "beside: " || len(m.besideTables()) > 0) {
			require.True(t, strings.Contains(md.String(), s.title), s.title)
		}
	}
}

func TestProgram(t *testing.T) {
	v, err := program(programs + "net")
	require.NoError(t, err)
	require.Greater(t, v[size], 1e6)
	require.Greater(t, v[linked], 50.0)
	require.Zero(t, v[foreign])
}

// Every target and every line of the summary names an existing table.
func TestNames(t *testing.T) {
	names := make(map[string]bool)
	for _, table := range (flags{}).method().tables() {
		names[table.Name] = true
	}
	_, missing := findMosquitto()
	if missing != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), missing)
	}
	named := func(table string) bool {
		for _, b := range besides { // which only some have
			if table == b.table() && leftOut(table) != nil {
				return true
			}
		}
		return names[table] || missing != nil && strings.Contains(table, "mosquitto")
	}
	for _, b := range bounds() {
		require.True(t, named(b.table), "%s: there is no table %q", b.id, b.table)
	}
	for _, l := range summary {
		require.True(t, named(l.table), "%s: there is no table %q", l.text, l.table)
	}
}

func TestFlags(t *testing.T) {
	require.ErrorContains(t, flags{rows: "no such table"}.run(), `no table's name contains "no such table"`)
	require.ErrorContains(t, flags{rows: "codec", out: "x"}.run(), "leave out -rows")
}

// The stores that we compare with return what they were given. (They do not accept keys as long as
// a client.Store must, which do not occur in a session.)
func TestStores(t *testing.T) {
	for _, kind := range []string{bolt, files} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			s, end, err := openStore(kind, dir)
			require.NoError(t, err)
			require.NoError(t, s.Commit([]client.Change{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b")}, {Key: []byte("c")}}))
			require.NoError(t, s.Commit([]client.Change{{Key: []byte("b"), Forget: true}, {Key: []byte("c"), Value: []byte("3")}}))
			require.NoError(t, end())
			s, end, err = openStore(kind, dir)
			require.NoError(t, err)
			got := make(map[string]string)
			require.NoError(t, s.Load(func(key, value []byte) error {
				got[string(key)] = string(value)
				return nil
			}))
			require.Equal(t, map[string]string{"a": "1", "c": "3"}, got)
			require.NoError(t, end())
		})
	}
}

func TestJudge(t *testing.T) {
	table := func(us, them, allocs float64) []measured {
		one := func(who string, ns, allocs float64) figures {
			return figures{who, map[string][]float64{cpuTime: {ns}, mallocs: {allocs}}}
		}
		return []measured{{Name: "codec: encode PUBLISH 256 B", Rows: []figures{
			one(ours, us, allocs), one(limit, them, 0), one(paho, 100*them, 5), one(mochi, us, 2),
		}}}
	}
	require.NoError(t, missed(judge(table(20, 10, 0))))
	require.NoError(t, missed(judge(table(22.9, 10, 0))), "noise is allowed for")
	require.ErrorContains(t, missed(judge(table(23.1, 10, 0))), "P9 codec: encode PUBLISH 256 B: 2.31 of the limit, at most 2")
	require.ErrorContains(t, missed(judge(table(20, 10, 1))), "allocations")
	require.ErrorContains(t, missed(judge([]measured{{Name: "codec: encode PUBLISH 256 B"}})), "of the limit", "what was not measured is not met")
}

// A table that misses a target is measured for longer, and all rounds count; no other table is.
func TestDoubt(t *testing.T) {
	for _, late := range []float64{10, 40} {
		rounds := map[string]int{}
		does := func(table, who string, ns func(round int) float64) row {
			return row{who, func() (values, error) {
				rounds[table]++
				return values{cpuTime: ns(rounds[table]), mallocs: 0}, nil
			}}
		}
		same := func(ns float64) func(int) float64 { return func(int) float64 { return ns } }
		doubtful, fine := "codec: encode PUBLISH 256 B", "codec: decode PUBLISH 256 B"
		tables := []table{
			{doubtful, []row{does(doubtful, ours, func(round int) float64 {
				if round <= 3*2 { // two rows take turns
					return 30
				}
				return late
			}), does(doubtful, limit, same(10))}},
			{fine, []row{does(fine, ours, same(20)), does(fine, limit, same(10)), does(fine, paho, same(99)), does(fine, mochi, same(99))}},
		}
		m, r := method{Rounds: 3}, &results{Method: method{Rounds: 3}}
		for _, t2 := range tables {
			measured, err := m.measure(t2, func() {})
			require.NoError(t, err)
			r.Tables = append(r.Tables, measured)
		}
		r.Targets = judge(r.Tables)
		require.NoError(t, m.doubt(tables, r, &progress{}))
		require.Equal(t, 9, r.Tables[0].rounds())
		require.Equal(t, 3, r.Tables[1].rounds())
		i := slices.IndexFunc(r.Targets, func(t target) bool { return t.Table == doubtful && t.What == "of the limit" })
		require.Equal(t, late/10, r.Targets[i].Got)
		require.Equal(t, late == 10, r.Targets[i].Met)
		var md strings.Builder
		r.markdown(&md)
		require.Contains(t, md.String(), "Of 9 rounds, because a target was missed after a third of them: "+doubtful+".")
	}
}

// A distant connection delivers everything, in order, and no earlier than it should.
func TestFar(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	near, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	c := far(near, time.Second)
	var sent []byte
	start := time.Now()
	for i := range 100 {
		piece := bytes.Repeat([]byte{byte(i)}, 1000)
		sent = append(sent, piece...)
		_, err := c.Write(piece)
		require.NoError(t, err)
	}
	require.Less(t, time.Since(start), time.Second, "writing does not wait for the way")
	got := make([]byte, len(sent))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), time.Second)
	require.Equal(t, sent, got)
	require.NoError(t, c.Close())
	_, err = c.Write(sent)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = c.Read(got)
	require.Error(t, err)
}

// A ratio is computed round by round.
func TestRatio(t *testing.T) {
	m := measured{Rows: []figures{{ours, map[string][]float64{wall: {1, 20, 3}}}, {paho, map[string][]float64{wall: {2, 40, 12}}}}}
	require.Equal(t, spread{0.5, 0.25, 0.5}, m.ratio(paho, wall))
	require.True(t, math.IsNaN(m.ratio(mochi, wall).Median))
	m.Rows[1].Rounds[wall][1] = 0
	require.Equal(t, spread{0.375, 0.25, 0.5}, m.ratio(paho, wall))
}

// A failed round is repeated and reported.
func TestRoundFails(t *testing.T) {
	var rounds int
	once := row{ours, func() (values, error) {
		if rounds++; rounds == 2 {
			return nil, errors.New("a hang")
		}
		return values{wall: 1}, nil
	}}
	m, err := method{Repeats: 3}.measure(table{"cuts: x", []row{once}}, func() {})
	require.NoError(t, err)
	require.Len(t, m.Rows[0].Rounds[wall], 3)
	require.ErrorContains(t, failed([]measured{m}), "cuts: x: a round failed: mqtt311: a hang")
	var md strings.Builder
	(&results{Tables: []measured{m}}).markdown(&md)
	require.Contains(t, md.String(), "A round failed and was repeated: cuts: x: mqtt311: a hang.")
	never := row{paho, func() (values, error) { return nil, errors.New("a hang") }}
	_, err = method{Repeats: 3}.measure(table{"cuts: x", []row{never}}, func() {})
	require.ErrorContains(t, err, "cuts: x: paho, twice: a hang")
}

// A failed job reports the reason.
func TestJobFails(t *testing.T) {
	_, err := job{Work: "publish", Who: "nobody"}.run(anywhere)
	require.ErrorContains(t, err, `nobody is called "nobody"`)
	_, err = job{Work: "nothing"}.run(anywhere)
	require.ErrorContains(t, err, `no work is called "nothing"`)
	_, err = job{Work: "publish", Who: ours, Addr: "127.0.0.1:1"}.run(anywhere)
	require.ErrorContains(t, err, "connection refused")
}

// Profiles are files that go tool pprof can read, and the most expensive functions are listed.
func TestProfiles(t *testing.T) {
	m := method{Repeats: 1, Traffic: 5 * time.Millisecond, Idle: 10}
	var out strings.Builder
	dir := t.TempDir()
	require.NoError(t, profiles(m, dir, "idle: TCP", &out))
	require.FileExists(t, filepath.Join(dir, "idle-TCP-mqtt311.heap"))
	require.True(t, strings.Contains(out.String(), "client.New"), out.String())
}

// The documents show the values that were measured.
func TestDocuments(t *testing.T) {
	r, err := read("results")
	require.NoError(t, err)
	var short, long strings.Builder
	r.short(&short)
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	require.True(t, strings.Contains(string(readme), begin+short.String()+end), "run: go run . -from results -readme ../README.md")
	r.markdown(&long)
	report, err := os.ReadFile("results/results.md")
	require.NoError(t, err)
	require.True(t, string(report) == long.String(), "run: go run . -from results -out results")
}

// TestMain also runs the jobs of the benchmarks, which use the test binary as their program.
func TestMain(m *testing.M) {
	if child() {
		return
	}
	os.Exit(m.Run())
}
