package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// State is the state of a Client.
type State byte

// The states of a Client.
const (
	Idle       State = iota // Connect has not been called
	Connecting              // an attempt is under way
	Connected               // the Server accepted the connection
	Waiting                 // pausing before the next attempt
	Parked                  // disconnected because the application does not keep up
	Closed                  // closed or failed; final
)

var stateNames = [...]string{"idle", "connecting", "connected", "waiting", "parked", "closed"}

// String returns the name of the state, such as "connected".
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", byte(s))
}

// A Client is safe for concurrent use. A Client that was closed or has failed cannot be reused;
// make a new one with New.
type Client struct {
	cfg    Config
	events *notifier[Event]
	traces *notifier[Packet]
	pools  *pools
	done   chan struct{} // closed when the client has ended

	attempts attempts // see there for its locking

	// mu guards the fields below. It must not be held while waiting for the network, the Store or
	// user code. Methods whose names end in Locked require it.
	mu       sync.Mutex
	state    State
	leaving  bool  // Close or Abort was called, or the client has failed: requests are refused
	err      error // why the client is closed
	sess     *session.Session
	link     *link // the Network Connection, or nil
	saver    *saver
	notes    map[string][]byte // the notes in the Store
	delivery delivery
	waiters  waiters
	offline0 offlineQueue
	alarm    alarm
	stats    Counters
}

// New returns a Client that is not connected yet. It loads the session from Config.Store, if set,
// and does no other I/O. If cfg is invalid, the error joins all problems found.
func New(cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	cfg.own()
	c := &Client{cfg: cfg, pools: new(pools), saver: &noSaver, done: make(chan struct{})}
	if cfg.Store != nil {
		c.saver = &saver{store: cfg.Store}
	}
	if err := c.restore(cfg.session()); err != nil {
		return nil, err
	}
	c.delivery.inbox.init(cfg.InboxMessages, cfg.InboxBytes)
	c.events, c.traces = notify(cfg.OnEvent), notify(cfg.Trace)
	return c, nil
}

// Connect connects to the Server and returns once it has accepted the connection (CONNACK). From
// then on the client reconnects by itself and no longer uses ctx. If the first attempt fails, the
// client is closed and Connect returns the error; with Config.ConnectRetry, it keeps trying until
// ctx is done. If ctx is already done, Connect does nothing and may be called again. Any later call
// returns ErrStarted.
func (c *Client) Connect(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("client: connect: %w", context.Cause(ctx))
	}
	c.mu.Lock()
	if c.state != Idle {
		defer c.mu.Unlock()
		if c.err != nil {
			return &callError{call: "connect", cause: c.err}
		}
		return &callError{call: "connect", cause: ErrStarted}
	}
	up := make(chan struct{})
	c.state, c.attempts.up = Connecting, up
	c.attempts.begun.Store(true)
	c.mu.Unlock()
	go c.run()
	select {
	case <-up:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
	}
	if c.cameUp(ctx) {
		return nil
	}
	<-c.done
	return c.Err()
}

// cameUp reports whether the Server accepted a connection before ctx was done. If not, it prevents
// further attempts.
func (c *Client) cameUp(ctx context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attempts.everUp() {
		return true
	}
	cause := context.Cause(ctx)
	if last := c.attempts.lastErr; last != nil {
		cause = fmt.Errorf("%w (last attempt: %w)", cause, last)
	}
	c.stopLocked(fmt.Errorf("client: connect: %w", cause))
	return false
}

// Done returns a channel that is closed when the client has been closed or has failed permanently;
// Err then returns the reason.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil while the client is running, ErrClosed after Close or Abort, and after a
// permanent failure an error that wraps ErrClosed and the cause.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// State returns the current state, which may have changed by the time it returns.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// driveLocked performs the outputs of the session after an input. The caller must then call
// admitLocked if the input may have made room, kickLocked if there may be something to write, and
// armLocked unless the write does that.
func (c *Client) driveLocked() {
	c.performLocked()
	c.saveLocked()
	if ch := c.waiters.changed; ch != nil {
		close(ch)
		c.waiters.changed = nil
	}
}

// performLocked performs the outputs of the session.
func (c *Client) performLocked() {
	for o, ok := c.sess.Next(); ok; o, ok = c.sess.Next() {
		switch o.Op {
		case session.Save, session.Forget:
			c.saver.record(o)
		case session.Send:
			if o.After > 0 {
				c.saver.want(o.After)
			}
			c.link.encode(o, c.saver.durable, c.cfg.Trace != nil)
		case session.Deliver:
			c.deliverLocked(o.Packet.(*packets.Publish), o.Token)
		case session.Done:
			if o.After > c.saver.durable {
				c.saver.want(o.After)
				c.saver.waits = append(c.saver.waits, *o)
				break
			}
			c.finishLocked(o)
		case session.Notify:
			c.notedLocked(o.Event)
		case session.Close:
			c.link.leave(o.Err)
		}
	}
}

// kickLocked starts writing if there is something to write, and reports whether a write is running.
func (c *Client) kickLocked() bool {
	l := c.link
	switch {
	case l == nil || l.err != nil:
		return false
	case l.writing:
		return true
	case len(l.out) == 0 && (!l.bye || l.closed):
		return false
	}
	l.writing, l.now = true, time.Now()
	l.helpers.Add(1)
	go c.write(l)
	return true
}

// sendLocked is kickLocked after a request. If nothing is written, it also calls armLocked;
// otherwise that is done after the write.
func (c *Client) sendLocked() {
	if !c.kickLocked() {
		c.armLocked()
	}
}

// An alarm calls tick at the deadline of the session or of CONNACK. Client.mu guards it.
type alarm struct {
	timer *time.Timer
	at    time.Time // zero: it is not set
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// armLocked sets the alarm to the deadline of the session, or to that of CONNACK until it has one.
// An alarm that is too early is left as it is: that costs one extra tick, while resetting it would
// cost time for every packet.
func (c *Client) armLocked() {
	a, at := &c.alarm, c.sess.Deadline()
	if at.IsZero() {
		at = c.link.deadline()
	}
	if at.IsZero() || !a.at.IsZero() && !at.Before(a.at) {
		return
	}
	a.at = at
	wait := time.Until(at)
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, c.tick)
		return
	}
	a.timer.Reset(wait)
}

func (c *Client) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alarm.at = time.Time{}
	if c.state == Closed {
		return
	}
	now := time.Now()
	if l := c.link; l != nil {
		if at, ok := l.heard(); ok {
			c.sess.Heard(at)
		}
		if at := l.deadline(); !at.IsZero() && !now.Before(at) {
			l.closeFor(ErrConnectTimeout)
		}
	}
	c.sess.Tick(now)
	c.driveLocked()
	c.kickLocked()
	c.armLocked()
}

// poke signals a channel of capacity 1, unless it is nil or already signaled.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
