package benthos

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// A link presents a connector to Benthos as a connection. The connector reconnects by itself and
// keeps its messages; Benthos sees a lost connection that Connect restores, so that its metrics and
// readiness are correct. A connector is replaced only if it has failed permanently.
type link struct {
	settings
	log     *service.Logger
	prepare func(*connector.Connector) // before Start

	mu     sync.Mutex // guards the following fields and those of line
	line   *line      // or nil
	failed int        // failed attempts to start one, in a row
}

// A line is a connector that was started.
type line struct {
	*connector.Connector
	up      bool
	changed chan struct{}      // closed when up changes, and replaced
	lost    context.Context    // canceled when the connection is lost
	lose    context.CancelFunc // of lost
}

// connect returns when the connection is up. The connector logs what prevents it.
func (l *link) connect(ctx context.Context) error {
	n := l.current()
	if n == nil {
		return l.start(ctx)
	}
	for {
		if n.Err() != nil {
			l.end(n)
			return l.start(ctx)
		}
		l.mu.Lock()
		up, changed := n.up, n.changed
		if up {
			n.lost, n.lose = context.WithCancel(context.Background())
		}
		l.mu.Unlock()
		if up {
			return nil
		}
		select {
		case <-changed:
		case <-n.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// start creates a connector and starts it.
func (l *link) start(ctx context.Context) error {
	n := &line{changed: make(chan struct{})}
	n.lost, n.lose = context.WithCancel(context.Background())
	opts, log := l.opts, &logHandler{to: l.log, muted: new(atomic.Bool)}
	log.muted.Store(true) // Benthos logs why an attempt failed
	opts.Logger = slog.New(log)
	opts.OnEvent = func(e client.Event) { l.observe(n, e) }
	var err error
	if n.Connector, err = connector.New(l.cfg, opts); err != nil {
		return err
	}
	l.prepare(n.Connector)
	if err := n.Start(ctx); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed++
		return service.NewErrBackOff(fmt.Errorf("%w (%s)", err, flow.AsError(err).Explain("en")), pause(l.failed))
	}
	log.muted.Store(false)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line, l.failed = n, 0
	return nil
}

// pause returns how long to wait after n failed attempts in a row: up to a quarter of a second,
// half a second, and so on to 30 seconds.
func pause(n int) time.Duration {
	return rand.N(min(250*time.Millisecond<<min(n-1, 10), 30*time.Second))
}

// current returns the line, or nil.
func (l *link) current() *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}

// now returns the line and the context that is canceled when its connection is lost.
func (l *link) now() (*line, context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.line == nil {
		return nil, nil
	}
	return l.line, l.line.lost
}

// observe handles events of the connection of a line.
func (l *link) observe(n *line, e client.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case client.ConnectionUp, client.ClientParked: // a parked client reconnects when there is room
		n.up = true
	case client.ConnectionLost:
		n.up = false
		n.lose()
	default:
		return
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// patience is how long a connector may take to stop: to settle messages and send DISCONNECT.
const patience = 5 * time.Second

// end stops a line that is no longer used.
func (l *link) end(n *line) error {
	l.mu.Lock()
	if l.line != n {
		l.mu.Unlock()
		return nil
	}
	l.line = nil
	l.mu.Unlock()
	n.lose()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if n.Health().Unacked > 0 || n.Err() != nil {
		cancel() // messages in hand are no longer settled
	}
	if err := n.Stop(ctx); ctx.Err() == nil {
		return err
	}
	return nil // Benthos knows which messages are unfinished
}

// close ends the link.
func (l *link) close() error {
	if n := l.current(); n != nil {
		return l.end(n)
	}
	return nil
}
