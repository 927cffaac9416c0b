// Package ws opens the Network Connections of MQTT over WebSocket, section 6,
// on gorilla/websocket: ws, and wss over TLS.
//
//	dial, err := ws.Dialer("wss://broker.example.com/mqtt", nil)
//
// They come back as a net.Conn that carries the same bytes as TCP would. What
// package transport says of its connections holds here too: one goroutine may
// read while another writes, deadlines are for giving up, and CloseWrite tells
// the server, by a close frame, that nothing more will come.
package ws

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/address"
)

// MaxPacket is the length of the largest MQTT Control Packet: a fixed header of
// 5 bytes, and the largest Remaining Length, section 2.2.3.
const MaxPacket = 5 + 268_435_455

// Options are what a URL cannot say. A nil *Options and the zero value mean the
// defaults.
type Options struct {
	// Options are those of TCP and TLS. Their Timeout covers all steps, the
	// WebSocket handshake included.
	transport.Options

	// Header returns what to add to the HTTP request, anew for each
	// connection, so that a token in it can be fresh. If nil, nothing is
	// added. It must return when the context ends.
	Header func(context.Context) (http.Header, error)

	// URL returns the URL to dial, anew for each connection, so that its
	// signature can be fresh. If nil, it is the one given to Dialer. It must
	// return when the context ends.
	URL func(context.Context) (string, error)

	// MaxMessage is the largest WebSocket message accepted, in bytes. Memory
	// does not grow with it. If zero, MaxPacket. If negative, there is no
	// limit.
	MaxMessage int64
}

var schemes = address.Schemes{
	"ws": "80", "wss": "443",
	"mqtt": "1883", "tcp": "1883", "mqtts": "8883", "tls": "8883", "ssl": "8883", "unix": "", // known, so as to say where they are
}

// Dial opens a Network Connection to rawURL, ws://host:port/path?query or wss.
// Without a port it is 80 or 443. The error is a [*transport.DialError].
func Dial(ctx context.Context, rawURL string, opts *Options) (net.Conn, error) {
	dial, err := Dialer(rawURL, opts)
	if err != nil {
		return nil, err
	}
	return dial(ctx)
}

// Dialer is [Dial] in two halves: what is wrong with rawURL and opts is found
// at once, and the function that it returns opens a connection with every
// call. It may be called by many goroutines at once.
func Dialer(rawURL string, opts *Options) (func(context.Context) (net.Conn, error), error) {
	t, err := parse(rawURL)
	if err != nil {
		return nil, &transport.DialError{Step: transport.StepParse, Err: err}
	}
	return dialer(t, opts)
}

// AddressDialer is [Dialer] for a server that is given in parts. The path and the query of
// uri are those of the HTTP request; its other fields are not used.
func AddressDialer(a transport.Address, uri *url.URL, opts *Options) (func(context.Context) (net.Conn, error), error) {
	if a.Unix != "" {
		return nil, &transport.DialError{Step: transport.StepParse, Addr: a.Unix, Err: errors.New("WebSocket is not offered over a unix socket")}
	}
	addr, err := address.Join(a.Host, a.Port)
	if err != nil {
		return nil, &transport.DialError{Step: transport.StepParse, Err: err}
	}
	u := &url.URL{Scheme: "ws", Host: addr, Path: uri.Path, RawPath: uri.RawPath, RawQuery: uri.RawQuery, ForceQuery: uri.ForceQuery}
	if a.TLS {
		u.Scheme = "wss"
	}
	return dialer(target{url: u, addr: addr, secure: a.TLS}, opts)
}

func dialer(t target, opts *Options) (func(context.Context) (net.Conn, error), error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if err := o.Options.Check(); err != nil {
		return nil, &transport.DialError{Step: transport.StepParse, Addr: t.addr, Err: err}
	}
	return func(ctx context.Context) (net.Conn, error) { return o.dial(ctx, t) }, nil
}

// A target is what a URL says.
type target struct {
	url    *url.URL
	addr   string // host:port
	secure bool   // TLS
}

func parse(rawURL string) (target, error) {
	u, addr, err := address.Parse(rawURL, schemes, "ws://host:port/path or wss://host/path")
	if err != nil {
		return target{}, err
	}
	if u.Scheme != "ws" && u.Scheme != "wss" {
		return target{}, errors.New("package transport dials " + u.Scheme)
	}
	return target{url: u, addr: addr, secure: u.Scheme == "wss"}, nil
}

// dial goes through all steps under one deadline.
func (o *Options) dial(ctx context.Context, t target) (net.Conn, error) {
	ctx, cancel := o.WithDeadline(ctx)
	defer cancel()
	t, header, err := o.fresh(ctx, t)
	if err != nil {
		return nil, err
	}
	below := o.Options
	below.Timeout = -1 // ctx has the deadline
	raw, err := transport.DialStream(ctx, t.addr, t.secure, &below)
	if err != nil {
		return nil, err
	}
	step := transport.StepTime{Step: transport.StepWebSocket, Addr: t.addr}
	start := time.Now()
	conn, err := o.upgrade(ctx, raw, t, header)
	if err != nil {
		raw.Close()
		step.Err = transport.Failed(ctx, transport.StepWebSocket, t.addr, err)
	}
	if o.OnStep != nil {
		step.Took = time.Since(start)
		o.OnStep(step)
	}
	return conn, step.Err
}

// fresh asks for the URL and the headers of one connection.
func (o *Options) fresh(ctx context.Context, t target) (target, http.Header, error) {
	if o.URL != nil {
		rawURL, err := o.URL(ctx)
		if err != nil {
			return t, nil, transport.Failed(ctx, transport.StepParse, t.addr, err)
		}
		if t, err = parse(rawURL); err != nil {
			return t, nil, &transport.DialError{Step: transport.StepParse, Err: err}
		}
	}
	if o.Header == nil {
		return t, nil, nil
	}
	header, err := o.Header(ctx)
	if err != nil {
		return t, nil, transport.Failed(ctx, transport.StepWebSocket, t.addr, err)
	}
	if err := checkHeader(header); err != nil {
		return t, nil, &transport.DialError{Step: transport.StepParse, Addr: t.addr, Err: err}
	}
	return t, header, nil
}
