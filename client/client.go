package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// State says where a Client is.
type State byte

// The states of a Client.
const (
	Idle       State = iota // Connect was not called
	Connecting              // an attempt is under way
	Connected               // the Server accepted the connection
	Waiting                 // for the next attempt
	Parked                  // disconnected because the application does not keep up
	Closed                  // for good
)

var stateNames = [...]string{"idle", "connecting", "connected", "waiting", "parked", "closed"}

// String returns the state in a word.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", byte(s))
}

// A Client is safe for concurrent use. It is used once: after Close, or when it has
// failed for good, make another.
type Client struct {
	cfg    Config
	events *notifier[Event]
	traces *notifier[Packet]
	router *router // nil: no handlers

	server  int // the one to try, the Fallbacks after the first; run's own, as the next two
	backoff backoff
	faults  int // connections in a row that ended over what cannot be read

	done chan struct{} // closed when the client is over

	receipts sync.Pool

	mu       sync.Mutex // guards what follows; never held while anything waits
	sess     *session.Session
	saver    *saver
	up       chan struct{}      // closed when the Server first accepted a connection; nil without a Connect
	cause    error              // why no further attempt is to be made
	dialling context.CancelFunc // ends Config.Dial; nil: it does not run
	wake     chan struct{}      // of one place, while run waits: something has changed
	life     context.Context    // of handlers; nil: none was called yet
	lifeOver context.CancelCauseFunc
	notes    map[string][]byte
	state    State
	err      error                      // why the client is closed
	leaving  bool                       // Close or Abort was called
	link     *link                      // the Network Connection; nil: none
	lastErr  error                      // of the latest attempt
	requests map[session.Token]*Receipt // of SUBSCRIBE and UNSUBSCRIBE
	space    chan struct{}              // closed when something that waits for space should look again
	timer    *time.Timer                // calls tick
	timerAt  time.Time
	inbox    inbox
	offline0 offlineQueue
	stats    Counters
	upSince  time.Time
	accepted uint64        // connections that the Server accepted
	asked    uint64        // own requests that need an answer
	parkedAt uint64        // asked, when the client decided to park
	session  uint16        // counts the sessions that began: see Delivery.Session
	takeover bool          // the session suspects another client with our ClientID
	handling bool          // a goroutine runs handlers
	idle     chan struct{} // closed when it ends; nil: none runs
}

// New returns a Client that is not connected yet. It reads the Store, if there is one, and does
// no other I/O. The error joins every mistake in cfg.
func New(cfg Config) (*Client, error) {
	if err := errors.Join(cfg.check(), cfg.session().Check()); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	cfg.own()
	c := &Client{cfg: cfg, saver: &noSaver, done: make(chan struct{})}
	if cfg.Store != nil {
		c.saver = &saver{store: cfg.Store}
	}
	if err := c.restore(cfg.session()); err != nil {
		return nil, err
	}
	c.inbox.init(cfg.InboxMessages, cfg.InboxBytes)
	c.events, c.traces = notify(cfg.OnEvent), notify(cfg.Trace)
	return c, nil
}

// Connect connects and returns when the Server has accepted the connection. From
// then on the client reconnects by itself, and ctx means nothing any more. Without
// ConnectRetry the first failure ends the client; with it the end of ctx does.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	if c.state != Idle {
		c.mu.Unlock()
		return ErrStarted
	}
	up := make(chan struct{})
	c.state, c.up = Connecting, up
	c.mu.Unlock()
	go c.run()
	select {
	case <-up:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
	}
	if c.gotUp(ctx) {
		return nil
	}
	<-c.done
	return c.Err()
}

// gotUp tells whether the Server accepted a connection before ctx ended; if not, none is
// wanted any more.
func (c *Client) gotUp(ctx context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.upSince.IsZero() {
		return true
	}
	cause := context.Cause(ctx)
	if c.lastErr != nil {
		cause = fmt.Errorf("%w (last attempt: %w)", cause, c.lastErr)
	}
	c.quit(fmt.Errorf("client: connect: %w", cause))
	return false
}

