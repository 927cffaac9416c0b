package client

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// run connects, reads and reconnects until the client is closed. It is the only goroutine of an
// idle client, blocked in a read.
func (c *Client) run() {
	for {
		err := c.round()
		if err == errResting || !c.again(err) {
			return
		}
	}
}

// again waits before the next round of attempts. err is the result of the last round. It returns
// false when the client has ended and everything is settled.
func (c *Client) again(err error) bool {
	end := c.verdict(err, c.attempts.faults)
	if end == nil {
		if errors.Is(err, errParked) {
			c.waitParked()
		} else {
			c.pause()
		}
		end = c.verdict(nil, 0)
	}
	if end != nil {
		c.finishAll(end)
	}
	return end == nil
}

// round tries each server until one accepts. It returns when that connection has ended, or when all
// attempts have failed.
func (c *Client) round() (err error) {
	for range 1 + len(c.cfg.Fallbacks) {
		before := c.connects()
		err = c.serve()
		if c.connects() != before || c.stopped() {
			return err
		}
		c.attempts.server = (c.attempts.server + 1) % int32(1+len(c.cfg.Fallbacks))
	}
	return err
}

// connects returns the number of connections that the Server accepted.
func (c *Client) connects() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts.accepted
}

// serve makes one attempt and, if it succeeds, serves the connection until it ends.
func (c *Client) serve() error {
	c.attemptBegins()
	l, err := c.open()
	if err != nil {
		c.attemptFailed(err)
		return err
	}
	return c.lost(l, c.read(l))
}

// open dials and sends CONNECT.
func (c *Client) open() (*link, error) {
	ctx, cancel := c.limit()
	defer cancel()
	login := loginOf(c.cfg.UserName, c.cfg.Password)
	if c.cfg.Credentials != nil {
		user, password, err := c.cfg.Credentials(ctx)
		if err != nil {
			return nil, fmt.Errorf("client: credentials: %w", err)
		}
		login = loginOf(user, password)
	}
	login.Will = c.cfg.Will
	dial := c.cfg.Dial
	if n := c.attempts.server; n > 0 {
		dial = c.cfg.Fallbacks[n-1]
	}
	conn, err := dial(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, because(c.whyEnded(ctx), err)
	case err != nil:
		return nil, err
	case conn == nil:
		return nil, errors.New("client: Config.Dial returned neither a connection nor an error")
	}
	l := newLink(conn, &c.cfg)
	l.acceptBy, _ = ctx.Deadline()
	if err := c.greet(l, login); err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

// greet sends CONNECT on a new connection.
func (c *Client) greet(l *link, login session.Login) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts.dialling = nil
	switch {
	case c.leaving:
		return ErrClosed
	case c.attempts.cause != nil:
		return c.attempts.cause
	}
	if err := c.sess.Opened(l.opened, login); err != nil {
		return err
	}
	c.link = l
	c.driveLocked()
	c.kickLocked()
	c.armLocked()
	return nil
}

// errResting is returned when another goroutine has taken over reading.
var errResting = errors.New("client: resting")

// read passes packets to the session until the connection ends, and returns the reason.
func (c *Client) read(l *link) error {
	for {
		p, err := l.reader.ReadPacket()
		if err != nil {
			return err
		}
		if err := c.readOn(l, p); err != nil {
			return err
		}
	}
}

// readOn handles p and the packets received with it. After CONNACK and PINGRESP, when nothing may
// arrive for a long time, a new goroutine with a small stack takes over reading.
func (c *Client) readOn(l *link, p packets.Packet) error {
	if err := c.examine(l, p); err != nil {
		return err
	}
	crowded, err := c.receiveAll(l, p)
	if err != nil {
		return err
	}
	if crowded {
		c.makeRoom(l)
	}
	if l.swamped {
		c.awaitWriter(l)
	}
	if l.quiet && !crowded && !l.swamped {
		go c.rest(l)
		return errResting
	}
	return nil
}

// rest waits for the next packet and then continues as run does. A stack that has grown to handle
// packets would be half the memory of an idle client.
func (c *Client) rest(l *link) {
	p, err := l.reader.ReadPacket()
	c.resume(l, p, err)
}

func (c *Client) resume(l *link, p packets.Packet, err error) {
	if err == nil {
		err = c.readOn(l, p)
	}
	if err == nil {
		err = c.read(l)
	}
	if err = c.lost(l, err); err != errResting && c.again(err) {
		c.run()
	}
}

// mostAtOnce is how many packets are handled before mu is released.
const mostAtOnce = 256

