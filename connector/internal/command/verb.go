package command

import (
	"context"

	"github.com/mqtt311/mqtt311/client"
)

// Run runs the command, with further verbs, with the input and output of p, and returns its exit code. It is for
// tests of verbs.
func Run(ctx context.Context, p *Program, args []string, verbs ...Verb) int {
	p.verbs = verbs
	return p.run(ctx, args)
}

// Printer returns a function that prints messages like sub: in the format of -F, with the topic before them, or
// unchanged.
func (p *Program) Printer(format string, verbose bool) (func(*client.Delivery) error, error) {
	out, err := (&subOptions{format: format, verbose: verbose}).printer(p)
	if err != nil {
		return nil, err
	}
	out.always = true
	return out.print, nil
}
