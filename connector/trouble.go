package connector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/session"
)

const defaultStall = 5 * time.Minute

// trouble holds errors of the connector itself, as opposed to those of messages.
type trouble struct {
	mu      sync.Mutex
	problem map[*connection]*flow.Error
	refused map[string]*flow.Error // by Topic Filter
	denied  map[string]bool        // filters refused to Reconfigure, which are not requested again automatically
	started bool                   // every filter was granted, at whatever QoS

	asking       *time.Timer   // calls askAgain; nil until filters were requested
	patience     time.Duration // time until the next call
	ups          uint          // number of the connection that it was set for
	unacceptable *flow.Error   // for the last message that was not accepted, or nil

	unanswered *flow.Error // set if the server did not answer in time
	asked      bool        // askAgain has run
	told       bool        // Start has already reported what askAgain will find

	triggers sync.WaitGroup
	over     bool // nothing more is reported
}

// deny records that a filter was refused to Reconfigure.
func (t *trouble) deny(e *client.FilterError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.denied == nil {
		t.denied = make(map[string]bool)
	}
	t.denied[e.Filter] = true
}

// forgetRefusals removes all refusals except those of unchanged filters; the others are requested
// again, or no longer wanted.
func (t *trouble) forgetRefusals(stays map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.denied) // none of them stays
	maps.DeleteFunc(t.refused, func(filter string, _ *flow.Error) bool { return !stays[filter] })
}

// observe handles events of the main connection and the producers' own.
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
		if l := c.ledger.Load(); l != nil && n == c.conn && !e.SessionPresent {
			s := l.client.Stats()
			l.sessionBegun(uint16(s.Connects - s.Resumed))
		}
		if n == c.conn && !e.SessionPresent {
			c.forgetHeld()
		}
		t.mu.Lock()
		delete(t.problem, n)
		if n == c.conn {
			clear(t.refused) // they are requested again
			c.awaitGrants()
		}
		t.mu.Unlock()
	case e.Kind == client.MessageSkipped:
		c.skippedMessage(n, e.Err)
	case e.Kind == client.ConnectionLost && n.stopsOver(e.Err) != nil:
		stop := n.stopsOver(e.Err)
		c.connectionFailed(n, stop)
		c.halt(stop)
	case !started && !c.cfg.Advanced.ConnectRetry: // Start returns it
	case e.Kind == client.ConnectFailed, e.Kind == client.ConnectionLost:
		c.connectionFailed(n, connectionError(e))
	case e.Session != nil && e.Session.Kind == session.EventTakeover:
		c.connectionFailed(n, flow.NewError(flow.TypeClientIDInUse, errors.New("the server closed three connections soon after it had accepted them; now it is tried more slowly")))
	case e.Session != nil && e.Session.Kind == session.EventSubscriptionRefused:
		c.report(flow.AsError(e.Err))
	case e.Session != nil && e.Session.Kind == session.EventSubscriptionDowngraded:
		c.report(flow.NewError(flow.TypeDowngraded, fmt.Errorf("the server granted %s for %q, which is less than before", qosNames[e.Session.QoS], e.Session.Filter)))
	}
	if c.opts.OnEvent != nil {
		c.opts.OnEvent(e)
	}
}

// connectionFailed keeps an error for Health until the connection is up again, and reports it.
func (c *Connector) connectionFailed(n *connection, e *flow.Error) {
	t := &c.trouble
	t.mu.Lock()
	if t.problem == nil {
		t.problem = make(map[*connection]*flow.Error)
	}
	t.problem[n] = e
	t.mu.Unlock()
	c.report(e)
}

func connectionError(e client.Event) *flow.Error {
	err := e.Err
	if err == nil {
		err = client.ErrConnectionLost
	}
	if own := new(flow.Error); errors.As(err, &own) { // for example of a dead letter, which ended the connection
		return own
	}
	if t := errorType(err); t != flow.TypeRuntime {
		return flow.NewError(t, err)
	}
	if e.Kind == client.ConnectionLost {
		return flow.NewError(flow.TypeConnectionLost, err)
	}
	return flow.NewError(flow.TypeConnectivity, err)
}

