package clientsim

import (
	"context"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/client"
)

// A seed determines programs, disk and network, but not the order of goroutines, so a seed that failed may not fail
// each time. A failure is therefore simplified by its frequency: a part of the seed is left out if the failure
// remains about as frequent.

// A simplification leaves out a part of what a seed has drawn.
type simplification struct {
	name  string
	apply func(*profile)
}

// simplifications are tried in this order: first those that make the run shorter.
var simplifications = []simplification{
	{"one-life", func(p *profile) { p.lives = min(p.lives, 0) }},
	{"two-lives", func(p *profile) { p.lives = min(p.lives, 1) }},
	{"three-lives", func(p *profile) { p.lives = min(p.lives, 2) }},
	{"no-incoming", func(p *profile) { p.incoming = 0 }},
	{"few-incoming", func(p *profile) { p.incoming = min(p.incoming, 3) }},
	{"no-requests", func(p *profile) { p.requests = 0 }},
	{"one-publisher", func(p *profile) { p.publishers = 1 }},
	{"one-publish", func(p *profile) { p.publishes = 1 }},
	{"few-publishes", func(p *profile) { p.publishes = min(p.publishes, 4) }},
	{"no-hurry", func(p *profile) { p.hurry = 0 }},
	{"no-cut", func(p *profile) { p.cut = 0 }},
	{"no-hole", func(p *profile) { p.hole = 0 }},
	{"no-refusal", func(p *profile) { p.refuse = 0 }},
	{"no-mute", func(p *profile) { p.mute = 0 }},
	{"no-closes", func(p *profile) { p.closes, p.reset = 0, false }},
	{"no-death", func(p *profile) { p.die = 0 }},
	{"no-power", func(p *profile) { p.power = 0 }},
	{"no-abort", func(p *profile) { p.abort = 0 }},
	{"no-eio", func(p *profile) { p.eio = 0 }},
	{"no-stall", func(p *profile) { p.stall = 0 }},
	{"fast-store", func(p *profile) { p.store = 0 }},
	{"fast-network", func(p *profile) { p.delay = 0 }},
	{"no-noise", func(p *profile) { p.noise = false }},
	{"in-order", func(p *profile) { p.reorder = false }},
	{"no-handler", func(p *profile) { p.handler = false }},
	{"waits", func(p *profile) { p.config.WhenFull = client.QueueWait }},
	{"keeps-payloads", func(p *profile) { p.config.LendPayloads = false }},
}

// simplify applies simplifications by name. It reports whether all of them exist.
func (p *profile) simplify(names []string) bool {
	for _, name := range names {
		i := slices.IndexFunc(simplifications, func(s simplification) bool { return s.name == name })
		if i < 0 {
			return false
		}
		simplifications[i].apply(p)
	}
	return true
}

// An Explanation is what further runs have shown about a failure.
type Explanation struct {
	Runs, Failed int      // of the unchanged seed
	Simpler      []string // the parts left out
	SimplerRuns  int      // with these parts left out
	SimplerFails int
	Shortest     *Failure // of those; nil: the seed did not fail again
}

// Explain runs the seed of b again, b.Repeat times, and simplifies it until patience is over.
func Explain(ctx context.Context, b Batch, patience time.Duration) (e Explanation, err error) {
	end := time.Now().Add(patience)
	runs, failed, shortest, err := again(ctx, b, b.Simpler, b.Repeat)
	e = Explanation{Runs: runs, Failed: failed, Simpler: b.Simpler, SimplerRuns: runs, SimplerFails: failed, Shortest: shortest}
	if err != nil || failed == 0 {
		return e, err
	}
	// Enough runs to expect five failures.
	tries := min(b.Repeat, 1+5*runs/failed)
	for _, s := range simplifications {
		if time.Now().After(end) {
			break
		}
		with := append(slices.Clone(e.Simpler), s.name)
		n, f, transcript, err := again(ctx, b, with, tries)
		if err != nil {
			return e, err
		}
		if 2*f*e.Runs >= e.Failed*n { // fails at least half as often as the seed itself
			e.Simpler, e.SimplerRuns, e.SimplerFails, e.Shortest = with, n, f, transcript
		}
	}
	return e, nil
}

// again runs a seed several times. A run that hangs or crashes is the last one.
func again(ctx context.Context, b Batch, simpler []string, times int) (runs, failed int, shortest *Failure, err error) {
	b.Simpler, b.Repeat = simpler, times
	r, err := b.Run(ctx)
	for _, f := range r.Failures {
		if shortest == nil || len(f.Transcript) < len(shortest.Transcript) {
			shortest = f
		}
	}
	return max(r.Runs, len(r.Failures)), len(r.Failures), shortest, err
}
