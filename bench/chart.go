package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// A chart shows a quantity of the tables whose names begin with a prefix, as bars.
type chart struct {
	file, title string
	prefix      string
	who         []string
	quantity    string
	unit        float64
	linear      bool // else logarithmic
}

var charts = []chart{
	{"codec-encode.svg", "Encode: ns of processor time", "codec: encode ", []string{ours, paho, mochi, limit}, cpuTime, 1, false},
	{"codec-decode.svg", "Decode: ns of processor time", "codec: decode ", []string{ours, paho, mochi, limit}, cpuTime, 1, false},
	{"clients.svg", "Clients: µs of processor time a message", "clients: ", []string{ours, paho, atwat, limit1, limit100}, cpuTime, 1e3, false},
	{"servers.svg", "Through a real server: µs of processor time a message", "servers: ", []string{ours, paho, atwat, limit1, limit100}, cpuTime, 1e3, false},
	{"store.svg", "Stores: µs a message", "store: ", []string{ours, bolt, files}, wall, 1e3, false},
	{"idle.svg", "Idle connection: KiB of heap and stack", "idle: ", []string{ours, paho, atwat, limit}, memory, 1024, true},
}

// colours are told apart by people who see few colours too.
var colours = map[string]color.Color{
	ours:     color.RGBA{0x00, 0x72, 0xb2, 0xff},
	paho:     color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	mochi:    color.RGBA{0xcc, 0x79, 0xa7, 0xff},
	atwat:    color.RGBA{0x00, 0x9e, 0x73, 0xff},
	bolt:     color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	files:    color.RGBA{0x00, 0x9e, 0x73, 0xff},
	limit:    color.RGBA{0x88, 0x88, 0x88, 0xff},
	limit1:   color.RGBA{0xbb, 0xbb, 0xbb, 0xff},
	limit100: color.RGBA{0x77, 0x77, 0x77, 0xff},
}

// draw draws the chart if its tables were measured.
func (c chart) draw(r *results, dir string) error {
	var names []string
	values := make([]plotter.Values, len(c.who))
	least, most := math.Inf(1), 0.0
	for i := range r.Tables {
		name, ok := strings.CutPrefix(r.Tables[i].Name, c.prefix)
		if !ok {
			continue
		}
		names = append(names, name)
		for j, who := range c.who {
			x := r.Tables[i].get(who, c.quantity).Median / c.unit
			values[j] = append(values[j], x) // NaN: nobody measured it
			if x > 0 {
				least, most = min(least, x), max(most, x)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	p := plot.New()
	p.Title.Text = c.title + ", less is better"
	bottom, top := 0.0, 1.1*most
	if !c.linear {
		bottom, top = math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
		p.Y.Tick.Marker = powers(bottom, top)
	}
	wide := 60 / float64(len(c.who))
	for j, who := range c.who {
		for i, x := range values[j] {
			if !c.linear {
				x = math.Log10(x) - bottom // a bar begins at the bottom of the axis
			}
			values[j][i] = max(0, x)
			if math.IsNaN(x) {
				values[j][i] = 0
			}
		}
		bars, err := plotter.NewBarChart(values[j], vg.Points(wide*0.9))
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width = colours[who], 0
		bars.Offset = vg.Points(wide * (float64(j) - float64(len(c.who)-1)/2))
		p.Add(bars)
		p.Legend.Add(who, bars)
	}
	p.Y.Min, p.Y.Max = 0, (top-bottom)*1.3
	p.Legend.Top, p.Legend.Padding, p.Legend.XOffs = true, vg.Points(6), vg.Points(-6)
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	width := vg.Inch * vg.Length(max(7, 1.4*float64(len(names))))
	return save(p, width, 4*vg.Inch, filepath.Join(dir, c.file))
}

// save writes an SVG that looks alike where the plotter's font is not installed.
func save(p *plot.Plot, width, height vg.Length, path string) error {
	w, err := p.WriterTo(width, height, "svg")
	if err != nil {
		return err
	}
	var svg bytes.Buffer
	if _, err := w.WriteTo(&svg); err != nil {
		return err
	}
	text := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Serif"), []byte("font-family:'Liberation Serif',Times,serif"))
	return os.WriteFile(path, text, 0o644)
}

// powers are marks at the powers of ten from 10^bottom, which is where the axis begins.
func powers(bottom, top float64) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for e := bottom; e <= top; e++ {
		ticks = append(ticks, plot.Tick{Value: e - bottom, Label: fmt.Sprintf("%g", math.Pow(10, e))})
	}
	return ticks
}