// isOver reports whether nothing more is reported.
func (c *Connector) isOver() bool {
	c.trouble.mu.Lock()
	defer c.trouble.mu.Unlock()
	return c.trouble.over
}

// report reports an error of the connector to Health, the log, OnError, and flows with
// trigger_on_error.
func (c *Connector) report(e *flow.Error) {
	t := &c.trouble
	var filter *client.FilterError
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	if errors.As(e.Err, &filter) {
		if t.refused == nil {
			t.refused = make(map[string]*flow.Error)
		}
		t.refused[filter.Filter] = e
	}
	t.mu.Unlock()
	c.tell(e)
	for _, r := range c.now().routes {
		if s := r.settings; s.params.TriggerOnError && s.flow != nil {
			r.trigger(e, s)
		}
	}
}

// tell reports an error to the log and OnError.
func (c *Connector) tell(e *flow.Error, attrs ...any) {
	c.log.Error("the connector has trouble", append([]any{"type", string(e.Type), "error", e.Error(), "hint", e.Explain("en")}, attrs...)...)
	if c.opts.OnError != nil {
		c.opts.OnError(e)
	}
}

// An unanswered SUBSCRIBE is sent again after ack_timeout, and then after pauses that double up to
// mostAskDelay, unless ack_timeout is longer.
const (
	leastAskDelay = 100 * time.Millisecond
	mostAskDelay  = 5 * time.Minute
)

// awaitGrants schedules askAgain after ack_timeout for the filters that a new connection needs. The
// caller holds mu.
func (c *Connector) awaitGrants() {
	t := &c.trouble
	t.unanswered, t.patience = nil, max(c.ackTimeout(), leastAskDelay)
	t.ups++
	switch {
	case t.over:
	case t.asking == nil:
		t.asking = time.AfterFunc(t.patience, c.askAgain)
	default:
		t.asking.Reset(t.patience)
	}
}

// askAgain reports filters that are not granted and sends their SUBSCRIBE again, after increasing
// pauses, until they are granted or the connection ends. Until Start has returned, it leaves
// reporting to Start. An unanswered UNSUBSCRIBE is sent again too.
func (c *Connector) askAgain() {
	t, conn := &c.trouble, c.conn.client()
	t.mu.Lock()
	ups := t.ups
	t.mu.Unlock()
	missing := conn.Ungranted()
	t.mu.Lock()
	if t.over || t.ups != ups || conn.State() != client.Connected {
		t.mu.Unlock()
		return
	}
	waited, started, told := t.patience, t.started, t.told
	t.unanswered, t.asked, t.told = nil, true, false
	if started && len(missing) > 0 {
		t.unanswered = unanswered(missing, waited)
	}
	e := t.unanswered
	t.mu.Unlock()
	if e != nil && !told {
		c.report(e)
	}
	if started && conn.AskAgain() == 0 && e == nil {
		return // all are answered
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.ups != ups { // it was for an earlier connection
		return
	}
	if started {
		t.patience = max(waited, min(2*waited, mostAskDelay))
	}
	t.asking.Reset(t.patience)
}

func unanswered(filters []string, waited time.Duration) *flow.Error {
	return flow.NewError(flow.TypeSubscribeTimeout, fmt.Errorf("the server did not answer SUBSCRIBE for %s within %s", listed(filters), waited))
}

// mostListed is how many topics an error names.
const mostListed = 5

// listed returns the names of some filters and the number of the others.
func listed(filters []string) string {
	if n := len(filters); n > mostListed {
		return fmt.Sprintf("%q and %d more", filters[:mostListed], n-mostListed)
	}
	return fmt.Sprintf("%q", filters)
}

func (c *Connector) ackTimeout() time.Duration {
	return deref(c.now().cfg.Extension.AckTimeout, defaultAckTimeout)
}

// trigger runs the flow with an error and without a payload. There is only one such run at a time;
// meanwhile, further errors are only in Health and the log.
func (k *consumer) trigger(e *flow.Error, s *settings) {
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
		if d := deref(s.params.FlowTimeout, 0); d > 0 {
			ctx, cancel = context.WithTimeout(ctx, d)
		}
		defer cancel()
		err := flow.ErrGoexit
		defer func() { // even after a Goexit
			if err != nil {
				k.log.Warn("flow failed on an error of the connector", "error", err.Error())
			}
		}()
		_, err = flow.Run(ctx, s.flow, &flow.Message{Attribute: map[string]any{}, Variable: map[string]any{}, Error: k.conn.shown(e)})
	}()
}

