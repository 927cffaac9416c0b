package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Results are of one run.
type results struct {
	Machine map[string]string
	Method  method
	Tables  []measured
	Targets []target
}

// machine says what was measured, and on what.
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
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if strings.Contains(d.Path, "mqtt") && d.Replace == nil {
				m[d.Path] = d.Version
			}
		}
	}
	return m
}

func (r *results) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var md strings.Builder
	r.markdown(&md)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "results.json"), append(b, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "results.md"), []byte(md.String()), 0o644),
		r.chart(filepath.Join(dir, "codec-encode.svg"), "codec: encode "),
		r.chart(filepath.Join(dir, "codec-decode.svg"), "codec: decode "),
	)
}

// A section of the report is the tables whose names begin with its prefix, a line each.
type section struct {
	prefix, title string
	cell          string   // what stands in a cell
	who           []string // columns
	quantities    []quantity
	ratio         string   // of which quantity
	of            []string // and of whom
}

// A quantity as it is shown.
type quantity struct {
	name  string
	scale float64
	width string
}

var sections = []section{
	{
		"codec: ", "Codec", "nanoseconds, allocations",
		[]string{ours, paho, mochi, limit}, []quantity{{wall, 1, "%.3g"}, {mallocs, 1, "%.0f"}}, wall, []string{paho, limit},
	},
	{
		"clients: ", "Clients, a null server in another process",
		"processor time of a message in µs, allocations, reads and writes, thousands of messages a second",
		[]string{ours, paho, atwat, limit1, limit100},
		[]quantity{{cpuTime, 1e-3, "%.3g"}, {mallocs, 1, "%.2g"}, {calls, 1, "%.2g"}, {wall, 0, "%.3gk/s"}}, cpuTime, []string{paho, limit100},
	},
}

func (r *results) markdown(w io.Writer) {
	fmt.Fprintf(w, "%s, %s cores, %s, %s;", r.Machine["cpu"], r.Machine["cores"], r.Machine["os"], r.Machine["go"])
	fmt.Fprintf(w, " paho.mqtt.golang %s, at-wat/mqtt-go %s, mochi %s.\n", r.Machine["github.com/eclipse/paho.mqtt.golang"], r.Machine["github.com/at-wat/mqtt-go"], r.Machine["github.com/mochi-mqtt/server/v2"])
	fmt.Fprintf(w, "Medians of %d rounds of %v for the codec and of %d rounds of %v for the rest. Ratios are of rounds side by side: median (least to most).\n", r.Method.Rounds, r.Method.Codec, r.Method.Repeats, r.Method.Traffic)
	for _, s := range sections {
		r.section(w, s)
	}
	fmt.Fprint(w, "\n## Targets\n\n| target | | at most | measured | |\n|---|---|---|---|---|\n")
	for _, t := range r.Targets {
		verdict := "met"
		if !t.Met {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s, %s | %.3g | %.3g | %s |\n", t.ID, t.Table, t.What, t.Bound, t.Got, verdict)
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

func (m *measured) cell(who string, quantities []quantity) string {
	var parts []string
	for _, q := range quantities {
		x := m.get(who, q.name).Median
		if math.IsNaN(x) {
			continue
		}
		if q.scale == 0 {
			x = 1e6 / x // thousands a second
		} else {
			x *= q.scale
		}
		parts = append(parts, fmt.Sprintf(q.width, x))
	}
	return strings.Join(parts, ", ")
}

// String shows a ratio: as a fraction where it is small.
func (s spread) String() string {
	switch {
	case math.IsNaN(s.Median):
		return ""
	case s.Median < 0.4:
		return fmt.Sprintf("1/%.1f (1/%.1f-1/%.1f)", 1/s.Median, 1/s.Least, 1/s.Most)
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Least, s.Most)
}

// chart draws the tables of a group as bars on a logarithmic axis.
func (r *results) chart(path, group string) error {
	p := plot.New()
	p.Title.Text = strings.TrimSuffix(strings.TrimPrefix(group, "codec: "), " ") + ": nanoseconds, less is better"
	// Bars begin at one nanosecond: a bar on a logarithmic axis has no other beginning.
	p.Y.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "1"}, {Value: 1, Label: "10"}, {Value: 2, Label: "100"}, {Value: 3, Label: "1,000"}, {Value: 4, Label: "10,000"}, {Value: 5, Label: "100,000"}}
	var names []string
	for i, who := range []string{ours, paho, mochi, limit} {
		var values plotter.Values
		names = names[:0]
		for j := range r.Tables {
			name, ok := strings.CutPrefix(r.Tables[j].Name, group)
			ns := r.Tables[j].get(who, wall).Median
			if ok && !math.IsNaN(ns) {
				values, names = append(values, math.Log10(max(1, ns))), append(names, name)
			}
		}
		if len(values) == 0 {
			return nil
		}
		bars, err := plotter.NewBarChart(values, vg.Points(11))
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width = colours[i], 0
		bars.Offset = vg.Points(float64(i)*11 - 16.5)
		bars.XMin = 0
		p.Add(bars)
		p.Legend.Add(who, bars)
	}
	p.Y.Min, p.Y.Max = 0, 5.3
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs = true, true, vg.Points(8)
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.3
	return p.Save(10*vg.Inch, 4*vg.Inch, path)
}