// receiveAll handles p and the packets received with it, and reports whether the inbox is crowded.
// The error is about the bytes that follow.
func (c *Client) receiveAll(l *link, p packets.Packet) (crowded bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, now, n := l.reader, time.Now(), 0
	l.quiet = p.Type() == packets.PINGRESP || p.Type() == packets.CONNACK
	for p != nil {
		c.receiveLocked(now, l, p)
		crowded = c.crowdedLocked()
		if n++; crowded || n == mostAtOnce {
			break
		}
		if p, err = r.ReadBuffered(); p != nil {
			l.quiet = false
			if err = c.examine(l, p); err != nil {
				break
			}
		}
	}
	l.quiet = l.quiet && l.up
	overlong := uint64(r.Tolerated().OverlongLength)
	c.stats.OverlongLengths += overlong - l.overlong
	l.overlong = overlong
	c.admitLocked()
	c.announceLocked()
	c.kickLocked()
	c.armLocked()
	l.swamped = l.answers > mostAnswers
	return crowded, err
}

// receiveLocked handles a packet.
func (c *Client) receiveLocked(now time.Time, l *link, p packets.Packet) {
	if c.cfg.Trace != nil {
		c.traces.put(Packet{Time: now, Text: p.String()})
	}
	c.stats.PacketsReceived[p.Type()&15]++
	if bad := l.bad; bad != nil && bad.QoS > packets.AtMostOnce && bad.PacketID == 0 { // nothing can answer it
		c.stats.Received++
		c.skipLocked(bad, 0)
		return
	}
	if pub, ok := c.sess.Plain(now, p); ok {
		c.deliverLocked(pub, 0)
		return
	}
	c.sess.Shed(c.tooManyLocked())
	c.sess.Received(now, p)
	c.driveLocked()
	c.sendOfflineLocked()
	c.fetchShedLocked(l)
}

// lost handles the end of a connection on which CONNECT was sent, unless another goroutine still
// reads it.
func (c *Client) lost(l *link, err error) error {
	if err == errResting {
		return err
	}
	c.mu.Lock()
	by, err := l.settleEnd(err)
	c.mu.Unlock()
	l.helpers.Wait()

	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.left {
		by, err = session.ByUs, errLeft
	}
	blamed := c.sess.Lost(now, session.Loss{Position: l.attempted.Load(), Passed: l.passed.Load(), By: by})
	c.stats.BytesReceived += l.received.Load()
	c.link = nil
	c.state = Waiting
	c.attempts.lastErr = err // for those that end with the connection
	c.driveLocked()
	c.admitLocked()
	var held time.Duration
	if l.up {
		held = now.Sub(c.attempts.upSince)
		c.attempts.backoff.lost(held, blamed)
	} else {
		c.attempts.backoff.failed()
	}
	c.judgeLocked(l, err, held)
	if l.park && !c.leaving {
		return errParked
	}
	switch {
	case !l.up:
		if !c.leaving && c.attempts.cause == nil {
			err = &HandshakeError{err}
		}
		c.connectFailedLocked(err)
	case l.left:
		c.emit(Event{Kind: Disconnected, Held: held})
		c.cfg.Logger.Info("disconnected", slog.Duration("held", held))
	default:
		c.emit(Event{Kind: ConnectionLost, Err: err, By: by, Held: held})
		c.cfg.Logger.Info("connection lost", slog.Any("reason", err), slog.String("by", by.String()), slog.Duration("held", held))
	}
	c.attempts.lastErr = err
	return err
}

// judgeLocked adjusts the back-off after a connection has ended: it looks for causes that another
// attempt cannot resolve, and for causes that have been removed.
func (c *Client) judgeLocked(l *link, err error, held time.Duration) {
	a := &c.attempts
	var refused *RefusedError
	if errors.As(err, &refused) {
		c.stats.Refused++
	}
	if a.convicted { // what the Server closed over was given up, so the next connection should last
		a.backoff.reset()
		a.convicted = false
	}
	if refused != nil && lasting(refused.Code) || a.takeover {
		a.backoff.toCap()
		a.takeover = false
	}
	var format *packets.FormatError
	var large *packets.TooLargeError
	switch {
	case l.up && (errors.As(err, &format) || errors.As(err, &large)):
		c.stats.Faults++
		if c.comesAgain(err) {
			a.faults++
		}
	case held >= stableAfter:
		a.faults = 0
	}
}

// finishAll ends everything that still waits when the client ends.
func (c *Client) finishAll(err error) {
	c.mu.Lock()
	c.leaveLocked()
	c.mu.Unlock()
	c.settle()
	c.mu.Lock()
	c.giveUpWaitsLocked(err) // the Store does not answer
	c.err = err
	c.state = Closed
	c.sess.Abandon()
	c.driveLocked()
	c.abandonOfflineLocked(err)
	c.alarm.stop()
	c.emit(Event{Kind: ClientClosed, Err: err})
	c.mu.Unlock()
	c.settle()
	if over := c.delivery.lifeOver; over != nil {
		over(err)
	}
	close(c.done)
}