// quit makes the current attempt to connect the last. The caller holds mu.
func (c *Client) quit(cause error) {
	if c.cause == nil {
		c.cause = cause
	}
	if c.dialling != nil {
		c.dialling()
	}
	if l := c.link; l != nil && !l.up {
		l.giveUp(cause)
	}
	poke(c.wake)
}

// wait makes a channel that is poked when something has changed. The caller holds mu, and calls
// woken when it waits no longer.
func (c *Client) wait() <-chan struct{} {
	c.wake = make(chan struct{}, 1)
	return c.wake
}

func (c *Client) woken() { c.wake = nil }

// Done is closed when the client is closed or has failed for good; Err says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil while the client lives, and then why it does not: ErrClosed after
// Close and Abort, an error that wraps ErrClosed and the cause otherwise.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// State returns where the client is. It may have changed when it returns.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// drive performs what the session asks for. The caller holds mu and has just given
// the session an input. It also calls kick if there may be something to write, and arm
// unless what is written does that.
func (c *Client) drive() {
	for o, ok := c.sess.Next(); ok; o, ok = c.sess.Next() {
		switch o.Op {
		case session.Save, session.Forget:
			c.saver.record(o)
		case session.Send:
			if o.After > 0 {
				c.saver.want(o.After)
			}
			c.link.encode(o, c.saver.durable)
			c.stats.PacketsSent[o.Type&15]++
			if c.cfg.Trace != nil {
				c.trace(true, o)
			}
		case session.Deliver:
			c.deliver(o.Packet.(*packets.Publish), o.Token)
		case session.Done:
			if o.After > c.saver.durable {
				c.saver.want(o.After)
				c.saver.waits = append(c.saver.waits, *o)
				break
			}
			c.finish(o)
		case session.Notify:
			c.noted(o.Event)
		case session.Close:
			c.link.leave(o.Err)
		}
	}
	c.save()
}

// kick starts writing if there is something to write, and tells whether a write runs. The
// caller holds mu.
func (c *Client) kick() bool {
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

// send is kick after a request. When something is written the session is told, and its
// deadline looked at; otherwise it is time to look now. The caller holds mu.
func (c *Client) send() {
	if !c.kick() {
		c.arm()
	}
}

// arm sets the timer to the deadline of the session, or that of CONNACK before it has one. A
// timer that would fire too early is left alone: that costs one look at the clock, resetting it
// one for each packet.
func (c *Client) arm() {
	at := c.sess.Deadline()
	if at.IsZero() {
		at = c.link.deadline()
	}
	if at.IsZero() || !c.timerAt.IsZero() && !at.Before(c.timerAt) {
		return
	}
	c.timerAt = at
	wait := time.Until(at)
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.tick)
		return
	}
	c.timer.Reset(wait)
}

func (c *Client) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timerAt = time.Time{}
	if c.state == Closed {
		return
	}
	now := time.Now()
	if l := c.link; l != nil {
		if at, ok := l.heard(); ok {
			c.sess.Heard(at)
		}
		if at := l.deadline(); !at.IsZero() && !now.Before(at) {
			l.giveUp(ErrConnectTimeout)
		}
	}
	c.sess.Tick(now)
	c.drive()
	c.kick()
	c.arm()
}

// spaceMade returns a channel that is closed when there may be space. The caller holds mu.
func (c *Client) spaceMade() <-chan struct{} {
	if c.space == nil {
		c.space = make(chan struct{})
	}
	return c.space
}

// wakeSpace makes everybody look again who waits for space. The caller holds mu.
func (c *Client) wakeSpace() {
	if c.space != nil {
		close(c.space)
		c.space = nil
	}
}

// poke wakes whoever waits on a channel of one place, if there is one.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
