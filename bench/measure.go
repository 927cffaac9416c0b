package main

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Who a row belongs to.
const (
	ours  = "mqtt311"
	paho  = "paho"
	mochi = "mochi"
	limit = "limit"
)

// A table is one piece of work, done by several.
type table struct {
	Name  string
	Bytes int // that one operation moves
	Rows  []row
}

// A row does the work n times.
type row struct {
	Who string
	Do  func(n int)
}

// A method says how often and how long.
type method struct {
	Rounds int
	Round  time.Duration
}

// A measured table.
type measured struct {
	Name  string
	Bytes int
	Rows  []figures
}

// Figures are of one operation: the median of the rounds, and their ends.
type figures struct {
	Who         string
	Nanoseconds float64
	Least, Most float64
	Allocs      float64
}

// measure runs the rows in turns.
func (m method) measure(t table) measured {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	counts := make([]int, len(t.Rows))
	for i, r := range t.Rows {
		counts[i] = calibrate(r, m.Round)
	}
	times, allocs := make([][]float64, len(t.Rows)), make([][]float64, len(t.Rows))
	for range m.Rounds {
		for i, r := range t.Rows {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			r.Do(counts[i])
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			n := float64(counts[i])
			times[i] = append(times[i], float64(took.Nanoseconds())/n)
			allocs[i] = append(allocs[i], float64(after.Mallocs-before.Mallocs)/n)
		}
	}
	out := measured{Name: t.Name, Bytes: t.Bytes}
	for i, r := range t.Rows {
		slices.Sort(times[i])
		slices.Sort(allocs[i])
		out.Rows = append(out.Rows, figures{
			Who: r.Who, Nanoseconds: median(times[i]), Least: times[i][0], Most: times[i][len(times[i])-1],
			Allocs: median(allocs[i]),
		})
	}
	return out
}

// calibrate finds how many operations take a round.
func calibrate(r row, round time.Duration) int {
	for n := 1; ; n *= 2 {
		start := time.Now()
		r.Do(n)
		if took := time.Since(start); took > round/4 {
			return max(1, int(float64(n)*float64(round)/float64(took)))
		}
	}
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// of returns the figures of who, and whether there are any.
func (m *measured) of(who string) (figures, bool) {
	i := slices.IndexFunc(m.Rows, func(f figures) bool { return f.Who == who })
	if i < 0 {
		return figures{}, false
	}
	return m.Rows[i], true
}

// ratio returns ours over theirs; 0 if either is missing.
func (m *measured) ratio(who string) float64 {
	a, ok := m.of(ours)
	b, also := m.of(who)
	if !ok || !also {
		return 0
	}
	return a.Nanoseconds / b.Nanoseconds
}

// peers returns everybody but us and the limit.
func (m *measured) peers() []string {
	var names []string
	for _, f := range m.Rows {
		if f.Who != ours && !strings.HasPrefix(f.Who, limit) {
			names = append(names, f.Who)
		}
	}
	return names
}
