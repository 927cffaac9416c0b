package main

import (
	"fmt"
	"strings"
)

// slack is what noise may add to a ratio before it counts as missed.
const slack = 1.15

// A target is a bound on one figure of one table.
type target struct {
	ID    string // as in the list of targets, P9 and so on
	Table string
	What  string
	Bound float64
	Got   float64
	Met   bool
}

// A bound reads a figure of a table: ours over theirs, or our allocations.
type bound struct {
	id, table, what string
	most            float64
	get             func(m *measured) float64
}

func over(who string) func(*measured) float64 {
	return func(m *measured) float64 { return m.ratio(who) }
}

func allocs(m *measured) float64 {
	f, _ := m.of(ours)
	return f.Allocs
}

func bounds() []bound {
	b := []bound{
		{"P9", "codec: encode PUBLISH 256 B", "of the limit", 2, over(limit)},
		{"P9", "codec: encode PUBLISH 256 B", "of paho", 1.0 / 12, over(paho)},
		{"P10", "codec: decode PUBLISH 256 B", "of the limit", 2.2, over(limit)},
		{"P10", "codec: decode PUBLISH 256 B, payload owned", "of the limit", 1.3, over(limit)},
		{"P11", "codec: encode PUBLISH 64 KiB", "of the limit", 1.5, over(limit)},
		{"P11", "codec: decode PUBLISH 64 KiB", "of the limit", 1.5, over(limit)},
	}
	for _, c := range codecCases() {
		for _, way := range []string{"encode ", "decode "} {
			name := "codec: " + way + c.name
			for _, peer := range []string{paho, mochi} {
				b = append(b, bound{"codec", name, "of " + peer, 1, over(peer)})
			}
			if strings.HasPrefix(c.name, "PUBLISH") || c.name == "PUBACK" || way == "encode " {
				b = append(b, bound{"codec", name, "allocations", 0, allocs})
			}
		}
	}
	return append(b, bound{"P10", "codec: decode PUBLISH 256 B, payload owned", "allocations", 1, allocs})
}

// judge compares the tables that were measured with their targets.
func judge(tables []measured) []target {
	var out []target
	for _, b := range bounds() {
		for i := range tables {
			if tables[i].Name != b.table {
				continue
			}
			got := b.get(&tables[i])
			most := b.most * slack
			if b.what == "allocations" {
				most = b.most + 0.01 // what the runtime itself does meanwhile
			}
			out = append(out, target{b.id, b.table, b.what, b.most, got, got <= most})
		}
	}
	return out
}

// missed is an error that names the targets that were missed.
func missed(targets []target) error {
	var names []string
	for _, t := range targets {
		if !t.Met {
			names = append(names, fmt.Sprintf("%s %s: %.3g %s, at most %.3g", t.ID, t.Table, t.Got, t.What, t.Bound))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d targets are missed:\n  %s", len(names), len(targets), strings.Join(names, "\n  "))
}
