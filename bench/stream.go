package main

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Processor time of the benchmarks of connector/jetstream: who spends it, and in which of their parts.
var (
	streamWho   = []string{"mosquitto", "ours", "nats"}
	streamNames = map[string]string{"mosquitto": "mosquitto", "ours": "gateway or worker", "nats": "nats-server"}
	streamParts = []struct{ name, label, ours string }{
		{"mosquitto", "mosquitto alone", "gateway"},
		{"stream", "the stream alone", "gateway"},
		{"fast", "gateway, fast", "gateway"},
		{"strict", "gateway, strict", "gateway"},
		{"worker", "worker", "worker"},
	}
	streamColours = map[string]color.Color{"mosquitto": colours[paho], "ours": colours[ours], "nats": colours[atwat]}
)

// streamFigures reads what "go test -bench" has printed of the benchmarks of connector/jetstream with the server's default
// sync: values by unit.
func streamFigures(r io.Reader) (map[string]float64, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	figures := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "BenchmarkGateway/sync=default") && !strings.HasPrefix(line, "BenchmarkWorker") {
			continue
		}
		fields := strings.Fields(line)
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q is no value of a benchmark", fields[i])
			}
			figures[fields[i+1]] = value
		}
	}
	if len(figures) == 0 {
		return nil, errors.New("there is no line of BenchmarkGateway/sync=default or BenchmarkWorker")
	}
	return figures, nil
}

// drawStream draws the processor time of a message in each part, as bars with their values.
func drawStream(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	figures, err := streamFigures(f)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	p := plot.New()
	p.Title.Text = "µs of processor time a message, less is better"
	const wide = 30
	most := 0.0
	var names []string
	for _, part := range streamParts {
		names = append(names, part.label)
	}
	for j, who := range streamWho {
		offset := vg.Points(wide * (float64(j) - float64(len(streamWho)-1)/2))
		var values plotter.Values
		var labels plotter.XYLabels
		for i, part := range streamParts {
			unit := part.name + "-" + who + "-us"
			if who == "ours" {
				unit = part.name + "-" + part.ours + "-us"
			}
			x := figures[unit]
			values, most = append(values, x), max(most, x)
			labels.XYs = append(labels.XYs, plotter.XY{X: float64(i), Y: x})
			text := ""
			if x >= 0.5 {
				text = strconv.FormatFloat(x, 'f', 0, 64)
			}
			labels.Labels = append(labels.Labels, text)
		}
		bars, err := plotter.NewBarChart(values, vg.Points(wide*0.9))
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width, bars.Offset = streamColours[who], 0, offset
		over, err := plotter.NewLabels(labels)
		if err != nil {
			return err
		}
		over.Offset.X, over.Offset.Y = offset-vg.Points(6), vg.Points(2)
		p.Add(bars, over)
		p.Legend.Add(streamNames[who], bars)
	}
	p.Y.Min, p.Y.Max = 0, most*1.3
	p.Legend.Top, p.Legend.Left, p.Legend.Padding, p.Legend.XOffs = true, true, vg.Points(6), vg.Points(6)
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	return save(p, 8*vg.Inch, 4*vg.Inch, to)
}
