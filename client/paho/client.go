package paho

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
)

// A Client is an MQTT 3.1.1 client. It is an interface so that tests can replace it.
type Client interface {
	// IsConnected reports whether Publish accepts messages: there is a connection, or the client is
	// reconnecting.
	IsConnected() bool

	// IsConnectionOpen reports whether there is a connection.
	IsConnectionOpen() bool

	// Connect starts to connect and returns a token at once. If the Server may still have the
	// session, add routes before: it may send messages right away. Connect may be called again
	// after Disconnect, and after the connection was lost without SetAutoReconnect.
	Connect() Token

	// Disconnect ends the connection. It waits up to quiesce milliseconds for requests in progress
	// and then sends DISCONNECT, which takes at most one second more.
	Disconnect(quiesce uint)

	// Publish publishes a message. The payload must be a []byte, a string or a bytes.Buffer, and
	// may be reused when Publish returns. Publish waits only for room in the queue, for at most the
	// time set by SetWriteTimeout. While the client is reconnecting, a message of QoS 1 or 2 is
	// queued, and one of QoS 0 fails with ErrNotConnected.
	Publish(topic string, qos byte, retained bool, payload interface{}) Token

	// Subscribe subscribes to a Topic Filter and adds a route for it, unless callback is nil. The
	// subscription is restored after a reconnect.
	Subscribe(topic string, qos byte, callback MessageHandler) Token

	// SubscribeMultiple is like Subscribe, for several filters, each with its QoS.
	SubscribeMultiple(filters map[string]byte, callback MessageHandler) Token

	// Unsubscribe unsubscribes from Topic Filters and removes their routes.
	Unsubscribe(topics ...string) Token

	// AddRoute adds a handler for the messages that match a Topic Filter, without subscribing. It
	// replaces an earlier handler for the same filter. A message is passed to every route that
	// matches, in the order in which they were added, or to the default handler if none does.
	AddRoute(topic string, callback MessageHandler)

	// OptionsReader returns a reader of a copy of the options.
	OptionsReader() ClientOptionsReader
}

// A pahoClient has a sequence of lives: each Connect after a Disconnect starts another one.
type pahoClient struct {
	router        router
	notifications queue
	usable        atomic.Pointer[client.Client] // nil unless IsConnected
	ids           atomic.Uint32

	// Set by NewClient and constant, so that calls need no lock.
	writeTimeout   time.Duration
	resumeSubs     bool
	order          bool
	ackDisabled    bool
	defaultHandler MessageHandler
	slots          chan struct{} // a slot for each handler that may run at a time; nil with order

	mu      sync.Mutex // guards the following fields
	options ClientOptions
	life    *life // the last one; nil until Connect is called
}

// mostHandlers is how many handlers run at a time without SetOrderMatters.
const mostHandlers = 1000

// NewClient returns a Client that is not connected yet, with a copy of the options.
func NewClient(o *ClientOptions) Client {
	c := &pahoClient{options: *o}
	c.options.Servers = slices.Clone(o.Servers)
	if c.options.ProtocolVersion == 0 {
		c.options.ProtocolVersion = 4
	}
	if c.options.Store == nil {
		c.options.Store = NewMemoryStore()
	}
	c.writeTimeout = o.WriteTimeout
	if c.writeTimeout <= 0 {
		c.writeTimeout = defaultTimeout
	}
	c.resumeSubs, c.order, c.ackDisabled, c.defaultHandler = o.ResumeSubs, o.Order, o.AutoAckDisabled, o.DefaultPublishHandler
	if !c.order {
		c.slots = make(chan struct{}, mostHandlers)
	}
	return c
}

// DefaultConnectionLostHandler logs to DEBUG why the connection was lost.
func DefaultConnectionLostHandler(client Client, reason error) {
	logf(DEBUG, CLI, "connection lost: %v", reason)
}

// current returns a copy of the options.
func (c *pahoClient) current() ClientOptions {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.options
}

// OptionsReader implements Client.
func (c *pahoClient) OptionsReader() ClientOptionsReader {
	o := c.current()
	return ClientOptionsReader{&o}
}

// IsConnected implements Client.
func (c *pahoClient) IsConnected() bool { return c.usable.Load() != nil }

// IsConnectionOpen implements Client.
func (c *pahoClient) IsConnectionOpen() bool {
	cl := c.usable.Load()
	return cl != nil && cl.State() == client.Connected
}

var (
	errConnecting   = errors.New("paho: Connect was called before, and is not done")
	errConnected    = errors.New("paho: already connected")
	errDisconnected = errors.New("paho: Disconnect was called before the connection was there")
)

// Connect implements Client.
func (c *pahoClient) Connect() Token {
	t := newConnectToken()
	c.mu.Lock()
	before := c.life
	if before != nil && !before.leaving && !before.over {
		up, again := before.wasUp, c.options.AutoReconnect
		c.mu.Unlock()
		switch {
		case up && again:
			t.end(false, nil)
		case up:
			t.end(false, errConnected)
		default:
			t.end(false, errConnecting)
		}
		return t
	}
	waits := before != nil && !before.over // Disconnect waits for requests in progress
	l := newLife(c)
	c.life = l
	c.mu.Unlock()
	if waits {
		go l.start(before, t)
	} else {
		l.start(before, t)
	}
	return t
}

// Disconnect implements Client.
func (c *pahoClient) Disconnect(quiesce uint) {
	c.mu.Lock()
	l := c.life
	if l == nil || l.over {
		c.mu.Unlock()
		return
	}
	l.leaving = true
	cl := l.client
	c.usable.CompareAndSwap(cl, nil)
	c.mu.Unlock()
	if cl == nil {
		return // Connect will see it
	}
	const longest = uint64(math.MaxInt64 / time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(min(uint64(quiesce), longest))*time.Millisecond)
	defer cancel()
	if err := cl.Close(ctx); err != nil {
		logf(WARN, CLI, "%v", err)
	}
	waitTimeout(l.ended, time.Second)
}
