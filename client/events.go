package client

import (
	"context"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/session"
)

// An EventKind is the kind of an [Event]. Its text is its name in words.
type EventKind string

// The kinds of events. The Kind of a session event is the String of its [session.EventKind].
const (
	ConnectAwaited     EventKind = "waiting for Connect" // a call waits for the Server, but Connect has not been called
	Attempting         EventKind = "connecting"
	ConnectionUp       EventKind = "connected"
	ConnectFailed      EventKind = "connect failed"
	ConnectionLost     EventKind = "connection lost"
	Disconnected       EventKind = "disconnected" // by us with DISCONNECT: on Close, or until the inbox has room
	WaitingToReconnect EventKind = "waiting to reconnect"
	ClientClosed       EventKind = "closed"
	InboxFull          EventKind = "inbox full"      // reading pauses
	NobodyConsumes     EventKind = "nobody consumes" // the inbox is full and no message was ever taken from it
	ClientParked       EventKind = "parked"          // disconnected until the inbox has room
	Shedding           EventKind = "shedding"        // new QoS 1 and 2 messages are left unacknowledged, for the next connection
	MessageSkipped     EventKind = "skipped"         // too large or malformed; Err is an *IncomingError
	MessageUnmatched   EventKind = "unmatched"       // no handler matches; Err names the topic
)

// An Event is something that happened to the connection or to the session.
type Event struct {
	Kind           EventKind
	Time           time.Time
	Err            error           // the reason
	By             session.EndedBy // ConnectionLost: who ended it
	SessionPresent bool            // ConnectionUp, section 3.2.2.2
	Held           time.Duration   // ConnectionLost, Disconnected: how long the connection was up
	Delay          time.Duration   // WaitingToReconnect: the pause before the next attempt
	Session        *session.Event  // the event of the session; otherwise nil
}

// String returns the event as one line of text.
func (e Event) String() string {
	s := string(e.Kind)
	if e.Kind == ConnectionLost {
		s += " (ended by " + [...]string{"us", "the network", "the server"}[min(e.By, session.ByPeer)] + ")"
	}
	if e.Delay > 0 {
		s += " in " + e.Delay.Round(time.Millisecond).String()
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

const mostEvents = 1024

// A notifier calls a function with events, in order, on a goroutine that runs only while there are
// any.
type notifier[T any] struct {
	call func(T)

	mu      sync.Mutex
	waiting []T
	running bool
	rests   chan struct{} // closed when running ends; nil unless somebody waits for it
	dropped uint64
}

// notify returns a notifier that calls call. If call is nil, it returns nil, which drops
// everything.
func notify[T any](call func(T)) *notifier[T] {
	if call == nil {
		return nil
	}
	return &notifier[T]{call: call}
}

func (n *notifier[T]) put(e T) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) == mostEvents {
		n.dropped++
		return
	}
	n.waiting = append(n.waiting, e)
	if !n.running {
		n.running = true
		go n.run()
	}
}

func (n *notifier[T]) run() {
	for {
		events := n.take()
		if events == nil {
			return
		}
		for _, e := range events {
			n.call(e)
		}
	}
}

func (n *notifier[T]) take() []T {
	n.mu.Lock()
	defer n.mu.Unlock()
	events := n.waiting
	n.waiting = nil
	if n.running = events != nil; !n.running && n.rests != nil {
		close(n.rests)
		n.rests = nil
	}
	return events
}

// rest waits until call has returned from everything that was put.
func (n *notifier[T]) rest(ctx context.Context) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	if !n.running {
		n.mu.Unlock()
		return nil
	}
	if n.rests == nil {
		n.rests = make(chan struct{})
	}
	rests := n.rests
	n.mu.Unlock()
	select {
	case <-rests:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// WaitCallbacks waits until OnEvent and Trace have returned from their calls for everything that happened before. A
// program that prints what they tell calls it after Close, which does not wait for them. It returns the cause of ctx's end, and must not be
// called from OnEvent or Trace.
func (c *Client) WaitCallbacks(ctx context.Context) error {
	if err := c.events.rest(ctx); err != nil {
		return err
	}
	return c.traces.rest(ctx)
}

func (n *notifier[T]) lost() uint64 {
	if n == nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dropped
}

func (c *Client) emit(e Event) {
	e.Time = time.Now()
	c.events.put(e)
}

// notedLocked emits and logs an event of the session.
func (c *Client) notedLocked(e *session.Event) {
	switch e.Kind {
	case session.EventConnected:
		c.acceptedLocked(e.SessionPresent)
		return
	case session.EventTakeover:
		c.attempts.takeover = true
		c.stats.Takeovers++
	case session.EventPoison:
		c.attempts.convicted = true
	}
	var about []any // the attributes of this kind of event
	if e.Count != 0 {
		about = append(about, "count", e.Count)
	}
	if e.Topic != "" {
		about = append(about, "topic", e.Topic)
	}
	if e.Filter != "" {
		about = append(about, "filter", e.Filter)
	}
	if e.Err != nil {
		about = append(about, "reason", e.Err)
	}
	c.cfg.Logger.Warn(e.Kind.String(), about...)
	c.emit(Event{Kind: EventKind(e.Kind.String()), Err: e.Err, Session: e})
}

// A Packet describes a packet for Config.Trace, when writing it to the Network Connection begins or
// after it was read.
type Packet struct {
	Time time.Time
	Sent bool   // by the client; otherwise received
	Text string // the result of packets.Packet.String
}
