package paho

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// A life is a client of package client with its state, from Connect to Disconnect or the final end
// of the connection.
type life struct {
	c        *pahoClient
	client   *client.Client // set by prepare, with pahoClient.mu held; nil if that failed
	store    *opened        // nil if there is none
	attempts attempts
	up       chan struct{} // closed when the Server has accepted a connection
	ended    chan struct{} // closed when everything has ended and the store is closed

	// Guarded by pahoClient.mu.
	leaving bool // Disconnect was called
	over    bool // it is ending or has ended
	wasUp   bool
	present bool // the first CONNACK said Session Present

	told error // why the connection was lost; used only by the goroutine of events
}

func newLife(c *pahoClient) *life {
	return &life{c: c, up: make(chan struct{}), ended: make(chan struct{})}
}

func (l *life) sessionPresent() bool {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.present
}

// start connects when the previous life, if any, has closed the store, and completes the token when
// the Server has answered.
func (l *life) start(before *life, t *ConnectToken) {
	if before != nil {
		<-before.ended
	}
	if err := l.prepare(); err != nil {
		l.abandon()
		t.end(false, err)
		return
	}
	go func() {
		err := l.client.Connect(context.Background())
		if err == nil {
			select {
			case <-l.up: // so that IsConnected is true
			case <-l.ended:
			}
		} else {
			<-l.ended
		}
		t.end(l.sessionPresent(), err)
	}()
}

// prepare opens the store and creates the client.
func (l *life) prepare() (err error) {
	o := l.c.current()
	if len(o.Servers) == 0 {
		if o.wrong != nil {
			return o.wrong
		}
		return errors.New("paho: no server: call AddBroker")
	}
	if o.ProtocolVersion != 4 {
		return fmt.Errorf("paho: protocol version %d is not spoken, only 4, MQTT 3.1.1", o.ProtocolVersion)
	}
	if l.store, err = openStore(&o); err != nil {
		return err
	}
	l.attempts.told = make(chan struct{}, 1)
	cfg := l.config(&o)
	cl, err := client.New(cfg)
	if err != nil {
		return err
	}
	l.c.mu.Lock()
	l.client = cl
	l.c.mu.Unlock()
	if l.attempts.releases, err = l.store.takeOver(cl, o.ResumeSubs); err != nil {
		return err
	}
	cl.HandleUnmatched(l.c.handle) // cannot fail for a new client
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.leaving {
		return errDisconnected
	}
	if o.ConnectRetry {
		l.c.usable.Store(cl)
	}
	return nil
}

// abandon ends a life whose prepare failed.
func (l *life) abandon() {
	if l.client != nil {
		l.client.Abort()
		<-l.ended
		return
	}
	l.store.close()
	l.c.mu.Lock()
	l.over = true
	l.c.mu.Unlock()
	close(l.ended)
}

// config returns the options as a configuration of package client.
func (l *life) config(o *ClientOptions) client.Config {
	cfg := client.Config{
		Dial:                 l.dial,
		Credentials:          l.begin,
		ClientID:             o.ClientID,
		CleanSession:         o.CleanSession,
		KeepAlive:            min(time.Duration(o.KeepAlive), 65535) * time.Second,
		PingTimeout:          o.PingTimeout,
		ConnectTimeout:       o.ConnectTimeout,
		WriteTimeout:         l.c.writeTimeout,
		ConnectRetry:         o.ConnectRetry,
		ConnectRetryInterval: o.ConnectRetryInterval,
		NoReconnect:          !o.AutoReconnect,
		MaxReconnectInterval: o.MaxReconnectInterval,
		MaxInflight:          o.MaxResumePubInFlight,
		MaxInflightQoS2:      o.MaxResumePubInFlight,
		QueueMessages:        mostUnfinished,
		QueueBytes:           -1,
		MaxPacketSize:        packets.MaxRemainingLength + 5,
		ManualAck:            o.AutoAckDisabled || !o.Order,
		OnEvent:              l.event,
		Logger:               loggerFor(CLI),
	}
	if o.KeepAlive <= 0 {
		cfg.KeepAlive = -1
	}
	if o.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = -1
	}
	if o.WillEnabled {
		cfg.Will = &packets.Will{Topic: o.WillTopic, Payload: o.WillPayload, QoS: packets.QoS(o.WillQos), Retain: o.WillRetained}
	}
	for range len(o.Servers) - 1 {
		cfg.Fallbacks = append(cfg.Fallbacks, l.dial)
	}
	if l.store != nil {
		cfg.Store = l.store
	}
	if !silent(DEBUG) {
		cfg.Trace = func(p client.Packet) {
			way := "received"
			if p.Sent {
				way = "sent"
			}
			logf(DEBUG, NET, "%s %s", way, p.Text)
		}
	}
	return cfg
}

