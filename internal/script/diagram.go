package script

import (
	"fmt"
	"html"
	"strings"
)

// The columns of a diagram and the height of a row.
const (
	width       = 880
	application = 70
	client      = 345
	server      = 810
	row         = 26
	head        = 40
)

// Diagram draws a conversation as a sequence diagram in SVG: the application, its session and the
// Server, with time running down. It is readable in light and dark themes.
func Diagram(steps []Step) string {
	d := &diagram{y: head + row}
	for _, s := range steps {
		d.command(s.Command)
		for _, line := range s.Outcome {
			d.outcome(line)
		}
	}
	height := d.y
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">`+"\n", width, height, width, height)
	b.WriteString(`<style>
text { fill: #1f2328 } .lane { stroke: #8c959f; stroke-dasharray: 3 3 } .name { font-weight: bold }
.out { stroke: #0969da } .in { stroke: #1a7f37 } .call { stroke: #8250df } .mark { stroke: #57606a } .bad { fill: #cf222e }
path { fill: none } .paper { fill: #ffffff } .aside { fill: #57606a }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .lane { stroke: #6e7681 } .out { stroke: #58a6ff } .in { stroke: #3fb950 } .call { stroke: #bc8cff }
.mark { stroke: #8b949e } .bad { fill: #ff7b72 } .paper { fill: #0d1117 } .aside { fill: #9198a1 }
}
</style>
`)
	fmt.Fprintf(&b, `<rect class="paper" width="%d" height="%d"/>`+"\n", width, height)
	for _, lane := range []struct {
		x    int
		name string
	}{{application, "application"}, {client, "session"}, {server, "Server"}} {
		fmt.Fprintf(&b, `<text class="name" x="%d" y="22" text-anchor="middle">%s</text><path class="lane" d="M%d 30V%d"/>`+"\n", lane.x, lane.name, lane.x, height-8)
	}
	b.WriteString(d.b.String())
	b.WriteString("</svg>\n")
	return b.String()
}

type diagram struct {
	b strings.Builder
	y int // of the next row
}

// command draws a command.
func (d *diagram) command(c string) {
	verb, rest, _ := strings.Cut(c, " ")
	switch verb {
	case "session":
		d.across(strings.TrimSuffix("a new session: "+rest, ": "))
	case "restart":
		d.across(strings.TrimSpace("the process dies and starts again " + rest))
	case "open":
		d.across("a Network Connection opens")
	case "lost":
		d.across("the connection ends: " + c)
	case "wait", "sleep":
		d.across(rest + " pass")
	case "recv":
		d.arrow("in", server, client, rest)
	case "publish", "subscribe", "unsubscribe", "ack", "withdraw", "disconnect", "abandon", "again", "pause", "resume", "shed", "hold":
		d.arrow("call", application, client, c)
	case "stall":
		d.note("nothing is written from here on", "aside")
	case "written":
		d.note("everything is written", "aside")
	case "passed":
		d.note("packet "+rest+" is written, before others", "aside")
	default:
		d.note(c, "aside")
	}
}

// outcome draws the session's reaction to a command.
func (d *diagram) outcome(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch verb {
	case "send":
		_, packet, _ := strings.Cut(rest, " ")
		d.arrow("out", client, server, packet)
	case "deliver", "done", "event":
		d.arrow("call", client, application, strings.TrimPrefix(verb+" ", "done ")+rest)
	case "error":
		d.note("refused: "+rest, "bad")
	case "close":
		d.note(strings.TrimSuffix("it ends the connection: "+rest, ": "), "bad")
	case "after":
		d.across("after " + strings.TrimSuffix(rest, ":"))
	case "save", "forget":
		d.note("disk: "+verb+" "+rest, "aside")
	default:
		d.note(line, "aside")
	}
}

// arrow draws an arrow from one lane to another, below a label, which may be longer than the arrow.
func (d *diagram) arrow(class string, from, to int, label string) {
	at, anchor := (from+to)/2, "middle"
	if from == application || to == application {
		at, anchor = application+8, "start"
	}
	tip := to - 7
	if to < from {
		tip = to + 7
	}
	fmt.Fprintf(&d.b, `<path class="%s" d="M%d %dH%dM%d %dL%d %dL%d %d"/>`, class, from, d.y, to, tip, d.y-4, to, d.y, tip, d.y+4)
	d.text(at, d.y-5, anchor, "", label)
	d.y += row
}

// note draws a line of text beside the session's lane.
func (d *diagram) note(text, class string) {
	d.text(client+10, d.y-5, "start", class, text)
	d.y += row * 3 / 4
}

// across draws a line over all lanes.
func (d *diagram) across(label string) {
	half := len(label)*7/2 + 8
	middle := (client + server) / 2
	fmt.Fprintf(&d.b, `<path class="mark" d="M%d %dH%dM%d %dH%d"/>`, application, d.y, middle-half, middle+half, d.y, server)
	d.text(middle, d.y+4, "middle", "", label)
	d.y += row
}

func (d *diagram) text(x, y int, anchor, class, text string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	fmt.Fprintf(&d.b, `<text%s x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, html.EscapeString(text))
}
