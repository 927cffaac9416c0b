package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// slack is how much noise may add to a ratio before the target counts as missed.
const slack = 1.15

// A target is a bound on one figure of one table.
type target struct {
	ID    string // number in the list of targets, such as P9
	Table string
	What  string
	Bound float64
	Got   float64
	Met   bool
}

// A bound reads a figure of a table.
type bound struct {
	id, table, what string
	most            float64
	get             func(m *measured) float64
}

// over returns our value of a quantity as a fraction of who's.
func over(who, quantity string) func(*measured) float64 {
	return func(m *measured) float64 { return m.ratio(who, quantity).Median }
}

// by returns who's value of a quantity.
func by(who, quantity string) func(*measured) float64 {
	return func(m *measured) float64 { return m.get(who, quantity).Median }
}

// own returns our value of a quantity.
func own(quantity string) func(*measured) float64 {
	return by(ours, quantity)
}

func bounds() []bound {
	encode, decode, owned := "codec: encode PUBLISH ", "codec: decode PUBLISH ", "codec: decode, payload owned, PUBLISH 256 B"
	b := []bound{
		{"P9", encode + "256 B", "of the limit", 2, over(limit, cpuTime)},
		{"P9", encode + "256 B", "of paho", 1.0 / 12, over(paho, cpuTime)},
		{"P10", decode + "256 B", "of the limit", 2.2, over(limit, cpuTime)},
		{"P10", owned, "of the limit", 1.3, over(limit, cpuTime)},
		{"P10", owned, "allocations", 1, own(mallocs)},
		{"P11", encode + "64 KiB", "of the limit", 1.5, over(limit, cpuTime)},
		{"P11", decode + "64 KiB", "of the limit", 1.5, over(limit, cpuTime)},
	}
	for _, c := range codecCases() {
		for _, way := range []string{"encode ", "decode "} {
			name := "codec: " + way + c.name
			for _, peer := range []string{paho, mochi} {
				b = append(b, bound{"codec", name, "of " + peer, 1, over(peer, cpuTime)})
			}
			if strings.HasPrefix(c.name, "PUBLISH") || c.name == "PUBACK" || way == "encode " {
				b = append(b, bound{"codec", name, "allocations", 0, own(mallocs)})
			}
		}
	}
	return slices.Concat(b, clientBounds(), connectorBounds(), otherBounds())
}

// clientBounds are the bounds for clients, on processor time unless stated otherwise.
func clientBounds() []bound {
	var b []bound
	add := func(id, table string, ofPaho, ofLimit, allocs float64) {
		table = "clients: " + table
		b = append(b, bound{id, table, "of paho", ofPaho, over(paho, cpuTime)})
		if ofLimit > 0 {
			b = append(b, bound{id, table, "of limit-b100", ofLimit, over(limit100, cpuTime)})
		}
		if allocs >= 0 {
			b = append(b, bound{id, table, "allocations", allocs, own(mallocs)})
		}
	}
	add("P1", "publish QoS 0", 1.0/25, 2.5, 0)
	add("P2", "publish QoS 1", 1.0/15, 2, 1)
	add("P3", "publish QoS 2", 1.0/15, 2.2, 1)
	add("P4", "100 callers, QoS 0", 0.15, 0, -1)
	add("P4", "100 callers, QoS 1", 0.22, 0, 1)
	add("P5", "receive QoS 0", 1.0/40, 2, 0)
	add("P6", "receive QoS 0, payload owned", 1.0/15, 0, 1)
	add("P7", "receive QoS 1", 1.0/20, 2, 0)
	add("P8", "one at a time, QoS 1", 0.8, 0, 1)
	receipts := "clients: publish QoS 1, receipts waited for"
	return append(b,
		bound{"P21", "session: round trip QoS 1, 10,000 subscriptions", "of that with none", 1.2, over(unsubscribed, cpuTime)},
		bound{"P22", "clients: 5,000 publishers in line, QoS 1", "of that with 10", 2, over(few, cpuTime)},
		bound{"P8", "clients: one at a time, QoS 1", "of at-wat", 1.05, over(atwat, cpuTime)},
		bound{"P8", "clients: one at a time, QoS 1", "p50 of at-wat", 1, over(atwat, half)},
		bound{"P23", receipts, "of limit-b100", 2, over(limit100, cpuTime)},
		bound{"P23", receipts, "allocations", 1, own(mallocs)},
		bound{"P1", "clients: publish QoS 0", "reads and writes", 0.02, own(calls)},
		bound{"P2", "clients: publish QoS 1", "reads and writes", 0.06, own(calls)},
		bound{"P8", "clients: one at a time, QoS 1", "p50 of paho", 0.95, over(paho, half)},
		bound{"P8", "clients: one at a time, QoS 1", "p99 of paho", 1, over(paho, late)},
		// Where nothing is allocated: a receipt a message lets the collector take its 4 MB.
		bound{"P15", "clients: publish QoS 0", "peak RSS of limit-b100", 1.1, over(limit100, peak)},
		bound{"P15", "clients: receive QoS 1", "peak RSS of limit-b100", 1.1, over(limit100, peak)},
	)
}