// mostUnfinished is how many messages of QoS 1 and 2 may be unfinished.
const mostUnfinished = 65535

// event handles events of the client, in order. It never blocks.
func (l *life) event(e client.Event) {
	c := l.c
	switch e.Kind {
	case client.Attempting:
		l.attempts.caughtUp()
	case client.ConnectionUp:
		l.accepted(e.SessionPresent)
	case client.ConnectFailed:
		l.attempts.failed(l, e.Err)
	case client.ConnectionLost:
		l.told = e.Err
		if c.current().AutoReconnect {
			c.notify(ConnectionNotificationLost{e.Err})
			l.tellLost(e.Err)
		} // else when the client has closed, so that the handlers may call Connect
	case client.ClientClosed:
		l.closed(e.Err)
	}
}

func (l *life) accepted(sessionPresent bool) {
	c := l.c
	c.mu.Lock()
	if !l.wasUp {
		l.wasUp, l.present = true, sessionPresent
		close(l.up)
	}
	if !l.leaving {
		c.usable.Store(l.client)
	}
	o := c.options
	c.mu.Unlock()
	l.told = nil
	c.notify(ConnectionNotificationConnected{})
	if o.OnConnect != nil {
		go o.OnConnect(c)
	}
}

func (l *life) tellLost(err error) {
	if lost := l.c.current().OnConnectionLost; lost != nil {
		go lost(l.c, err)
	}
}

// closed ends the life after its client has ended.
func (l *life) closed(err error) {
	c := l.c
	c.mu.Lock()
	asked, wasUp, again := l.leaving, l.wasUp, c.options.AutoReconnect
	l.over = true
	c.usable.CompareAndSwap(l.client, nil)
	c.mu.Unlock()
	if l.told != nil && !again {
		c.notify(ConnectionNotificationLost{l.told})
	}
	if wasUp && !asked {
		logf(ERROR, CLI, "the client has ended: %v", err)
		if l.told == nil || !again {
			if l.told != nil {
				err = l.told
			}
			l.tellLost(err)
		}
	}
	go func() {
		<-l.client.Done()
		l.store.close()
		close(l.ended)
	}()
}

// notify calls the program's notification handler, in order.
func (c *pahoClient) notify(n ConnectionNotification) {
	if h := c.current().OnConnectionNotification; h != nil {
		c.notifications.put(func() { h(c, n) })
	}
}

// handle passes a message to its handlers. It is the only handler registered with package client.
func (c *pahoClient) handle(_ context.Context, d *client.Delivery) {
	var space [4]MessageHandler
	m := message{d}
	handlers := c.router.match(d.Topic, space[:0])
	if len(handlers) == 0 && c.defaultHandler != nil {
		handlers = append(handlers, c.defaultHandler)
	}
	switch {
	case len(handlers) == 0:
		logf(WARN, ROU, "no handler for a message on %q; acknowledged", d.Topic)
		m.Ack() // [MQTT-4.5.0-2]; there is no handler to do it
	case c.order:
		for _, h := range handlers {
			h(c, m)
		}
	default:
		c.handleBeside(m, handlers)
	}
}

// handleBeside calls each handler on its own goroutine; the last one to return acknowledges.
func (c *pahoClient) handleBeside(m message, handlers []MessageHandler) {
	left := new(atomic.Int32)
	left.Store(int32(len(handlers)))
	for _, h := range handlers {
		c.slots <- struct{}{}
		go func() {
			defer func() { <-c.slots }()
			h(c, m)
			if left.Add(-1) == 0 && !c.ackDisabled {
				m.Ack()
			}
		}()
	}
}
