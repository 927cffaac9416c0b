package main

import (
	"fmt"
	"net"
	"sync/atomic"

	"github.com/mqtt311/mqtt311/client"
)

// Every message has a payload of 256 bytes and a topic of 31.
var payload256 = make([]byte, 256)

// Options are the parameters of a connection.
type options struct {
	addr   string
	id     string
	window int           // unanswered messages
	calls  *atomic.Int64 // counts reads and writes
	store  client.Store  // or nil
	owned  bool          // the application keeps received payloads
}

// dial opens the Network Connection, which is the same for every peer.
func (o options) dial() (net.Conn, error) {
	conn, err := net.Dial("tcp", o.addr)
	if err != nil {
		return nil, err
	}
	return counted{conn.(*net.TCPConn), o.calls}, nil
}

// A load is a number of messages to publish.
type load struct {
	n      int
	qos    byte
	before func() // if not nil, called before each message, by one goroutine at a time
}

// A conn is a connected client of a peer. Each adapter does everything as a good user of the
// library would.
type conn interface {
	// publish publishes without waiting for each message, and returns when the promise of the QoS is
	// kept for all of them.
	publish(l load) error

	// block publishes one message and waits. Many goroutines may call it.
	block(qos byte) error

	// receive subscribes at a QoS and calls each for every message until the connection ends. Messages
	// are acknowledged.
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
