package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// Results are the results of a run.
type results struct {
	Machine map[string]string
	Method  method
	Tables  []measured
	Targets []target
}

// machine describes the software that was measured, and the machine.
func machine() map[string]string {
	m := map[string]string{"go": runtime.Version(), "os": runtime.GOOS + "/" + runtime.GOARCH, "cores": fmt.Sprint(runtime.NumCPU())}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "model name\t: "); ok {
				m["cpu"] = name
				break
			}
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m["os"] += " " + strings.TrimSpace(string(release))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if (strings.Contains(d.Path, "mqtt") || strings.Contains(d.Path, "bbolt")) && d.Replace == nil {
				m[d.Path] = d.Version
			}
		}
	}
	if program, err := findMosquitto(); err == nil {
		help, _ := exec.Command(program, "-h").Output() // its exit code says that it did not start
		if _, version, ok := strings.Cut(string(help), "mosquitto version "); ok {
			m["mosquitto"] = strings.Fields(version)[0]
		}
	}
	return m
}

// write writes the results to a directory: as data, as text and as charts.
func (r *results) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// A line a table: short, and a diff shows what has changed.
	text := strings.NewReplacer(`{"Name"`, "\n{\"Name\"", `{"ID"`, "\n{\"ID\"").Replace(string(b))
	var md strings.Builder
	r.markdown(&md)
	errs := []error{
		os.WriteFile(filepath.Join(dir, "results.json"), []byte(text+"\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "results.md"), []byte(md.String()), 0o644),
	}
	for _, c := range charts {
		errs = append(errs, c.draw(r, dir))
	}
	return errors.Join(errs...)
}

// read reads results that were written earlier.
func read(dir string) (*results, error) {
	b, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		return nil, err
	}
	r := new(results)
	return r, json.Unmarshal(b, r)
}

// A section of the report has the tables whose names begin with its prefix, one a line.
type section struct {
	prefix, title string
	cell          string   // the contents of a cell
	who           []string // columns
	quantities    []quantity
	ratio         string   // of this quantity
	of            []string // to these contestants
}

// A quantity says how a quantity is shown: in a unit, or as thousands per second.
type quantity struct {
	name   string
	unit   float64
	format string
}

const perSecond = 0

var (
	micros    = quantity{cpuTime, 1e3, "%.3g"}
	count     = quantity{mallocs, 1, "%.2g"}
	transfers = quantity{calls, 1, "%.2g"}
	rate      = quantity{wall, perSecond, "%.3gk/s"}
	usually   = quantity{half, 1e3, "p50 %.3g µs"}
	seldom    = quantity{late, 1e3, "p99 %.3g µs"}
)

const traffic = "processor time of a message in µs; allocations; reads and writes; thousands of messages a second"

var sections = []section{
	{
		"codec: ", "Codec", "processor time in ns; allocations",
		[]string{ours, paho, mochi, limit}, []quantity{{cpuTime, 1, "%.3g"}, {mallocs, 1, "%.0f"}}, cpuTime, []string{paho, limit},
	},
	{
		"clients: ", "Clients, and a server that does nothing in another process", traffic,
		[]string{ours, paho, atwat, limit1, limit100}, []quantity{micros, count, transfers, rate, usually, seldom}, cpuTime, []string{paho, limit1, limit100},
	},
	{
		"paho's API: ", "Programs written for paho: over mqtt311, and over paho", traffic + "; with cuts as below",
		[]string{facade, paho},
		[]quantity{micros, count, transfers, rate, {took, 1, "%.3g ms"}, {lost, 1, "%.0f"}, {duplicated, 1, "%.0f"}, {disordered, 1, "%.0f"}, {refused, 1, "%.0f"}, {early, 1, "%.0f"}, {unsettled, 1, "%.0f"}},
		"", nil,
	},
	{
		"servers: ", "Publisher and subscriber in a process, and a real server in another", traffic,
		[]string{ours, paho, atwat, limit1, limit100}, []quantity{micros, count, transfers, rate}, cpuTime, []string{paho, limit1, limit100},
	},
	{
		"connector: ", "The connector: take, run a flow, acknowledge", "processor time of a message in µs; allocations; thousands of messages a second",
		[]string{alone, unordered, ordered, slow}, []quantity{micros, count, rate}, "", nil,
	},
	{
		"afar: ", "A producer of the connector, and a server 50 ms away and back", "thousands of messages a second; processor time of a message in µs; allocations",
		[]string{usual, wide}, []quantity{rate, micros, count}, "", nil,
	},
	{
		"beside: ", "A step from mosquitto to mosquitto, on a core of its own", "thousands of messages a second; processor time of the step, a message in µs; MB of resident memory at the most",
		[]string{ours, nodeRED, benthos}, []quantity{rate, micros, {peak, 1e6, "%.0f MB"}}, cpuTime, []string{nodeRED, benthos},
	},
	{
		"store: ", "Stores: messages of 256 bytes kept, and those of the commit before forgotten", "µs a message",
		[]string{ours, bolt, files}, []quantity{{wall, 1e3, "%.3g"}}, wall, []string{bolt, files},
	},
	{
		"durable: ", "Durable publishing with each store", "µs a message",
		[]string{ours, bolt, files, storeless}, []quantity{{wall, 1e3, "%.3g"}}, wall, []string{bolt, files},
	},
	{
		"cuts: ", "Connections that end", "milliseconds; messages lost, duplicated, out of order, refused, called done before the server had acknowledged them, and without an outcome",
		[]string{ours, paho, atwat},
		[]quantity{{took, 1, "%.3g ms"}, {lost, 1, "%.0f"}, {duplicated, 1, "%.0f"}, {disordered, 1, "%.0f"}, {refused, 1, "%.0f"}, {early, 1, "%.0f"}, {unsettled, 1, "%.0f"}},
		took, []string{paho, atwat},
	},
	{
		"idle: ", "An idle connection", "goroutines; KiB of heap and stack; KiB of the stack alone; KiB of resident memory",
		[]string{ours, paho, atwat, limit}, []quantity{{goroutines, 1, "%.3g"}, {memory, 1024, "%.3g"}, {stacks, 1024, "%.2g"}, {residency, 1024, "%.3g"}}, memory, []string{paho, atwat, limit},
	},
	{
		"program: ", "The smallest program", "MB without symbols; packages; modules of others",
		[]string{ours, paho, atwat, limit}, []quantity{{size, 1e6, "%.2f"}, {linked, 1, "%.0f"}, {foreign, 1, "%.0f"}}, size, []string{paho, atwat, limit},
	},
}

