package main

import (
	"context"
	"net"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

type oursConn struct{ c *client.Client }

func connectOurs(o options) (conn, error) {
	c, err := client.New(client.Config{
		Dial:         func(context.Context) (net.Conn, error) { return o.dial() },
		ClientID:     o.id,
		CleanSession: o.store == nil,
		Store:        o.store,
		MaxInflight:  o.window,

		MaxInflightQoS2: o.window, // the same work for all
		LendPayloads:    !o.owned,
	})
	if err != nil {
		return nil, err
	}
	return oursConn{c}, c.Connect(context.Background())
}

// publish uses a receipt where there is an outcome to wait for: at QoS 0 there is no answer.
func (o oursConn) publish(l load) error {
	ctx := context.Background()
	m := client.Message{Topic: topic, Payload: payload256, QoS: packets.QoS(l.qos)}
	for range l.n - 1 {
		if l.before != nil {
			l.before()
		}
		var err error
		if l.qos == 0 {
			err = o.c.Enqueue(ctx, m)
		} else {
			_, err = o.c.PublishAsync(ctx, m)
		}
		if err != nil {
			return err
		}
	}
	if l.before != nil {
		l.before()
	}
	return o.c.Publish(ctx, m) // they end in order
}

func (o oursConn) block(qos byte) error {
	return o.c.Publish(context.Background(), client.Message{Topic: topic, Payload: payload256, QoS: packets.QoS(qos)})
}

func (o oursConn) receive(qos byte, each func()) error {
	ctx := context.Background()
	go o.c.Subscribe(ctx, packets.Subscription{Filter: topic, QoS: packets.QoS(qos)})
	for _, err := range o.c.Messages(ctx) {
		if err != nil {
			return err
		}
		each()
	}
	return nil
}

func (o oursConn) close() { o.c.Abort() }
