package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// sameFaults is how many times in a row the Server may send what cannot be read
// before the client stops: it sends the same message again after each reconnect.
const sameFaults = 3

// run connects, reads and reconnects until the client is closed. It is the only
// goroutine of an idle client: it reads.
func (c *Client) run() {
	for {
		err := c.round()
		if err == errResting || !c.again(err) {
			return
		}
	}
}

// again waits before the next round of attempts; false means that the client is over, and has
// settled everything. err is how the round before ended.
func (c *Client) again(err error) bool {
	end := c.ending(err, c.faults)
	if end == nil {
		if errors.Is(err, errParked) {
			c.waitParked()
		} else {
			c.pause()
		}
		end = c.ending(nil, 0)
	}
	if end != nil {
		c.finishAll(end)
	}
	return end == nil
}

// round makes an attempt at each server until one accepts, and returns when its connection
// ended, or when all failed.
func (c *Client) round() (err error) {
	for range 1 + len(c.cfg.Fallbacks) {
		before := c.reconnects()
		err = c.serve()
		if c.reconnects() != before || c.over() {
			return err
		}
		c.server = (c.server + 1) % (1 + len(c.cfg.Fallbacks))
	}
	return err
}

// reconnects counts the connections that the Server accepted.
func (c *Client) reconnects() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted
}

// over tells whether no further attempt is to be made.
func (c *Client) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving || c.cause != nil
}

// ending returns why the client is over after an attempt that ended with err, or after a
// pause if err is nil; nil if it is not over.
func (c *Client) ending(err error, faults int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	everUp := !c.upSince.IsZero()
	var refused *RefusedError
	switch {
	case c.leaving:
		return ErrClosed
	case c.cause != nil:
		return fmt.Errorf("%w: %w", ErrClosed, c.cause)
	case err == nil: // nothing happened since
	case !everUp && !c.cfg.ConnectRetry:
		return &connectError{err}
	case everUp && c.cfg.NoReconnect && !errors.Is(err, errParked):
		return fmt.Errorf("%w: %w: %w", ErrClosed, ErrConnectionLost, err)
	case c.cfg.StopWhenRefused && errors.As(err, &refused) && lasting(refused.Code):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case faults >= sameFaults:
		return fmt.Errorf("%w: the server sends the same again after each reconnect: %w", ErrClosed, err)
	}
	return nil
}

// lasting tells whether a refusal is for a reason that does not pass by itself.
func lasting(code packets.ConnectCode) bool { return code != packets.ServerUnavailable }

// serve makes one attempt and, if it succeeds, serves the connection until it ends.
func (c *Client) serve() error {
	c.enter(Connecting)
	l, err := c.open()
	if err != nil {
		c.backoff.failed()
		c.attemptFailed(err)
		return err
	}
	return c.lost(l, c.read(l))
}

