package paho

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/paho/packets"
	mqtt "github.com/mqtt311/mqtt311/packets"
)

// A Token gives the result of an asynchronous call once it is known. It is safe for concurrent use.
type Token interface {
	// Wait waits until the call has completed and returns true.
	Wait() bool

	// WaitTimeout waits until the call has completed or the duration has passed, and reports
	// whether it has completed.
	WaitTimeout(time.Duration) bool

	// Done returns a channel that is closed when the call has completed.
	Done() <-chan struct{}

	// Error returns the error of the call, or nil if it succeeded or has not completed. The errors
	// are those of package client, such as client.ErrNotSent and client.ErrUnknown, which say
	// whether the request was sent.
	Error() error
}

// TimedOut is returned by WaitTokenTimeout after a timeout.
//
//lint:ignore ST1012 programs know it by this name
var TimedOut = errors.New("context canceled")

// WaitTokenTimeout waits until the call of t has completed and returns its error. If it takes
// longer than d, it returns TimedOut, and the call goes on.
func WaitTokenTimeout(t Token, d time.Duration) error {
	if !t.WaitTimeout(d) {
		return TimedOut
	}
	return t.Error()
}

// over is a closed channel.
var over = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

func waitTimeout(done <-chan struct{}, d time.Duration) bool {
	select {
	case <-done:
		return true
	default:
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// A baseToken is the token of a request: a receipt of the client, or an immediate error. Its zero
// value has completed without an error.
type baseToken struct {
	receipt *client.Receipt // nil once the request has ended
	err     error
}

// Wait implements Token.
func (b *baseToken) Wait() bool {
	if b.receipt != nil {
		b.receipt.Wait(context.Background())
	}
	return true
}

// WaitTimeout implements Token.
func (b *baseToken) WaitTimeout(d time.Duration) bool { return waitTimeout(b.Done(), d) }

// Done implements Token.
func (b *baseToken) Done() <-chan struct{} {
	if b.receipt != nil {
		return b.receipt.Done()
	}
	return over
}

// Error implements Token.
func (b *baseToken) Error() error {
	if b.receipt != nil {
		return b.receipt.Err()
	}
	return b.err
}

// A ConnectToken is the Token of Connect.
type ConnectToken struct {
	done chan struct{} // nil once the attempt has ended

	mu             sync.Mutex
	err            error
	returnCode     byte
	sessionPresent bool
}

func newConnectToken() *ConnectToken { return &ConnectToken{done: make(chan struct{})} }

// end completes the token, once.
func (c *ConnectToken) end(sessionPresent bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessionPresent, c.err = sessionPresent, err
	var refused *client.RefusedError
	switch {
	case err == nil:
	case errors.As(err, &refused):
		c.returnCode = byte(refused.Code)
		if known := packets.ConnErrors[c.returnCode]; known != nil && c.returnCode < packets.ErrNetworkError {
			c.err = known // programs compare it
		}
	default:
		c.returnCode = packets.ErrNetworkError
		c.err = &connectError{err}
	}
	close(c.done)
}

// A connectError is a connection that failed before the Server had answered.
type connectError struct{ cause error }

func (e *connectError) Error() string {
	return packets.ErrorNetworkError.Error() + ": " + e.cause.Error()
}

func (e *connectError) Unwrap() []error { return []error{packets.ErrorNetworkError, e.cause} }

// Wait implements Token.
func (c *ConnectToken) Wait() bool {
	<-c.Done()
	return true
}

// WaitTimeout implements Token.
func (c *ConnectToken) WaitTimeout(d time.Duration) bool { return waitTimeout(c.Done(), d) }

// Done implements Token.
func (c *ConnectToken) Done() <-chan struct{} {
	if c.done == nil {
		return over
	}
	return c.done
}

// Error implements Token. If the Server refused the connection, the error is one of package
// packets, such as packets.ErrorRefusedNotAuthorised. Any other wraps packets.ErrorNetworkError and
// the cause.
func (c *ConnectToken) Error() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ReturnCode returns the return code of CONNACK, or packets.ErrNetworkError if there was none.
func (c *ConnectToken) ReturnCode() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.returnCode
}

// SessionPresent returns Session Present of CONNACK: the Server has kept the session.
func (c *ConnectToken) SessionPresent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessionPresent
}

// A PublishToken is the Token of Publish. It completes without an error when the guarantee of the
// QoS is met: the message was written to the connection (QoS 0), or PUBACK (QoS 1) or PUBCOMP (QoS
// 2) was received, across any number of reconnects.
type PublishToken struct {
	baseToken
	room      patience
	messageID uint16
}

// MessageID returns a number for the message, which counts from 1 to 65,535 and then from 1 again,
// or 0 at QoS 0. It is not the Packet Identifier, which is chosen later.
func (p *PublishToken) MessageID() uint16 { return p.messageID }

// A SubscribeToken is the Token of Subscribe. Its error names the filters that the Server refused.
type SubscribeToken struct {
	baseToken
	filters []string
}

// Error implements Token.
func (s *SubscribeToken) Error() error {
	if s.receipt == nil {
		return s.err
	}
	_, err := s.receipt.Granted()
	return err
}

// Result returns the QoS that the Server granted for each filter, or 0x80 if it refused the filter.
// It is empty until the call has completed. A filter such as "$share/group/a" is also listed as
// "a".
func (s *SubscribeToken) Result() map[string]byte {
	results := make(map[string]byte)
	if s.receipt == nil {
		return results
	}
	granted, err := s.receipt.Granted()
	var refused *client.SubscribeError
	errors.As(err, &refused)
	for i, qos := range granted {
		code := byte(qos)
		if refused != nil && refused.Results[i].Err != nil {
			code = byte(mqtt.SubscribeFailure)
		}
		results[s.filters[i]] = code
		results[undecorated(s.filters[i])] = code
	}
	return results
}

// An UnsubscribeToken is the Token of Unsubscribe.
type UnsubscribeToken struct{ baseToken }

// A DisconnectToken is a completed Token.
type DisconnectToken struct{ baseToken }

// A DummyToken is a Token that has completed without an error, for tests.
type DummyToken struct{ baseToken }

// Error implements Token.
func (d *DummyToken) Error() error { return nil }

// A MId is the type of a Packet Identifier.
type MId uint16
