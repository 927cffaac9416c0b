package main

import (
	"net"
	"net/url"

	pahomqtt "github.com/eclipse/paho.mqtt.golang"
)

type pahoConn struct {
	c      pahomqtt.Client
	gone   chan struct{}
	window int
}

func connectPaho(o options) (conn, error) {
	p := pahoConn{gone: make(chan struct{}), window: o.window}
	opts := pahomqtt.NewClientOptions().AddBroker("tcp://" + o.addr).SetClientID(o.id).SetProtocolVersion(4).SetAutoReconnect(false)
	opts.SetCustomOpenConnectionFn(func(*url.URL, pahomqtt.ClientOptions) (net.Conn, error) { return o.dial() })
	opts.SetConnectionLostHandler(func(pahomqtt.Client, error) { close(p.gone) })
	p.c = pahomqtt.NewClient(opts)
	return p, wait(p.c.Connect())
}

func wait(t pahomqtt.Token) error {
	t.Wait()
	return t.Error()
}

func (p pahoConn) publish(l load) error {
	window := make([]pahomqtt.Token, p.window)
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
		window[at] = p.c.Publish(topic, l.qos, false, payload256)
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

func (p pahoConn) block(qos byte) error { return wait(p.c.Publish(topic, qos, false, payload256)) }

func (p pahoConn) receive(qos byte, each func()) error {
	if err := wait(p.c.Subscribe(topic, qos, func(pahomqtt.Client, pahomqtt.Message) { each() })); err != nil {
		return err
	}
	<-p.gone
	return nil
}

func (p pahoConn) close() { p.c.Disconnect(0) }
