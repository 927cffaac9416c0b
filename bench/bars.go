package main

import (
	"fmt"
	"html"
	"strconv"
	"strings"
)

// A bar is the value of one contestant.
type bar struct {
	who   string
	value float64
	kind  string // its class in the style sheet
}

// A group is a set of bars with a title.
type group struct {
	name string
	bars []bar
}

// most returns the largest value in a group.
func (g group) most() (most float64) {
	for _, b := range g.bars {
		most = max(most, b.value)
	}
	return most
}

// Dimensions of a picture, in pixels. The name is before each bar and the value after it, so that nothing overlaps
// in any font.
const (
	barsWidth   = 880
	barsMargin  = 20
	barsHead    = 56
	barsName    = 130 // width of the name of a bar
	barsValue   = 70
	barsRow     = 18
	barsGap     = 40  // between groups, including the title of the next one
	commonRange = 12. // groups whose largest values differ by less than this factor share a scale
)

const barsStyle = `<style>
text { fill: #1f2328 } .title { font-size: 15px; font-weight: bold } .group { font-weight: bold } .note, .who { fill: #57606a } .own { fill: #1f2328; font-weight: bold }
.paper { fill: #ffffff } .ours { fill: #0969da } .peer1 { fill: #bf6a02 } .peer2 { fill: #1a7f37 } .peer3 { fill: #9a4bb5 } .limit1 { fill: #afb8c1 } .limit2 { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .note, .who { fill: #9198a1 } .own { fill: #e6edf3 }
.paper { fill: #0d1117 } .ours { fill: #58a6ff } .peer1 { fill: #e09b3d } .peer2 { fill: #3fb950 } .peer3 { fill: #d2a8ff } .limit1 { fill: #484f58 } .limit2 { fill: #8b949e }
}
</style>
`

// inEnglish and inChinese are the texts in a picture: that less is better, and that there is more than one scale.
var (
	inEnglish = [2]string{"less is better", "; each group has a scale of its own"}
	inChinese = [2]string{"越少越好", "；各组比例尺不同"}
)

// picture draws groups of bars as SVG, in two columns if there are more than two. Bars begin at zero. It is
// readable in light and dark themes.
func picture(title string, groups []group, words [2]string) string {
	columns := min(2, 1+len(groups)/3)
	wide := (barsWidth - 2*barsMargin - (columns-1)*barsMargin) / columns
	least, most := groups[0].most(), 0.0
	for _, g := range groups {
		least, most = min(least, g.most()), max(most, g.most())
	}
	common := most < commonRange*least
	note := words[0]
	if !common {
		note += words[1]
	}

	var b strings.Builder
	y, height := barsHead, 0
	for i := 0; i < len(groups); i += columns {
		rows := 0
		for column, g := range groups[i:min(i+columns, len(groups))] {
			g.draw(&b, barsMargin+column*(wide+barsMargin), y, wide, map[bool]float64{true: most, false: g.most()}[common])
			rows = max(rows, len(g.bars))
		}
		y += rows*barsRow + barsGap
		height = y
	}
	height += barsMargin - barsGap
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="12">
<title>%[3]s, %[4]s</title>
%[5]s<rect class="paper" width="%[1]d" height="%[2]d"/>
<text class="title" x="%[6]d" y="24">%[3]s</text><text class="note" x="%[7]d" y="24" text-anchor="end">%[4]s</text>
`, barsWidth, height, html.EscapeString(title), note, barsStyle, barsMargin, barsWidth-barsMargin) + b.String() + "</svg>\n"
}

// draw draws a group whose title has its baseline at y. A bar with value most takes the full width.
func (g group) draw(to *strings.Builder, x, y, wide int, most float64) {
	fmt.Fprintf(to, `<text class="group" x="%d" y="%d">%s</text>`+"\n", x, y, html.EscapeString(g.name))
	room := float64(wide - barsName - barsValue)
	for i, b := range g.bars {
		top, length := y+6+i*barsRow, max(1, room*b.value/most)
		class := "who"
		if b.kind == "ours" {
			class = "own"
		}
		fmt.Fprintf(to, `<text class="%s" x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/><text x="%.1f" y="%d">%s</text>`+"\n",
			class, x+barsName-6, top+13, html.EscapeString(b.who), b.kind, x+barsName, top+2, length, barsRow-4, float64(x+barsName)+length+5, top+13, shown(b.value))
	}
}

// shown formats a value with three significant digits, or with all digits before the decimal point
// if those are more.
func shown(v float64) string {
	if v >= 100 {
		return thousands(v)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// thousands formats a number without decimals, with commas between thousands.
func thousands(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
