package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A line of the summary shows one quantity of one table.
type line struct {
	text, table string
	quantity    quantity
}

var summary = []line{
	{"publish at QoS 0: µs of processor time a message", "clients: publish QoS 0", micros},
	{"publish at QoS 1", "clients: publish QoS 1", micros},
	{"publish at QoS 2", "clients: publish QoS 2", micros},
	{"receive at QoS 0", "clients: receive QoS 0", micros},
	{"receive at QoS 1", "clients: receive QoS 1", micros},
	{"receive at QoS 2", "clients: receive QoS 2", micros},
	{"through mosquitto at QoS 1, both ends", "servers: mosquitto, QoS 1", micros},
	{"publish at QoS 1: allocations", "clients: publish QoS 1", count},
	{"publish at QoS 1: reads and writes", "clients: publish QoS 1", transfers},
	{"round trip at QoS 1, one at a time: µs, median", "clients: one at a time, QoS 1", quantity{half, 1e3, "%.3g"}},
	{"1,000 messages in flight after a reconnect at QoS 1: ms", "cuts: 1,000 in flight, QoS 1", quantity{took, 1, "%.3g"}},
	{"20,000 messages at QoS 2, 11 cuts: duplicates", "cuts: 20,000 messages, 11 cuts, QoS 2", quantity{duplicated, 1, "%.0f"}},
	{"the same: out of order", "cuts: 20,000 messages, 11 cuts, QoS 2", quantity{disordered, 1, "%.0f"}},
	{"idle connection over TCP: goroutines", "idle: TCP", quantity{goroutines, 1, "%.0f"}},
	{"the same: KiB of heap and stack", "idle: TCP", quantity{memory, 1024, "%.3g"}},
	{"smallest program over TCP: MB", "program: TCP", quantity{size, 1e6, "%.2f"}},
}

// short writes the summary: medians, and the ratio of ours to paho's.
func (r *results) short(w io.Writer) {
	fmt.Fprintf(w, "| | %s | %s %s | %s %s | beside paho |\n|---|---|---|---|---|\n", ours,
		paho, r.Machine["github.com/eclipse/paho.mqtt.golang"], atwat, r.Machine["github.com/at-wat/mqtt-go"])
	for _, l := range summary {
		for i := range r.Tables {
			if t := &r.Tables[i]; t.Name == l.table {
				fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", l.text,
					l.quantity.of(t, ours), l.quantity.of(t, paho), l.quantity.of(t, atwat), fraction(t.ratio(paho, l.quantity.name).Median))
			}
		}
	}
}

// fraction formats a ratio; "" if there is none.
func fraction(x float64) string {
	switch {
	case x > 0.67:
		return fmt.Sprintf("%.2f of it", x)
	case x > 0.1:
		return fmt.Sprintf("%.1f times less", 1/x)
	case x > 0:
		return fmt.Sprintf("%.0f times less", 1/x)
	case x == 0:
		return "none"
	}
	return ""
}

// The markers around the summary in a document.
const (
	begin = "<!-- bench: go run . -from results -summary -->\n"
	end   = "<!-- bench ends -->"
)

// insert replaces the summary in a document.
func (r *results) insert(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(b), begin)
	_, tail, also := strings.Cut(rest, end)
	if !ok || !also {
		return fmt.Errorf("%s has no lines %q and %q", path, strings.TrimSpace(begin), end)
	}
	var s strings.Builder
	r.short(&s)
	return os.WriteFile(path, []byte(head+begin+s.String()+end+tail), 0o644)
}