func (r *results) markdown(w io.Writer) {
	fmt.Fprintf(w, "%s, %s cores, %s, %s; paho.mqtt.golang %s, at-wat/mqtt-go %s, mochi %s, bbolt %s, mosquitto %s.\n",
		r.Machine["cpu"], r.Machine["cores"], r.Machine["os"], r.Machine["go"],
		r.Machine["github.com/eclipse/paho.mqtt.golang"], r.Machine["github.com/at-wat/mqtt-go"],
		r.Machine["github.com/mochi-mqtt/server/v2"], r.Machine["go.etcd.io/bbolt"], r.Machine["mosquitto"])
	fmt.Fprintf(w, "Medians of %d rounds of %v for the codec and of %d rounds of %v for the rest.\n", r.Method.Rounds, r.Method.Codec, r.Method.Repeats, r.Method.Traffic)
	fmt.Fprintln(w, "Ratios are of rounds side by side: the median (the ends).")
	for _, s := range sections {
		r.section(w, s)
	}
	for _, t := range r.Tables {
		for _, why := range t.Failed {
			fmt.Fprintf(w, "\nA round failed and was repeated: %s: %s.\n", t.Name, why)
		}
		if n := t.rounds(); n > r.Method.rounds(t.Name) {
			fmt.Fprintf(w, "\nOf %d rounds, because a target was missed after a third of them: %s.\n", n, t.Name)
		}
	}
	if len(r.Targets) == 0 {
		return
	}
	fmt.Fprint(w, "\n## Targets\n\nA target is missed when it is passed by more than 15 %.\n\n| target | | | at most | measured | |\n|---|---|---|---|---|---|\n")
	for _, t := range r.Targets {
		verdict := "met"
		if !t.Met {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %.3g | %.3g | %s |\n", t.ID, t.Table, t.What, t.Bound, t.Got, verdict)
	}
}

func (r *results) section(w io.Writer, s section) {
	first := true
	for i := range r.Tables {
		t := &r.Tables[i]
		name, ok := strings.CutPrefix(t.Name, s.prefix)
		if !ok {
			continue
		}
		if first {
			fmt.Fprintf(w, "\n## %s\n\nA cell: %s.\n\n| | %s", s.title, s.cell, strings.Join(s.who, " | "))
			for _, who := range s.of {
				fmt.Fprintf(w, " | of %s", who)
			}
			fmt.Fprintf(w, " |\n|---%s|\n", strings.Repeat("|---", len(s.who)+len(s.of)))
			first = false
		}
		fmt.Fprintf(w, "| %s", name)
		for _, who := range s.who {
			fmt.Fprintf(w, " | %s", t.cell(who, s.quantities))
		}
		for _, who := range s.of {
			fmt.Fprintf(w, " | %s", t.ratio(who, s.ratio))
		}
		fmt.Fprint(w, " |\n")
	}
}

// of formats a quantity of who; "" if it does not exist.
func (q quantity) of(m *measured, who string) string {
	x := m.get(who, q.name).Median
	switch {
	case math.IsNaN(x):
		return ""
	case q.unit == perSecond:
		return fmt.Sprintf(q.format, 1e6/x)
	}
	return fmt.Sprintf(q.format, x/q.unit)
}

func (m *measured) cell(who string, quantities []quantity) string {
	var parts []string
	for _, q := range quantities {
		if text := q.of(m, who); text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

// String formats a ratio, as a fraction if it is small.
func (s spread) String() string {
	switch {
	case math.IsNaN(s.Median):
		return ""
	case s.Median < 0.4:
		return fmt.Sprintf("1/%.1f (1/%.1f-1/%.1f)", 1/s.Median, 1/s.Most, 1/s.Least)
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Least, s.Most)
}
