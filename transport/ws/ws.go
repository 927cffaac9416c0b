// Package ws opens Network Connections for MQTT over WebSocket (section 6), with or without TLS. It
// uses gorilla/websocket.
//
//	dial, err := ws.Dialer("wss://broker.example.com/mqtt", nil)
//
// A Network Connection is a net.Conn that carries the same bytes as TCP would. As with package
// transport, one goroutine may read while another writes, a connection whose deadline was exceeded
// must be closed, and CloseWrite tells the server, by a close frame, that nothing more will be
// sent.
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

// MaxPacket is the size of the largest MQTT Control Packet in bytes: a fixed header of 5 bytes and
// the largest Remaining Length (section 2.2.3).
const MaxPacket = 5 + 268_435_455

// Options are settings that are not part of a URL. A nil *Options and the zero value mean the
// defaults.
type Options struct {
	// Options are the options for TCP and TLS. Timeout covers all steps, including the WebSocket
	// handshake.
	transport.Options

	// Header returns headers to add to the HTTP request. It is called for each connection, so that
	// they can contain a fresh token, and must return when its context is done. If nil, nothing is
	// added.
	Header func(context.Context) (http.Header, error)

	// URL returns the URL to dial. It is called for each connection, so that the URL can have a
	// fresh signature, and must return when its context is done. If nil, the URL passed to Dialer
	// is used.
	URL func(context.Context) (string, error)

	// MaxMessage is the size of the largest WebSocket message that is accepted, in bytes. It does
	// not affect memory use. If zero, MaxPacket. If negative, there is no limit.
	MaxMessage int64
}

var schemes = address.Schemes{
	"ws": "80", "wss": "443",
	"mqtt": "1883", "tcp": "1883", "mqtts": "8883", "tls": "8883", "ssl": "8883", "unix": "", // for an error that names the right package
}

// Dial opens a Network Connection to rawURL, which has the form ws://host:port/path?query, or wss
// for TLS. The default port is 80, or 443 for wss. The error is a [*transport.DialError].
func Dial(ctx context.Context, rawURL string, opts *Options) (net.Conn, error) {
	dial, err := Dialer(rawURL, opts)
	if err != nil {
		return nil, err
	}
	return dial(ctx)
}

// Dialer checks rawURL and opts and returns a function that opens a connection with each call, as
// [Dial] does. The function is safe for concurrent use.
func Dialer(rawURL string, opts *Options) (func(context.Context) (net.Conn, error), error) {
	t, err := parse(rawURL)
	if err != nil {
		return nil, &transport.DialError{Step: transport.StepParse, Err: err}
	}
	return dialer(t, opts)
}

// AddressDialer is like [Dialer], with an Address instead of a URL. The path and query of the HTTP
// request are those of uri, whose other fields are ignored.
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

// A target is a parsed URL.
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

// dial performs all steps under one deadline.
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

// fresh calls Options.URL and Options.Header for a connection.
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
