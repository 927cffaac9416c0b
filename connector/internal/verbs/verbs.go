// Package verbs has the commands for examining other programs: explain decodes packets, doctor tests a server,
// request sends a request and waits for responses, and deadletter works on dead letters.
package verbs

import (
	"strings"

	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
)

// All are the verbs of this package.
var All = []command.Verb{Explain, Doctor, Request, DeadLetter}

// columns aligns rows of texts; the last column is not padded.
func columns(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], terminal.Columns(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell
			if i < len(row)-1 {
				line += strings.Repeat(" ", widths[i]-terminal.Columns(cell)+2)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
