package torture

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// lanes are the rows of a picture, from the publisher to the consumer.
var lanes = []string{
	"disk of the publisher", Publisher, "link of the publisher", Broker, "link of the consumer", Consumer, "disk of the consumer",
}

// The colours of the kinds in the picture. In the sketch a kind has a letter.
var colours = map[Kind]string{
	Kill: "#222222", Stop: "#7a7a7a", Cut: "#8c564b", Dead: "#1f77b4", Refuse: "#9467bd", Delay: "#9edae5",
	Stall: "#bcbd22", Full: "#e377c2", BrokerKill: "#222222", BrokerStop: "#7a7a7a", Rollback: "#ff7f0e",
}

var letters = map[Kind]byte{
	Kill: 'K', Stop: 'S', Cut: 'C', Dead: 'D', Refuse: 'R', Delay: 'd', Stall: 'T', Full: 'F', BrokerKill: 'K', BrokerStop: 'S', Rollback: 'B',
}

// span returns when the history begins and ends.
func (h *History) span() (from, to int64) {
	if len(h.Events) == 0 {
		return 0, 1
	}
	from, to = h.Events[0].At, h.Events[len(h.Events)-1].At+1
	for _, e := range h.Events {
		to = max(to, e.Until)
	}
	return from, to
}

// acts returns the acts in a lane.
func (h *History) acts(lane string) (acts []Event) {
	for _, e := range h.Events {
		if e.What == act && (Act{Kind: Kind(e.Text), Who: e.Who}).lane() == lane {
			acts = append(acts, e)
		}
	}
	return acts
}

const sketchWidth = 100

// sketch draws the history in letters, a row for each lane.
func (h *History) sketch() string {
	from, to := h.span()
	column := func(at int64) int {
		return min(sketchWidth-1, int(float64(at-from)/float64(to-from)*sketchWidth))
	}
	var s strings.Builder
	row := func(name string, fill func([]byte)) {
		cells := bytes.Repeat([]byte{'.'}, sketchWidth)
		fill(cells)
		fmt.Fprintf(&s, "%-22s %s\n", name, cells)
	}
	fmt.Fprintf(&s, "%v in letters, one for %v: Kill, Stop, Cut, Dead, Refuse, delay, sTall, Full, set Back\n",
		time.Duration(to-from).Round(time.Second/10), time.Duration((to-from)/sketchWidth).Round(time.Millisecond))
	for _, lane := range lanes {
		row(lane, func(cells []byte) {
			for _, e := range h.acts(lane) {
				for i := column(e.At); i <= column(e.Until); i++ {
					cells[i] = letters[Kind(e.Text)]
				}
			}
		})
	}
	row("findings", func(cells []byte) {
		for _, f := range h.Verdict.Findings {
			cells[column(f.At)] = '!'
		}
	})
	return s.String()
}

// The dimensions of the picture, in pixels.
const (
	left, right, top = 170, 1600, 70
	laneHeight       = 30
	rateHeight       = 60
	mostListed       = 40 // findings in text
)

