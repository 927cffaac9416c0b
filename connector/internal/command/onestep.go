package command

import (
	"context"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/spf13/cobra"
)

// A Step is one of the steps of run (--exec, --pipe, --http or --append) for verbs that get messages from
// elsewhere.
type Step struct {
	options stepOptions
	step    step
}

// Flags adds the options of the step to a command.
func (s *Step) Flags(p *Program, cmd *cobra.Command) { s.options.stepFlags(p, cmd) }

// Name returns the name of the given option, or "".
func (s *Step) Name() string {
	for name, value := range map[string]string{"exec": s.options.exec, "pipe": s.options.pipe, "http": s.options.http, "append": s.options.append} {
		if value != "" {
			return name
		}
	}
	return ""
}

// Check refuses options of the step that make no sense. Open does so, too.
func (s *Step) Check() error { return s.options.check() }

// Open starts what the step needs. Close ends it.
func (s *Step) Open(p *Program) (err error) {
	s.step, err = s.options.step(p, p.Stderr, p.Log())
	if e, ok := s.step.(*execStep); ok && p.JSON { // with --json, standard output is for JSON lines only
		e.out = p.sink(false)
	}
	return err
}

// Run runs the step for a message, as the flow of a consumer.
func (s *Step) Run(ctx context.Context, consumer string, m *flow.Message) error {
	_, err := flow.Run(ctx, s.options.alone(s.step, consumer), m)
	return err
}

// Close stops the step and its processes.
func (s *Step) Close() error { return s.step.close() }
