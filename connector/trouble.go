package connector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/session"
)

const defaultStall = 5 * time.Minute

// trouble is what is wrong with the connector itself, as opposed to a message.
type trouble struct {
	mu      sync.Mutex
	problem map[*connection]*Error
	refused map[string]*Error // by Topic Filter
	started bool              // every filter was granted, at whatever QoS

	triggers sync.WaitGroup
	over     bool // nothing is reported any more
}

// observe is told what happens to the connection.
func (c *Connector) observe(n *connection, e client.Event) {
	t := &c.trouble
	t.mu.Lock()
	started := t.started
	t.mu.Unlock()
	switch e.Kind {
	case client.ConnectionLost, client.Disconnected, client.ConnectFailed:
		n.lost.Add(1)
	}
	switch {
	case e.Kind == client.ConnectionUp:
		if c.ledger != nil && n == c.conn && !e.SessionPresent {
			s := c.ledger.client.Stats()
			c.ledger.sessionBegun(uint16(s.Connects - s.Resumed))
		}
		t.mu.Lock()
		delete(t.problem, n)
		if n == c.conn {
			clear(t.refused) // the server is asked again
		}
		t.mu.Unlock()
	case !started && !c.cfg.Advanced.ConnectRetry: // Start tells
	case e.Kind == client.ConnectFailed, e.Kind == client.ConnectionLost:
		c.connectionFailed(n, connectionError(e))
	case e.Session != nil && e.Session.Kind == session.EventTakeover:
		c.connectionFailed(n, flow.NewError(TypeClientIDInUse, errors.New("the server closed three connections soon after it had accepted them; now it is tried more slowly")))
	case e.Session != nil && e.Session.Kind == session.EventSubscriptionRefused:
		c.report(AsError(e.Err))
	}
	if c.opts.OnEvent != nil {
		c.opts.OnEvent(e)
	}
}

// connectionFailed keeps an error for Health until the connection is up again, and reports it.
func (c *Connector) connectionFailed(n *connection, e *Error) {
	t := &c.trouble
	t.mu.Lock()
	if t.problem == nil {
		t.problem = make(map[*connection]*Error)
	}
	t.problem[n] = e
	t.mu.Unlock()
	c.report(e)
}

func connectionError(e client.Event) *Error {
	err := e.Err
	if err == nil {
		err = client.ErrConnectionLost
	}
	if t := errorType(err); t != TypeRuntime {
		return flow.NewError(t, err)
	}
	if e.Kind == client.ConnectionLost {
		return flow.NewError(TypeConnectionLost, err)
	}
	return flow.NewError(TypeConnectivity, err)
}

// report tells everybody who wants to know of a failure that is not one of a message: Health,
// the log, OnError, and flows with trigger_on_error.
func (c *Connector) report(e *Error) {
	t := &c.trouble
	var filter *client.FilterError
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	if errors.As(e.Err, &filter) {
		if t.refused == nil {
			t.refused = make(map[string]*Error)
		}
		t.refused[filter.Filter] = e
	}
	t.mu.Unlock()
	c.log.Error("the connector has trouble", "type", string(e.Type), "error", e.Error(), "hint", e.Explain("en"))
	if c.opts.OnError != nil {
		c.opts.OnError(e)
	}
	for _, k := range c.sorted {
		if k.params.TriggerOnError && k.flow != nil {
			k.trigger(e)
		}
	}
}

// trigger runs the flow with an error and without a payload, one such run at a time: while
// one lasts, further errors are left to Health and the log.
func (k *consumer) trigger(e *Error) {
	t := &k.conn.trouble
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || !k.triggering.CompareAndSwap(false, true) {
		return
	}
	t.triggers.Add(1)
	go func() {
		defer t.triggers.Done()
		defer k.triggering.Store(false)
		ctx, cancel := k.conn.flowContext, context.CancelFunc(func() {})
		if d := deref(k.params.FlowTimeout, 0); d > 0 {
			ctx, cancel = context.WithTimeout(ctx, d)
		}
		defer cancel()
		err := flow.ErrGoexit
		defer func() { // also after a Goexit
			if err != nil {
				k.log.Warn("flow failed on an error of the connector", "error", err.Error())
			}
		}()
		_, err = flow.Run(ctx, k.flow, &Message{Attribute: map[string]any{}, Variable: map[string]any{}, Error: k.conn.shown(e)})
	}()
}

// waitTriggered waits for the flows that errors have triggered; there are no further ones.
func (c *Connector) waitTriggered() {
	c.trouble.mu.Lock()
	c.trouble.over = true
	c.trouble.mu.Unlock()
	c.trouble.triggers.Wait()
}

// shown returns an error in the form that messages carry.
func (c *Connector) shown(e *Error) *Error {
	if c.cfg.Extension.ErrorFormat == ErrorsExtended {
		return e.Extended()
	}
	return e
}

// watch looks for messages that are unacknowledged for too long. It looks when one may be,
// and after that when one was settled.
func (c *Connector) watch(limit time.Duration) {
	for {
		wait, oldest := limit, c.unacked.first()
		if oldest != nil {
			wait -= time.Since(oldest.at)
		}
		if was := c.stalled.Swap(wait <= 0); wait <= 0 && !was {
			c.report(flow.NewError(TypeStalled, fmt.Errorf("a message of topic %q is unacknowledged for %s, and holds back the acknowledgements of those behind it",
				oldest.d.Topic, limit-wait)))
			continue // it may have been settled before unstall knew that anybody waits for that
		}
		t := time.NewTimer(wait)
		due := t.C
		if wait <= 0 {
			due = nil // until something is settled
		}
		select {
		case <-due:
		case <-c.unstalled:
		case <-c.stopping:
			t.Stop()
			return
		}
		t.Stop()
	}
}

// unstall makes watch look again after a message was settled.
func (c *Connector) unstall() {
	if c.stalled.Load() {
		select {
		case c.unstalled <- struct{}{}:
		default: // it will
		}
	}
}

func (c *Connector) stallLimit() time.Duration {
	return deref(c.cfg.Extension.StallTimeout, defaultStall)
}

// fill adds to Health what is wrong.
func (t *trouble) fill(h *Health) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.problem {
		h.Problem = e
	}
	h.Subscribed = t.started && len(t.refused) == 0
	h.RefusedFilters = append(h.RefusedFilters, sortedKeys(t.refused)...)
}

// Live is nil as long as the connector may do its work; otherwise it says why only a new one
// can. A connector without a connection is alive.
func (h *Health) Live() error { return h.failed }

// Ready is nil while the connector does its work: it is connected, every topic is granted, and
// no message is unacknowledged for longer than stall_timeout. Otherwise it says what is
// missing.
func (h *Health) Ready() error {
	switch {
	case h.failed != nil:
		return h.failed
	case !h.Connected && h.Problem != nil:
		return fmt.Errorf("connector: not connected: %w", h.Problem)
	case !h.Connected:
		return fmt.Errorf("connector: not connected (%s)", h.State)
	case len(h.RefusedFilters) > 0:
		return fmt.Errorf("connector: the server refuses the topics %q", h.RefusedFilters)
	case !h.Subscribed:
		return errors.New("connector: not subscribed yet")
	case h.Stalled:
		return fmt.Errorf("connector: a message is unacknowledged for %s", h.OldestUnacked.Round(time.Second))
	}
	return nil
}
