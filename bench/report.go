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

func (r *results) markdown(w io.Writer) {
	fmt.Fprintf(w, "Medians of %d rounds in turns, of %v each; ", r.Method.Rounds, r.Method.Round)
	fmt.Fprintf(w, "%s, %s cores, %s, %s.", r.Machine["cpu"], r.Machine["cores"], r.Machine["os"], r.Machine["go"])
	fmt.Fprintf(w, " paho.mqtt.golang %s, mochi %s.\n", r.Machine["github.com/eclipse/paho.mqtt.golang"], r.Machine["github.com/mochi-mqtt/server/v2"])
	fmt.Fprint(w, "A cell: nanoseconds (from the least to the most of a round), allocations.\n\n")
	fmt.Fprint(w, "| | mqtt311 | paho | mochi | limit | of paho | of the limit |\n|---|---|---|---|---|---|---|\n")
	for i := range r.Tables {
		t := &r.Tables[i]
		fmt.Fprintf(w, "| %s", strings.TrimPrefix(t.Name, "codec: "))
		for _, who := range []string{ours, paho, mochi, limit} {
			f, ok := t.of(who)
			if !ok {
				fmt.Fprint(w, " | ")
				continue
			}
			fmt.Fprintf(w, " | %.3g (%.3g-%.3g), %.0f", f.Nanoseconds, f.Least, f.Most, f.Allocs)
		}
		fmt.Fprintf(w, " | 1/%.1f | %.2f |\n", 1/t.ratio(paho), t.ratio(limit))
	}
	fmt.Fprint(w, "\n| target | | at most | measured | |\n|---|---|---|---|---|\n")
	for _, t := range r.Targets {
		verdict := "met"
		if !t.Met {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s, %s | %.3g | %.3g | %s |\n", t.ID, strings.TrimPrefix(t.Table, "codec: "), t.What, t.Bound, t.Got, verdict)
	}
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
			f, also := r.Tables[j].of(who)
			if ok && also && !strings.Contains(name, "owned") {
				values, names = append(values, math.Log10(max(1, f.Nanoseconds))), append(names, name)
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
