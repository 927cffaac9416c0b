package command

import (
	"context"

	"github.com/mqtt311/mqtt311/client"
)

// Run runs the command, with further verbs, in the world of p and returns its exit code: the tests of a verb need it.
func Run(ctx context.Context, p *Program, args []string, verbs ...Verb) int {
	p.verbs = verbs
	return p.run(ctx, args)
}

// Printer returns a function that prints messages as sub does: by a format of -F, with the topic before them, or as they are.
func (p *Program) Printer(format string, verbose bool) (func(*client.Delivery) error, error) {
	out, err := (&subOptions{format: format, verbose: verbose}).printer(p)
	if err != nil {
		return nil, err
	}
	out.always = true
	return out.print, nil
}