// SVG returns a picture of the history: a lane for each process, link and disk with the acts on it, the rates of
// accepted and delivered messages, and a line for each finding.
func (h *History) SVG() []byte {
	from, to := h.span()
	x := func(at int64) float64 { return left + float64(at-from)/float64(to-from)*(right-left) }
	bottom := top + len(lanes)*laneHeight + 2*(rateHeight+20)
	listed := min(mostListed, len(h.Verdict.Findings))
	var s bytes.Buffer
	text := func(at float64, y int, style, format string, args ...any) {
		fmt.Fprintf(&s, `<text x="%.1f" y="%d" %s>%s</text>`+"\n", at, y, style, html.EscapeString(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		right+30, bottom+60+16*listed)
	fmt.Fprintf(&s, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	text(10, 20, `font-size="15" font-weight="bold"`, "%s, seed %d, %d acts, %v: %d findings",
		h.Options.Broker, h.Options.Seed, len(h.Plan), time.Duration(to-from).Round(time.Second/10), len(h.Verdict.Findings))
	h.legend(&s, text)
	for i, lane := range lanes {
		y := top + i*laneHeight
		text(10, y+19, "", "%s", lane)
		fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", left, y+3, right-left, laneHeight-6, "#f3f3f3")
		for _, e := range h.acts(lane) {
			kind := Kind(e.Text)
			fmt.Fprintf(&s, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"><title>%s at %s for %v</title></rect>`+"\n",
				x(e.At), y+3, max(1.5, x(e.Until)-x(e.At)), laneHeight-6, colours[kind], kind, clock(e.At),
				time.Duration(e.Until-e.At).Round(time.Millisecond))
			if kind == Rollback { // a line back to the snapshot
				fmt.Fprintf(&s, `<path d="M%.1f %d h%.1f" stroke="%s" stroke-width="2"/>`+"\n", x(e.Since), y+laneHeight/2, x(e.At)-x(e.Since), colours[kind])
			}
		}
	}
	y := top + len(lanes)*laneHeight
	h.rate(&s, text, accepted, accepted, y+15, from, to)
	h.rate(&s, text, noted, "delivered", y+35+rateHeight, from, to)
	h.seconds(&s, text, x, bottom+5, from, to)
	for _, f := range h.Verdict.Excused {
		mark(&s, x(f.At), bottom, "#ff7f0e", 0.25, f.String())
	}
	for _, f := range h.Verdict.Findings {
		mark(&s, x(f.At), bottom, "red", 0.8, f.String())
	}
	for i, f := range h.Verdict.Findings[:listed] {
		text(10, bottom+45+16*i, `fill="#b00000"`, "%.3f s  %v", float64(f.At-from)/1e9, f)
	}
	s.WriteString("</svg>\n")
	return s.Bytes()
}

type textFunc func(x float64, y int, style, format string, args ...any)

func (h *History) legend(s *bytes.Buffer, text textFunc) {
	at := float64(left)
	seen := make(map[string]bool)
	for _, k := range Kinds {
		if seen[colours[k]] {
			continue
		}
		seen[colours[k]] = true
		fmt.Fprintf(s, `<rect x="%.0f" y="38" width="12" height="12" fill="%s"/>`+"\n", at, colours[k])
		text(at+16, 48, "", "%s", k)
		at += 90
	}
	for _, line := range []struct{ colour, name string }{{"#ff7f0e", "explained by what was done to the broker"}, {"red", "finding"}} {
		fmt.Fprintf(s, `<path d="M%.0f 38 v12" stroke="%s" stroke-width="2"/>`+"\n", at+6, line.colour)
		text(at+16, 48, "", "%s", line.name)
		at += 270
	}
}

func mark(s *bytes.Buffer, x float64, bottom int, colour string, opacity float64, title string) {
	fmt.Fprintf(s, `<path d="M%.1f %d V%d" stroke="%s" stroke-opacity="%.2f" stroke-width="1.5"><title>%s</title></path>`+"\n",
		x, top, bottom, colour, opacity, html.EscapeString(title))
}

// rate draws how many messages there were over time, by what happened to them.
func (h *History) rate(s *bytes.Buffer, text textFunc, what, name string, y int, from, to int64) {
	const columns = 360
	counts := make([]float64, columns)
	for _, e := range h.Events {
		if e.What == what {
			counts[min(columns-1, int(float64(e.At-from)/float64(to-from)*columns))]++
		}
	}
	most := max(1, slices.Max(counts))
	text(10, y+rateHeight/2, "", "%s", name)
	text(10, y+rateHeight/2+15, `fill="#777777"`, "up to %.0f a second", most/(float64(to-from)/1e9/columns))
	for i, n := range counts {
		height := n / most * rateHeight
		fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#2ca02c"/>`+"\n",
			left+float64(i)*(right-left)/columns, float64(y+rateHeight)-height, float64(right-left)/columns, height)
	}
}

// seconds draws the time axis, with about twenty marks.
func (h *History) seconds(s *bytes.Buffer, text textFunc, x func(int64) float64, y int, from, to int64) {
	step := max(1, math.Ceil(float64(to-from)/1e9/20))
	for i := 0.0; i*1e9 < float64(to-from); i += step {
		at := x(from + int64(i*1e9))
		fmt.Fprintf(s, `<path d="M%.1f %d v6" stroke="#777777"/>`+"\n", at, y)
		text(at-4, y+19, `fill="#777777"`, "%.0f s", i)
	}
}
