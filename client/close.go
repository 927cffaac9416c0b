package client

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// handlerPatience is how long Close waits for a running handler.
const handlerPatience = 5 * time.Second

// Close shuts the client down gracefully: it accepts no new requests, waits for those in flight to
// finish and for pending acknowledgements to be sent, and then sends DISCONNECT, which makes the
// Server discard the Will [MQTT-3.14.4-3]. It waits until ctx is done, but at most five seconds for
// a running handler, and not at all for the handler that calls it with its own context. Without a
// Network Connection it does not wait. Once ctx is done, Close still sends DISCONNECT and spends at
// most one more second on it, and at most ten on a Store that does not respond.
//
// Requests that are still unfinished end with ErrClosed, and Close returns an error that wraps the
// cause of ctx. Close may be called at any time, from any goroutine, and more than once.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := c.leaveLocked()
	if c.state == Idle {
		c.state = Closed
		c.mu.Unlock()
		if first {
			c.finishAll(ErrClosed)
		}
		return nil
	}
	c.sess.Hold(time.Now(), false) // there is no next connection
	c.driveLocked()
	c.sendLocked()
	c.mu.Unlock()
	if ctx.Value(handlerKey{}) != c {
		c.waitHandler(ctx)
	}
	err := c.drain(ctx)
	c.mu.Lock()
	c.sess.Disconnect()
	c.driveLocked()
	c.kickLocked()
	c.stopLocked(ErrClosed)
	c.mu.Unlock()
	err = errors.Join(err, c.awaitEnd(ctx))
	if err != nil {
		return &callError{call: "close", cause: err}
	}
	return nil
}

// leaveLocked makes the client refuse new requests. It reports whether this is the first call.
func (c *Client) leaveLocked() bool {
	if c.leaving {
		return false
	}
	c.leaving = true
	c.refuseAllLocked()
	return true
}

// whyClosedLocked returns why requests are refused.
func (c *Client) whyClosedLocked() error {
	if c.err != nil {
		return c.err
	}
	return ErrClosed
}

// closedLocked returns the error for a request that is refused because the client is closed.
func (c *Client) closedLocked() error {
	return &callError{kind: ErrNotSent, cause: c.whyClosedLocked()}
}

// awaitEnd waits until the client has ended: for the Server a few seconds, and for a Dial or Store
// that does not return not much longer than until ctx is done. After that, DISCONNECT still has a
// second to be written.
func (c *Client) awaitEnd(ctx context.Context) error {
	patience := time.NewTimer(2 * lingerTime)
	defer patience.Stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		if c.disconnects() {
			patience.Reset(lingerTime)
			select {
			case <-c.done:
				return nil
			case <-patience.C:
			}
		}
	case <-patience.C:
		c.abandonLink()
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
		}
	}
	c.abandonLink()
	left := lingerTime
	if c.cfg.Store != nil {
		left += 2 * storePatience
	}
	patience.Reset(left)
	select {
	case <-c.done:
		return nil
	case <-patience.C:
		return fmt.Errorf("Config.Dial, Config.Store or Config.TakeOversize does not return: %w", context.Cause(ctx))
	}
}

// Abort closes the client at once, without DISCONNECT, so that the Server publishes the Will
// [MQTT-3.1.2-8]. It returns when all goroutines of the client have ended, except for a running
// handler.
func (c *Client) Abort() {
	c.mu.Lock()
	c.leaveLocked()
	idle := c.state == Idle
	if idle {
		c.state = Closed
	}
	c.stopLocked(ErrClosed)
	c.mu.Unlock()
	if idle {
		c.finishAll(ErrClosed)
		return
	}
	c.abandonLink()
	<-c.done
}

// disconnects reports whether DISCONNECT is being sent.
func (c *Client) disconnects() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link != nil && c.link.bye
}

func (c *Client) abandonLink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		c.link.closeFor(ErrClosed)
	}
}

// waitHandler waits for a running handler, so that its acknowledgement is sent.
func (c *Client) waitHandler(ctx context.Context) {
	c.mu.Lock()
	handling := c.delivery.handling
	c.mu.Unlock()
	if handling == nil {
		return
	}
	t := time.NewTimer(handlerPatience)
	defer t.Stop()
	select {
	case <-handling:
	case <-t.C:
	case <-ctx.Done():
	case <-c.done:
	}
}

// drain waits until nothing is in flight. It returns the error of ctx if that is done first.
func (c *Client) drain(ctx context.Context) error {
	for {
		c.mu.Lock()
		unfinished, _ := c.sess.Unfinished()
		held := c.link != nil && len(c.link.holds) > 0
		if unfinished == 0 && !held || !c.sess.Up() {
			c.mu.Unlock()
			return nil
		}
		if c.waiters.changed == nil {
			c.waiters.changed = make(chan struct{})
		}
		changed := c.waiters.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-c.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
