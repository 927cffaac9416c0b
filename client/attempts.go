package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// attempts is the state of connecting: which server is next, how long to pause, and whether to try
// again at all.
type attempts struct {
	begun atomic.Bool // Connect was called

	// Used only by the goroutine that connects and reads; see run.
	server  int32 // 0 is Config.Dial, n is Fallbacks[n-1]
	backoff backoff
	faults  int // connections in a row that ended because of an unreadable packet that the Server sends again

	// Guarded by Client.mu.
	up        chan struct{}      // closed when the Server first accepted a connection; nil without a Connect
	cause     error              // why no further attempt is made; nil: attempts go on
	dialling  context.CancelFunc // ends the context of Config.Dial; nil: it does not run
	wake      chan struct{}      // capacity 1; nil unless a goroutine waits for a change
	accepted  uint64             // connections that the Server accepted
	upSince   time.Time          // when it accepted the newest one; zero: none
	lastErr   error              // of the newest attempt or connection
	takeover  bool               // the session suspects another client with our ClientID
	awaited   bool               // a call waits or has waited for Connect
	convicted bool               // the session has given up the message or filter that the Server closed over
}

// everUp reports whether the Server ever accepted a connection.
func (a *attempts) everUp() bool { return !a.upSince.IsZero() }

// waiting returns a channel that receives a value when something has changed. Only one goroutine
// may wait at a time; it must call woken when it stops waiting.
func (a *attempts) waiting() <-chan struct{} {
	a.wake = make(chan struct{}, 1)
	return a.wake
}

func (a *attempts) woken() { a.wake = nil }

// stopLocked prevents further attempts, and cancels the current one unless the Server has accepted
// it.
func (c *Client) stopLocked(cause error) {
	a := &c.attempts
	if a.cause == nil {
		a.cause = cause
	}
	if a.dialling != nil {
		a.dialling()
	}
	if l := c.link; l != nil && !l.up {
		l.closeFor(cause)
	}
	poke(a.wake)
}

// stopped reports whether no further attempt is to be made.
func (c *Client) stopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving || c.attempts.cause != nil
}

