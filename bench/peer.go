package main

import (
	"fmt"
	"net"
	"sync/atomic"

	"github.com/mqtt311/mqtt311/client"
)

// Payload and topic of every message: 256 and 31 bytes.
var payload256 = make([]byte, 256)

// Options are what a connection needs.
type options struct {
	addr   string
	id     string
	window int           // unanswered messages
	calls  *atomic.Int64 // counts reads and writes
	store  client.Store  // or nil
	owned  bool          // the application keeps the payloads that it receives
}

// dial opens the Network Connection. Every peer has the same one.
func (o options) dial() (net.Conn, error) {
	conn, err := net.Dial("tcp", o.addr)
	if err != nil {
		return nil, err
	}
	return counted{conn.(*net.TCPConn), o.calls}, nil
}

// A load is a message to publish.
type load struct {
	n      int
	qos    byte
	before func() // called before each message, if it is not nil, by one goroutine at a time
}

// A conn is a connected client of somebody. An adapter does each thing as a good user of the
// library would.
type conn interface {
	// publish publishes without waiting for each, and returns when all have kept the
	// promise of their QoS.
	publish(l load) error

	// block publishes one message and waits. Many goroutines may call it.
	block(qos byte) error

	// receive subscribes at a QoS and calls each with every message until the connection
	// ends. Messages are acknowledged.
	receive(qos byte, each func()) error

	close()
}

// connectors open the connection of each peer.
var connectors = map[string]func(options) (conn, error){
	ours:     connectOurs,
	paho:     connectPaho,
	facade:   connectFacade,
	atwat:    connectAtwat,
	limit1:   connectLimit(1),
	limit100: connectLimit(100),

	ours + " stored": connectStored(ours),
	bolt:             connectStored(bolt),
	files:            connectStored(files),
	storeless:        connectStored(storeless),

	alone:     connectOurs,
	unordered: connectConnector(unordered),
	ordered:   connectConnector(ordered),
	slow:      connectConnector(slow),

	usual: connectProducer(0),
	wide:  connectProducer(1024),
}

func connect(who string, o options) (conn, error) {
	f, ok := connectors[who]
	if !ok {
		return nil, fmt.Errorf("nobody is called %q", who)
	}
	if o.calls == nil {
		o.calls = new(atomic.Int64)
	}
	return f(o)
}