// waitTriggered waits for flows triggered by errors. No more may be triggered.
func (c *Connector) waitTriggered() {
	c.trouble.mu.Lock()
	c.trouble.over = true
	if c.trouble.asking != nil {
		c.trouble.asking.Stop()
	}
	c.trouble.mu.Unlock()
	c.trouble.triggers.Wait()
}

// shown returns an error in the format for messages.
func (c *Connector) shown(e *flow.Error) *flow.Error {
	if c.now().cfg.Extension.ErrorFormat == ErrorsExtended {
		return e.Extended()
	}
	return e
}

// watch looks for messages that have been unacknowledged for too long. It checks when one may be,
// and after that when one was settled.
func (c *Connector) watch(limit time.Duration) {
	for {
		wait, oldest := limit, c.unacked.first()
		if oldest != nil {
			wait -= time.Since(oldest.at)
		}
		if was := c.stalled.Swap(wait <= 0); wait <= 0 && !was {
			c.report(flow.NewError(flow.TypeStalled, fmt.Errorf("a message of topic %q is unacknowledged for %s, and holds back the acknowledgements of those behind it",
				oldest.d.Topic, limit-wait)))
			continue // it may have been settled just before stalled was set
		}
		t := time.NewTimer(wait)
		due := t.C
		if wait <= 0 {
			due = nil // wait until a message is settled
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

// unstall makes watch check again after a message was settled.
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

// fillTrouble sets the errors in Health. If two connections are down, the problem is that of the
// consumers.
func (c *Connector) fillTrouble(h *Health) {
	t := &c.trouble
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.Problem = t.problem[c.conn]; h.Problem == nil {
		h.Problem = t.problem[c.out]
	}
	h.RefusedFilters = append(h.RefusedFilters, sortedKeys(t.denied)...)
	for filter := range t.refused {
		if !t.denied[filter] {
			h.RefusedFilters = append(h.RefusedFilters, filter)
		}
	}
	slices.Sort(h.RefusedFilters)
	h.Subscribed = t.started && len(h.RefusedFilters) == 0 && len(h.UngrantedFilters) == 0
	if len(h.UngrantedFilters) > 0 {
		h.unanswered = t.unanswered
	}
	h.Unacceptable = t.unacceptable
}

// Live returns nil unless the connector has failed permanently, and otherwise the reason. A
// connector that is reconnecting is live.
func (h *Health) Live() error { return h.failed }

// Ready returns nil if the connector is working, and otherwise an error that says what is missing.
// It is working if it is connected, every topic is granted on this connection or in the resumed
// session, its session store answers, no message has been unacknowledged for longer than
// stall_timeout, and there is no UnmatchedTopic. Config.Connections do not count: see
// [ConnectionHealth.Ready].
func (h *Health) Ready() error {
	switch {
	case h.failed != nil:
		return h.failed
	case !h.Connected && h.Problem != nil:
		return because("not connected", h.Problem)
	case !h.Connected:
		return fmt.Errorf("connector: not connected (%s)", h.State)
	case len(h.RefusedFilters) > 0:
		return fmt.Errorf("connector: the server refuses the topics %s", listed(h.RefusedFilters))
	case h.unanswered != nil:
		return because("not subscribed", h.unanswered)
	case len(h.UngrantedFilters) > 0:
		return fmt.Errorf("connector: the server has not granted the topics %s yet", listed(h.UngrantedFilters))
	case !h.Subscribed:
		return errors.New("connector: not subscribed yet")
	case h.StoreStands():
		return fmt.Errorf("connector: the session store has not answered for %s", h.StoreWaits.Round(time.Second))
	case h.Stalled:
		return fmt.Errorf("connector: a message is unacknowledged for %s", h.OldestUnacked.Round(time.Second))
	case h.UnmatchedTopic != "":
		return flow.NewError(flow.TypeUnmatched, fmt.Errorf("a message on %q matched no consumer within the last minute", h.UnmatchedTopic))
	}
	return nil
}
