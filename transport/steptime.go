package transport

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// A StepTime describes a finished step of opening a Network Connection, for Options.OnStep. If
// Options.NetDial is set, everything that it does is part of StepTCP.
type StepTime struct {
	Step Step
	Addr string
	Took time.Duration
	Err  error // a *DialError, or nil if the step succeeded
}

// ended reports a step to OnStep.
func (o Options) ended(step Step, addr string, start time.Time, err *DialError) {
	if o.OnStep == nil {
		return
	}
	t := StepTime{Step: step, Addr: addr, Took: time.Since(start)}
	if err != nil {
		t.Err = err
	}
	o.OnStep(t)
}

// A stopwatch divides the time of a net.Dialer into resolving and connecting.
type stopwatch struct {
	start time.Time

	mu       sync.Mutex // addresses are tried in parallel
	resolved time.Time  // when the first address was tried; zero: not yet
}

// control returns the Control function of a net.Dialer, which is called before it tries an address;
// nil if onStep is nil.
func (w *stopwatch) control(onStep func(StepTime)) func(context.Context, string, string, syscall.RawConn) error {
	if onStep == nil {
		return nil
	}
	return func(context.Context, string, string, syscall.RawConn) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.resolved.IsZero() {
			w.resolved = time.Now()
		}
		return nil
	}
}

// tell reports resolving, if there was a name to resolve, and connecting.
func (w *stopwatch) tell(o Options, t target, err *DialError) {
	if o.OnStep == nil {
		return
	}
	w.mu.Lock()
	resolved := w.resolved
	w.mu.Unlock()
	if err != nil && err.Step != StepTCP {
		o.ended(err.Step, t.addr, w.start, err)
		return
	}
	if !resolved.IsZero() && named(t.addr) {
		o.OnStep(StepTime{Step: StepResolve, Addr: t.addr, Took: resolved.Sub(w.start)})
		w.start = resolved
	}
	o.ended(StepTCP, t.addr, w.start, err)
}

// named reports whether the host of addr is a name and not an IP address.
func named(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err != nil
}