// awaitingConnect returns the context for a call that waits for the Server. If Connect has not been
// called, it emits ConnectAwaited, and the context is canceled with ErrNotStarted unless Connect is
// called within the time of an attempt. The caller must call over.
func (c *Client) awaitingConnect(ctx context.Context) (_ context.Context, over func()) {
	if c.attempts.begun.Load() {
		return ctx, func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Idle || ctx.Err() != nil {
		return ctx, func() {}
	}
	if !c.attempts.awaited {
		c.attempts.awaited = true
		c.emit(Event{Kind: ConnectAwaited})
		c.cfg.Logger.Warn("a call waits for the server, and Connect was not called yet")
	}
	patience := c.cfg.ConnectTimeout
	if patience < 0 {
		patience = defaultConnectTimeout
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(patience, func() {
		if c.State() == Idle {
			cancel(ErrNotStarted)
		}
	})
	return ctx, func() { t.Stop(); cancel(nil) }
}

// limit returns the context for Config.Dial. It has no parent, so that an idle connection retains
// nothing of it.
func (c *Client) limit() (ctx context.Context, cancel context.CancelFunc) {
	if c.cfg.ConnectTimeout > 0 {
		ctx, cancel = context.WithTimeoutCause(context.Background(), c.cfg.ConnectTimeout, ErrConnectTimeout)
	} else {
		ctx, cancel = context.WithCancel(context.Background())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts.dialling = cancel
	if c.attempts.cause != nil {
		cancel()
	}
	return ctx, cancel
}

// whyEnded returns why ctx, the context of Config.Dial, is done.
func (c *Client) whyEnded(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attempts.cause != nil {
		return c.attempts.cause
	}
	return context.Cause(ctx)
}

func (c *Client) attemptBegins() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = Connecting
	c.stats.Attempts++
	c.emit(Event{Kind: Attempting})
}

// attemptFailed records an attempt that failed before CONNECT was sent.
func (c *Client) attemptFailed(err error) {
	c.attempts.backoff.failed()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts.dialling = nil
	c.connectFailedLocked(err)
}

func (c *Client) connectFailedLocked(err error) {
	c.attempts.lastErr = err
	c.stats.Failures++
	c.emit(Event{Kind: ConnectFailed, Err: err})
	c.cfg.Logger.Warn("connect failed", slog.Any("reason", err))
}

// acceptedLocked records that the Server accepted the connection.
func (c *Client) acceptedLocked(sessionPresent bool) {
	a := &c.attempts
	c.link.up = true
	c.state = Connected
	if a.everUp() {
		c.stats.Reconnects++
	} else {
		close(a.up)
		a.up = nil
	}
	a.accepted++
	a.upSince = time.Now()
	c.stats.Connects++
	if sessionPresent {
		c.stats.Resumed++
	} else {
		c.delivery.session++
	}
	c.emit(Event{Kind: ConnectionUp, SessionPresent: sessionPresent})
	c.cfg.Logger.Info("connected", slog.Bool("session_present", sessionPresent))
}

// verdict decides whether the client ends after an attempt that ended with err, or after a pause if
// err is nil. It returns the reason, or nil if the client goes on.
func (c *Client) verdict(err error, faults int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &c.attempts
	var refused *RefusedError
	switch {
	case c.leaving:
		return ErrClosed
	case a.cause != nil:
		return because(ErrClosed, a.cause)
	case err == nil: // nothing happened since
	case !a.everUp() && !c.cfg.ConnectRetry:
		return &connectError{err}
	case a.everUp() && c.cfg.NoReconnect && !errors.Is(err, errParked):
		return because(ErrClosed, because(ErrConnectionLost, err))
	case c.cfg.StopWhenRefused && errors.As(err, &refused) && lasting(refused.Code):
		return because(ErrClosed, err)
	case faults >= sameFaults:
		return because(ErrClosed, fmt.Errorf("the server sends the same again after each reconnect: %w", err))
	}
	return nil
}

// sameFaults is the number of connections in a row that end because of an unreadable packet before
// the client stops: the Server sends the same message again after each reconnect.
const sameFaults = 3

// lasting reports whether the reason for a refusal is unlikely to go away by itself.
func lasting(code packets.ConnectCode) bool { return code != packets.ServerUnavailable }

// pause waits before the next attempt, or until the client is closed.
func (c *Client) pause() {
	d := c.attempts.backoff.next(c.cfg.MaxReconnectInterval)
	c.mu.Lock()
	if !c.attempts.everUp() && c.cfg.ConnectRetryInterval > 0 {
		d = c.cfg.ConnectRetryInterval
	}
	c.state = Waiting
	c.emit(Event{Kind: WaitingToReconnect, Delay: d})
	c.mu.Unlock()
	c.sleep(d, func() bool { return false })
}

// sleep waits until d has passed, goOn returns true, or no further attempt is to be made. It calls
// goOn with mu held.
func (c *Client) sleep(d time.Duration, goOn func() bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := c.attempts.waiting()
	defer c.attempts.woken()
	for over := false; !over && c.attempts.cause == nil && !goOn(); {
		c.mu.Unlock()
		select {
		case <-wake:
		case <-t.C:
			over = true
		}
		c.mu.Lock()
	}
}

const (
	firstBackoff = 250 * time.Millisecond
	afterStable  = time.Second      // the longest pause after a stable connection
	stableAfter  = 30 * time.Second // a connection that lasted this long resets the back-off
)

// backoff computes the pause before the next attempt, with full jitter, so that a thousand clients
// of a restarted Server do not reconnect at the same time.
type backoff struct {
	failures int // since the last stable connection
	atCap    bool
}

// lost records the end of a connection that was up for held. If a request is suspected of having
// caused the end, the pause does not grow: a few more connections will show whether the suspicion
// is right.
func (b *backoff) lost(held time.Duration, blamed bool) {
	switch {
	case held >= stableAfter:
		b.failures, b.atCap = 0, false
	case blamed:
		b.failures = max(b.failures, 1)
	default:
		b.failures++
	}
}

// failed records an attempt that ended before CONNACK.
func (b *backoff) failed() { b.failures++ }

// reset resets the count, because the cause of the failures has been removed.
func (b *backoff) reset() { b.failures, b.atCap = 1, false }

// toCap makes the next pauses as long as allowed, because another attempt is unlikely to succeed
// unless something is changed.
func (b *backoff) toCap() { b.atCap = true }

// bound returns the maximum length of the next pause.
func (b *backoff) bound(most time.Duration) time.Duration {
	switch {
	case b.atCap:
		return most
	case b.failures == 0:
		return min(afterStable, most)
	case b.failures > 20:
		return most
	}
	return min(firstBackoff<<(b.failures-1), most)
}

func (b *backoff) next(most time.Duration) time.Duration {
	bound := b.bound(most)
	if b.atCap {
		return bound/2 + rand.N(bound/2+1)
	}
	return rand.N(bound + 1)
}
