package client

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// handlerPatience is how long Close waits for a handler that runs.
const handlerPatience = 5 * time.Second

// Close leaves in order: nothing new is accepted, what is in flight is finished,
// acknowledgements go out, then DISCONNECT, which drops the Will [MQTT-3.14.4-3]. It
// waits for all that as long as ctx lasts, for a running handler at most five
// seconds, and not for the handler that calls it with its own context. Without a
// Network Connection it waits for nothing.
//
// What is not finished then ends with ErrClosed; the error tells that ctx ended first.
// Close may be called at any time, from anywhere, and again.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.leaving
	c.leaving = true
	if c.state == Idle {
		c.state = Closed
		c.mu.Unlock()
		if first {
			c.finishAll(ErrClosed)
		}
		return nil
	}
	c.sess.Hold(time.Now(), false) // there is no next connection
	c.drive()
	c.send()
	c.mu.Unlock()
	c.wakeAll()
	if ctx.Value(handlerKey{}) != c {
		c.waitHandler(ctx)
	}
	err := c.drain(ctx)
	c.mu.Lock()
	c.sess.Disconnect()
	c.drive()
	c.kick()
	c.quit(ErrClosed)
	c.mu.Unlock()
	return errors.Join(err, c.awaitEnd(ctx))
}

// awaitEnd waits until the client is over, for the Server a few seconds, and not much longer
// than ctx lasts for what is the program's own: a Dial or a Store that does not return.
func (c *Client) awaitEnd(ctx context.Context) error {
	patience := time.NewTimer(2 * lingerTime)
	defer patience.Stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
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
		return fmt.Errorf("client: close: Config.Dial or Config.Store does not return: %w", context.Cause(ctx))
	}
}

// Abort ends at once and without DISCONNECT, so that the Server publishes the Will
// [MQTT-3.1.2-8]. It returns when everything the client started has ended, but for a
// handler that runs.
func (c *Client) Abort() {
	c.mu.Lock()
	c.leaving = true
	idle := c.state == Idle
	if idle {
		c.state = Closed
	}
	c.quit(ErrClosed)
	c.mu.Unlock()
	if idle {
		c.finishAll(ErrClosed)
		return
	}
	c.abandonLink()
	<-c.done
}

func (c *Client) abandonLink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		c.link.giveUp(ErrClosed)
	}
}

func (c *Client) wakeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakeSpace()
}

// waitHandler waits for the handler that runs, so that its acknowledgement leaves.
func (c *Client) waitHandler(ctx context.Context) {
	c.mu.Lock()
	idle := c.idle
	c.mu.Unlock()
	if idle == nil {
		return
	}
	t := time.NewTimer(handlerPatience)
	defer t.Stop()
	select {
	case <-idle:
	case <-t.C:
	case <-ctx.Done():
	case <-c.done:
	}
}

// drain waits until nothing is in flight. The error is that of ctx.
func (c *Client) drain(ctx context.Context) error {
	for {
		c.mu.Lock()
		unfinished, _ := c.sess.Unfinished()
		held := c.link != nil && len(c.link.holds) > 0
		if unfinished == 0 && !held || !c.sess.Up() {
			c.mu.Unlock()
			return nil
		}
		space := c.spaceMade()
		c.mu.Unlock()
		select {
		case <-space:
		case <-c.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