// limit returns the context of dialling. It is no child of another, so that nothing of it is
// left when it is over.
func (c *Client) limit() (ctx context.Context, cancel context.CancelFunc) {
	if c.cfg.ConnectTimeout > 0 {
		ctx, cancel = context.WithTimeoutCause(context.Background(), c.cfg.ConnectTimeout, ErrConnectTimeout)
	} else {
		ctx, cancel = context.WithCancel(context.Background())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialling = cancel
	if c.cause != nil {
		cancel()
	}
	return ctx, cancel
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
	if c.server > 0 {
		dial = c.cfg.Fallbacks[c.server-1]
	}
	conn, err := dial(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", c.why(ctx), err)
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

// why returns why ctx, that of dialling, has ended.
func (c *Client) why(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return context.Cause(ctx)
}

// greet sends CONNECT on a new connection.
func (c *Client) greet(l *link, login session.Login) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialling = nil
	switch {
	case c.leaving:
		return ErrClosed
	case c.cause != nil:
		return c.cause
	}
	if err := c.sess.Opened(l.opened, login); err != nil {
		return err
	}
	c.link = l
	c.drive()
	c.kick()
	c.arm()
	return nil
}

// errResting says that another goroutine goes on reading.
var errResting = errors.New("client: resting")

// read hands packets to the session until the connection ends, and returns why.
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

// readOn handles p and what came with it. After what comes when nothing else does, it
// leaves the reading to a new goroutine, whose stack is small.
func (c *Client) readOn(l *link, p packets.Packet) error {
	l.skip = false
	if payload := l.reader.Payload(); payload != nil {
		l.skip = true
		if _, err := io.Copy(io.Discard, payload); err != nil {
			return err
		}
	}
	crowded, err := c.receiveAll(l, p)
	switch {
	case err != nil:
		return err
	case crowded:
		c.makeRoom(l)
	case l.quiet:
		go c.rest(l)
		return errResting
	}
	return nil
}

// rest waits for the next packet, and goes on as run does. Half the memory of an idle client
// would be the stack that is deep enough to handle a packet.
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

// mostAtOnce is how many packets are handled before others get their turn with mu.
const mostAtOnce = 256

// receiveAll handles p and what came with it, and tells whether the inbox is crowded. An error
// is that of the bytes behind.
func (c *Client) receiveAll(l *link, p packets.Packet) (crowded bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, now, n := l.reader, time.Now(), 0
	l.quiet = p.Type() == packets.PINGRESP || p.Type() == packets.CONNACK
	for p != nil {
		c.receive(now, l, p)
		crowded = c.crowded()
		if n++; crowded || n == mostAtOnce || l.skip {
			break
		}
		if p, err = r.ReadBuffered(); p != nil {
			l.quiet = false
		}
	}
	l.quiet = l.quiet && l.up
	overlong := uint64(r.Tolerated().OverlongLength)
	c.stats.OverlongLengths += overlong - l.overlong
	l.overlong = overlong
	c.delivered()
	c.kick()
	c.arm()
	return crowded, err
}

// receive handles a packet. The caller holds mu.
func (c *Client) receive(now time.Time, l *link, p packets.Packet) {
	if c.cfg.Trace != nil {
		c.trace(false, p)
	}
	c.stats.PacketsReceived[p.Type()&15]++
	if pub, ok := c.sess.Plain(now, p); ok {
		c.deliver(pub, 0)
		return
	}
	c.sess.Shed(c.tooMany())
	c.sess.Received(now, p)
	c.drive()
	c.sendOffline()
	c.fetchShed(l)
}

// lost settles the end of a connection that CONNECT was sent on, unless it goes on.
func (c *Client) lost(l *link, err error) error {
	if err == errResting {
		return err
	}
	c.mu.Lock()
	if l.err != nil {
		err = l.err // our reason came first; the reader only saw the consequence
	} else if l.bye {
		err = io.EOF
	}
	by := session.ByUs
	if byPeer(err) && !l.bye {
		by = session.ByPeer
	}
	l.giveUp(err)
	c.mu.Unlock()
	l.helpers.Wait()

	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sess.Lost(now, session.Loss{Position: l.attempted.Load(), Passed: l.passed.Load(), By: by})
	c.stats.BytesReceived += l.received.Load()
	c.link = nil
	var held time.Duration
	if l.up {
		held = now.Sub(c.upSince)
		c.backoff.lost(held)
	} else {
		c.backoff.failed()
	}
	c.state = Waiting
	c.drive()
	c.wakeSpace()
	c.judge(l, err, held)
	if l.park && !c.leaving {
		return errParked
	}
	if l.up {
		if l.bye {
			c.emit(Event{Kind: Disconnected, Held: held})
			c.cfg.Logger.Info("disconnected", slog.Duration("held", held))
		} else {
			c.emit(Event{Kind: ConnectionLost, Err: err, Held: held})
			c.cfg.Logger.Info("connection lost", slog.Any("reason", err), slog.Duration("held", held))
		}
	} else {
		if !c.leaving && c.cause == nil {
			err = &HandshakeError{err}
		}
		c.stats.Failures++
		c.emit(Event{Kind: ConnectFailed, Err: err})
		c.cfg.Logger.Warn("connect failed", slog.Any("reason", err))
	}
	c.lastErr = err
	return err
}

// judge looks for ends that another attempt will not mend by itself.
func (c *Client) judge(l *link, err error, held time.Duration) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		c.stats.Refused++
	}
	if refused != nil && lasting(refused.Code) || c.takeover {
		c.backoff.toCap()
		c.takeover = false
	}
	var format *packets.FormatError
	var large *packets.TooLargeError
	switch {
	case l.up && (errors.As(err, &format) || errors.As(err, &large)):
		c.faults++
		c.stats.Faults++
	case held >= stableAfter:
		c.faults = 0
	}
}

func (c *Client) attemptFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialling = nil
	c.lastErr = err
	c.stats.Failures++
	c.emit(Event{Kind: ConnectFailed, Err: err})
	c.cfg.Logger.Warn("connect failed", slog.Any("reason", err))
}

// pause waits before the next attempt, or until the client is closed.
func (c *Client) pause() {
	d := c.backoff.next(c.cfg.MaxReconnectInterval)
	c.mu.Lock()
	if c.upSince.IsZero() && c.cfg.ConnectRetryInterval > 0 {
		d = c.cfg.ConnectRetryInterval
	}
	c.state = Waiting
	c.emit(Event{Kind: WaitingToReconnect, Delay: d})
	c.mu.Unlock()
	c.sleep(d, func() bool { return false })
}

func (c *Client) enter(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = s
	c.stats.Attempts++
	c.emit(Event{Kind: Attempting})
}

// connected notes that the Server accepted the connection. The caller holds mu.
func (c *Client) connected(sessionPresent bool) {
	c.link.up = true
	c.state = Connected
	if c.upSince.IsZero() {
		close(c.up)
		c.up = nil
	} else {
		c.stats.Reconnects++
	}
	c.accepted++
	c.stats.Connects++
	if sessionPresent {
		c.stats.Resumed++
	} else {
		c.session++
	}
	c.upSince = time.Now()
	c.emit(Event{Kind: ConnectionUp, SessionPresent: sessionPresent})
	c.cfg.Logger.Info("connected", slog.Bool("session_present", sessionPresent))
}

// finishAll ends everything that waits, because the client is over.
func (c *Client) finishAll(err error) {
	c.mu.Lock()
	c.leaving = true // no message is accepted any more
	c.mu.Unlock()
	c.settle()
	c.mu.Lock()
	c.giveUpWaits() // the Store does not answer
	c.err = err
	c.state = Closed
	c.sess.Abandon()
	c.drive()
	c.abandonOffline(&outcome{"publish", ErrNotSent, err})
	if c.timer != nil {
		c.timer.Stop()
	}
	c.emit(Event{Kind: ClientClosed, Err: err})
	c.wakeSpace()
	c.mu.Unlock()
	c.settle()
	if c.lifeOver != nil {
		c.lifeOver(err)
	}
	close(c.done)
}
