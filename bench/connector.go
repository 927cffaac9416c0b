package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// The ways of consuming.
const (
	alone     = "client" // without a connector
	unordered = "connector"
	ordered   = "connector, ordered"
	slow      = "connector, 1 % slow"
)

// slowness is how long a slow flow takes.
const slowness = 5 * time.Millisecond

// A connectorConn consumes with a connector: it takes messages, runs a flow, and acknowledges.
type connectorConn struct {
	conn
	o    options
	kind string
	c    *connector.Connector
}

func connectConnector(kind string) func(options) (conn, error) {
	return func(o options) (conn, error) { return &connectorConn{o: o, kind: kind}, nil }
}

func (c *connectorConn) receive(qos byte, each func()) (err error) {
	clean := true
	c.c, err = connector.New(connector.Config{
		General:  connector.General{BrokerURL: c.o.addr, ClientID: c.o.id},
		Advanced: connector.Advanced{CleanSession: &clean, Order: c.kind == ordered},
		Consumers: map[string]connector.ConsumerParams{
			"bench": {Topics: []connector.TopicQoS{{Topic: topic}}, QoS: packets.QoS(qos)},
		},
	}, connector.Options{Dial: func(context.Context) (net.Conn, error) { return c.o.dial() }})
	if err != nil {
		return err
	}
	if err := c.c.Consume("bench", c.flow(each)); err != nil {
		return err
	}
	if err := c.c.Start(context.Background()); err != nil {
		return err
	}
	<-c.c.Done()
	return c.c.Err()
}

// flow returns a flow that only calls each, one call at a time.
func (c *connectorConn) flow(each func()) flow.Func {
	var mu sync.Mutex
	var n atomic.Uint64
	return func(context.Context, *flow.Message) (*flow.Message, error) {
		if c.kind == slow && n.Add(1)%100 == 0 {
			time.Sleep(slowness)
		}
		if c.kind != ordered { // which has one at a time anyhow
			mu.Lock()
			defer mu.Unlock()
		}
		each()
		return nil, nil
	}
}

// close does nothing: the process ends soon.
func (c *connectorConn) close() {}

// connectorTables measure the connector from end to end, compared with the client on which it is
// based.
func (m method) connectorTables() []table {
	var all []table
	for qos := range byte(3) {
		all = append(all, m.traffic(job{Work: "receive", QoS: qos}, "connector: consume QoS %d", alone, unordered, ordered, slow))
	}
	return all
}
