package main

import (
	"net"
	"net/url"

	pahomqtt "github.com/eclipse/paho.mqtt.golang"
	facademqtt "github.com/mqtt311/mqtt311/client/paho"
)

// A pahoConn is a client with paho's API: paho itself, or package client/paho.
type pahoConn struct {
	send       func(qos byte) outcome
	subscribe  func(qos byte, each func()) outcome
	disconnect func(quiesce uint)
	gone       chan struct{}
	window     int
}

// An outcome is a token of either.
type outcome interface {
	Wait() bool
	Error() error
}

func connectPaho(o options) (conn, error) {
	p := pahoConn{gone: make(chan struct{}), window: o.window}
	opts := pahomqtt.NewClientOptions().AddBroker("tcp://" + o.addr).SetClientID(o.id).SetProtocolVersion(4).SetAutoReconnect(false)
	opts.SetCustomOpenConnectionFn(func(*url.URL, pahomqtt.ClientOptions) (net.Conn, error) { return o.dial() })
	opts.SetConnectionLostHandler(func(pahomqtt.Client, error) { close(p.gone) })
	c := pahomqtt.NewClient(opts)
	p.send = func(qos byte) outcome { return c.Publish(topic, qos, false, payload256) }
	p.subscribe = func(qos byte, each func()) outcome {
		return c.Subscribe(topic, qos, func(pahomqtt.Client, pahomqtt.Message) { each() })
	}
	p.disconnect = c.Disconnect
	return p, wait(c.Connect())
}

// connectFacade is connectPaho with the other import.
func connectFacade(o options) (conn, error) {
	p := pahoConn{gone: make(chan struct{}), window: o.window}
	opts := facademqtt.NewClientOptions().AddBroker("tcp://" + o.addr).SetClientID(o.id).SetProtocolVersion(4).SetAutoReconnect(false)
	opts.SetCustomOpenConnectionFn(func(*url.URL, facademqtt.ClientOptions) (net.Conn, error) { return o.dial() })
	opts.SetMaxResumePubInFlight(o.window) // the same work for both
	opts.SetConnectionLostHandler(func(facademqtt.Client, error) { close(p.gone) })
	c := facademqtt.NewClient(opts)
	p.send = func(qos byte) outcome { return c.Publish(topic, qos, false, payload256) }
	p.subscribe = func(qos byte, each func()) outcome {
		return c.Subscribe(topic, qos, func(facademqtt.Client, facademqtt.Message) { each() })
	}
	p.disconnect = c.Disconnect
	return p, wait(c.Connect())
}

func wait(t outcome) error {
	t.Wait()
	return t.Error()
}

func (p pahoConn) publish(l load) error {
	window := make([]outcome, p.window)
	for i := range l.n {
		if l.before != nil {
			l.before()
		}
		at := i % p.window
		if window[at] != nil {
			if err := wait(window[at]); err != nil {
				return err
			}
		}
		window[at] = p.send(l.qos)
	}
	for _, t := range window {
		if t == nil {
			continue
		}
		if err := wait(t); err != nil {
			return err
		}
	}
	return nil
}

func (p pahoConn) block(qos byte) error { return wait(p.send(qos)) }

func (p pahoConn) receive(qos byte, each func()) error {
	if err := wait(p.subscribe(qos, each)); err != nil {
		return err
	}
	<-p.gone
	return nil
}

func (p pahoConn) close() { p.disconnect(0) }