// connectorBounds are the bounds for the connector: what it adds to the client in the same run, and
// the throughput of a producer over a long distance.
func connectorBounds() []bound {
	consume, produce := "connector: consume QoS 1", "afar: producer, QoS 1"
	of := func(who, other, quantity string) func(*measured) float64 {
		return func(m *measured) float64 { return m.quotient(who, other, quantity).Median }
	}
	var b []bound
	for _, peer := range besides {
		table, who := peer.table(), peer.who
		b = append(b, bound{"P26", table, "of " + who, peer.most, over(who, cpuTime)}, bound{"P26", table, "time of " + who, 1 / 0.95, over(who, wall)})
	}
	return append(b, []bound{
		{"P24", consume, "of the client", 3, of(unordered, alone, cpuTime)},
		{"P24", consume, "ordered, of the client", 2.5, of(ordered, alone, cpuTime)},
		{"P24", consume, "allocations", 8, by(unordered, mallocs)},
		{"P28", "page: live, 10,000 messages a second", "of that without a reader", 1.1, of(watched, unwatched, cpuTime)},
		{"P25", produce, "ns a message by default", 1e9 / 1800, by(usual, wall)},
		{"P25", produce, "ns a message with max_inflight: 1024", 1e9 / 10_000, by(wide, wall)},
	}...)
}

// otherBounds are all other bounds.
func otherBounds() []bound {
	var b []bound
	add := func(id, table, what string, most float64, get func(*measured) float64) {
		b = append(b, bound{id, table, what, most, get})
	}
	for _, server := range []string{"mosquitto", "mochi"} {
		for qos := range 3 {
			name := fmt.Sprintf("servers: %s, QoS %d", server, qos)
			add("P12", name, "of the better limit", 1.15, func(m *measured) float64 {
				return max(m.ratio(limit1, cpuTime).Median, m.ratio(limit100, cpuTime).Median)
			})
			add("P12", name, "time of the best peer", 1/0.9, func(m *measured) float64 {
				return max(m.ratio(paho, wall).Median, m.ratio(atwat, wall).Median)
			})
			for _, peer := range []string{paho, atwat} {
				// Beyond noise, which is large here: in every round.
				add("P12", name, "time of "+peer+", best round", 1, func(m *measured) float64 { return m.ratio(peer, wall).Least })
			}
		}
	}
	add("P13", "idle: TCP", "goroutines", 1, own(goroutines))
	add("P13", "idle: TCP", "bytes of heap and stack", 6<<10, own(memory))
	add("P13", "idle: TCP", "bytes of resident memory", 7.5*1024, own(residency))
	add("P14", "program: TCP", "bytes", 3.0e6, own(size))
	add("P14", "program: TCP", "packages", 95, own(linked))
	add("P14", "program: TCP", "modules of others", 0, own(foreign))
	add("P14", "program: TCP and TLS", "bytes", 5.1e6, own(size))
	for qos := 1; qos <= 2; qos++ {
		add("P16", fmt.Sprintf("cuts: 1,000 in flight, QoS %d", qos), took, 10, own(took))
		name := fmt.Sprintf("cuts: 20,000 messages, 11 cuts, QoS %d", qos)
		for _, what := range []string{lost, disordered, refused, early, unsettled} {
			add("P17", name, what, 0, own(what))
		}
		if qos == 2 {
			add("P17", name, duplicated, 0, own(duplicated))
		}
		add("P17", name, "time of paho", 1, over(paho, took))
		add("P17", name, "time of at-wat", 1, over(atwat, took))
	}
	for _, what := range []string{lost, disordered, refused, early, unsettled, duplicated} {
		for qos := 1; qos <= 2; qos++ {
			if what != duplicated || qos == 2 {
				add("P27", fmt.Sprintf("paho's API: 20,000 messages, 11 cuts, QoS %d", qos), what, 0, by(facade, what))
			}
		}
	}
	for _, work := range []string{"publish", "receive"} {
		for qos := range 3 {
			add("P27", fmt.Sprintf("paho's API: %s QoS %d", work, qos), "of paho", 1.0/5, func(m *measured) float64 {
				return m.quotient(facade, paho, cpuTime).Median
			})
		}
	}
	add("P19", "store: commits of 1", "of bbolt", 1/1.8, over(bolt, wall))
	add("P19", "store: commits of 10", "of bbolt", 1/2.2, over(bolt, wall))
	add("P19", "store: commits of 100", "of bbolt", 1.0/3, over(bolt, wall))
	return b
}

// judge compares the measured tables with their targets.
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
				most = b.most + 0.05 // what the runtime itself does meanwhile
			}
			if math.IsNaN(got) {
				got, most = 0, -1 // nobody measured it: that is no success
			}
			out = append(out, target{b.id, b.table, b.what, b.most, significant(got), got <= most})
		}
	}
	return out
}

// failed returns an error if one of our rounds failed.
func failed(tables []measured) error {
	for _, t := range tables {
		for _, why := range t.Failed {
			if who, _, _ := strings.Cut(why, ": "); who == ours || strings.HasPrefix(t.Name, "connector: ") || strings.HasPrefix(t.Name, "afar: ") {
				return fmt.Errorf("%s: a round failed: %s", t.Name, why)
			}
		}
	}
	return nil
}

// missed returns an error that names the missed targets.
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
