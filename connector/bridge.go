package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/session"
)

// newOthers makes the connections of Config.Connections.
func (c *Connector) newOthers() error {
	c.others = make(map[string]*connection)
	for _, name := range sortedKeys(c.cfg.Connections) {
		settings := c.cfg.Connections[name]
		opts := Options{Dial: c.opts.Dials[name], Logger: c.log.With("connection", name)}
		cfg, err := (&way{cfg: &settings, opts: opts}).clientConfig()
		if err != nil {
			return onConnection(name, err)
		}
		var n *connection
		cfg.OnEvent = func(e client.Event) { c.observeOther(n, e) }
		if n, err = newConnection(&settings, cfg); err != nil {
			return onConnection(name, err)
		}
		n.name = name
		c.others[name] = n
	}
	return nil
}

// onConnection returns an error with the name of its connection.
func onConnection(name string, err error) *flow.Error {
	return because(fmt.Sprintf("connection %q", name), err)
}

// because returns an error of the type of err with a prefix that says what failed.
func because(what string, err error) *flow.Error {
	e := flow.AsError(err)
	cause := e.Err
	if cause == nil {
		cause = err
	}
	return flow.NewError(e.Type, fmt.Errorf("%s: %w", what, cause))
}

// connectionOf returns the connection with a name, or the producers' own if the name is empty.
func (c *Connector) connectionOf(name string) *connection {
	if name == "" {
		return c.out
	}
	return c.others[name]
}

// connectOthers connects the additional connections. It does not wait for those with ConnectRetry,
// so that an unavailable server does not keep consumers from starting.
func (c *Connector) connectOthers(ctx context.Context) error {
	for _, name := range sortedKeys(c.others) {
		n := c.others[name]
		if n.settings.Advanced.ConnectRetry {
			go n.client().Connect(context.Background()) // until it is closed
		} else if err := n.client().Connect(ctx); err != nil {
			return onConnection(name, err)
		}
		go func() {
			select {
			case <-c.stopping:
			case <-n.client().Done():
				select {
				case <-c.stopping: // which ended it
				default:
					c.halt(onConnection(name, n.client().Err()))
				}
			}
		}()
	}
	return nil
}

// observeOther handles events of an additional connection. Errors are logged and reported to
// OnError, but are not failures of a consumer.
func (c *Connector) observeOther(n *connection, e client.Event) {
	var failed *flow.Error
	switch {
	case e.Kind == client.ConnectionUp:
		n.begun.Store(true)
		n.problem.Store(nil)
	case e.Kind == client.MessageSkipped:
		c.skippedMessage(n, e.Err)
	case e.Kind == client.ConnectionLost && n.stopsOver(e.Err) != nil:
		n.lost.Add(1)
		failed = onConnection(n.name, n.stopsOver(e.Err))
		defer c.halt(failed)
	case e.Kind == client.Disconnected:
		n.lost.Add(1)
	case e.Kind == client.ConnectFailed, e.Kind == client.ConnectionLost:
		n.lost.Add(1)
		failed = onConnection(n.name, connectionError(e))
	case e.Session != nil && e.Session.Kind == session.EventTakeover:
		failed = onConnection(n.name, flow.NewError(flow.TypeClientIDInUse, errors.New("the server closed three connections soon after it had accepted them; now it is tried more slowly")))
	}
	if failed != nil {
		n.problem.Store(failed)
		if !c.isOver() && (n.begun.Load() || n.settings.Advanced.ConnectRetry) { // otherwise Start returns it
			c.tell(failed, "connection", n.name)
		}
	}
	if c.opts.OnConnectionEvent != nil {
		c.opts.OnConnectionEvent(n.name, e)
	}
}

// cameRetained reports whether a message is retained, according to its attribute or, without one,
// to the run of the flow.
func cameRetained(ctx context.Context, m *flow.Message) bool {
	if retained, ok := m.Attribute[flow.AttributeRetained].(bool); ok {
		return retained
	}
	return flow.Retained(ctx)
}

// tellUnretained counts a message that arrived with the retained flag and was published without it,
// and logs the first for each connection.
func (p *Producer) tellUnretained(topic string) {
	if p.over.unretained.Add(1) == 1 {
		p.conn.log.Warn("a retained message was published without the retained flag; retained: keep keeps it",
			"producer", p.name, "connection", p.over.name, "topic", topic)
	}
}

// ConnectionHealth is the state of a connection of Config.Connections. Counts are since New.
type ConnectionHealth struct {
	State     client.State `json:"-"`
	Connected bool         `json:"connected"`
	Problem   *flow.Error  `json:"problem"` // nil while it is up

	// Waiting is the number of messages of QoS 1 and 2 that were accepted, or are in the session
	// store, and have not been acknowledged by the server.
	Waiting int `json:"waiting"`

	// Unretained is the number of messages that arrived with the retained flag and were published
	// without it.
	Unretained uint64 `json:"unretained"`

	CertificatesExpire time.Time    `json:"-"` // when the first certificate of the server expires; zero without TLS
	Client             client.Stats `json:"-"`
}

// Ready returns nil while the connection is up, and otherwise an error that says why it is not.
func (h *ConnectionHealth) Ready() error {
	switch {
	case h.Connected:
		return nil
	case h.Problem != nil:
		return because("not connected", h.Problem)
	}
	return fmt.Errorf("connector: not connected (%s)", h.State)
}

func (n *connection) health() ConnectionHealth {
	h := ConnectionHealth{Problem: n.problem.Load(), Unretained: n.unretained.Load(), CertificatesExpire: n.certificatesExpire()}
	if c := n.client(); c != nil {
		h.State, h.Client = c.State(), c.Stats()
		h.Waiting = h.Client.Unfinished
	}
	h.Connected = h.State == client.Connected
	return h
}

// certificatesExpire returns when the first of the server's certificates expires, or zero without
// TLS.
func (n *connection) certificatesExpire() time.Time {
	if at := n.certificatesEnd.Load(); at != 0 {
		return time.Unix(at, 0)
	}
	return time.Time{}
}

func with[V any](m map[string]V, key string, v V) map[string]V {
	if m == nil {
		m = make(map[string]V)
	}
	m[key] = v
	return m
}
