package main

import (
	"context"
	"sync"

	atwatmqtt "github.com/at-wat/mqtt-go"
	"golang.org/x/sync/errgroup"
)

type atwatConn struct {
	c      *atwatmqtt.BaseClient
	window int
}

func connectAtwat(o options) (conn, error) {
	transport, err := o.dial()
	if err != nil {
		return nil, err
	}
	c := &atwatmqtt.BaseClient{Transport: transport}
	_, err = c.Connect(context.Background(), o.id, atwatmqtt.WithCleanSession(true))
	return atwatConn{c, o.window}, err
}

// publish uses a goroutine for each place in the window, because Publish always waits.
func (a atwatConn) publish(l load) error {
	var g errgroup.Group
	var mu sync.Mutex
	left, workers := l.n, a.window
	if l.qos == 0 {
		workers = 1
	}
	for range workers {
		g.Go(func() error {
			for {
				mu.Lock()
				if left--; left < 0 {
					mu.Unlock()
					return nil
				}
				if l.before != nil {
					l.before()
				}
				mu.Unlock()
				if err := a.block(l.qos); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func (a atwatConn) block(qos byte) error {
	return a.c.Publish(context.Background(), &atwatmqtt.Message{Topic: topic, QoS: atwatmqtt.QoS(qos), Payload: payload256})
}

func (a atwatConn) receive(qos byte, each func()) error {
	a.c.Handle(atwatmqtt.HandlerFunc(func(*atwatmqtt.Message) { each() }))
	if _, err := a.c.Subscribe(context.Background(), atwatmqtt.Subscription{Topic: topic, QoS: atwatmqtt.QoS(qos)}); err != nil {
		return err
	}
	<-a.c.Done()
	return nil
}

func (a atwatConn) close() { a.c.Close() }
