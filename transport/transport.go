// Package transport opens Network Connections for MQTT (section 4.2) over TCP, TLS and unix
// sockets. Package transport/ws adds WebSocket, and package transport/proxy connects through a
// proxy.
//
//	dial, err := transport.Dialer("mqtts://broker.example.com:8883", nil)
//
// Every Network Connection is a net.Conn that carries an ordered, lossless stream of bytes
// [MQTT-7.1.2-1]. One goroutine may read while another writes. After a deadline was exceeded the
// connection cannot be used any more and must be closed. All connections have the method
// CloseWrite() error, which tells the server that nothing more will be sent; what the server still
// sends can be read.
//
// The package links crypto/tls. A program that needs only TCP can use a net.Dialer instead.
package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/mqtt311/mqtt311/transport/internal/address"
)

// DefaultTimeout is the default of Options.Timeout.
const DefaultTimeout = 30 * time.Second

// Options are settings that are not part of a URL. A nil *Options and the zero value mean the
// defaults. Functions of this package do not modify them.
type Options struct {
	// TLS configures mqtts and wss. If nil, the roots of the system are trusted and the host name
	// of the URL is verified.
	TLS *TLSOptions

	// Timeout limits all steps together, from resolving the host name to the last handshake. If
	// zero, DefaultTimeout. If negative, only the context limits them.
	Timeout time.Duration

	// NetDial opens the TCP connection or unix socket. It must return when its context is done. TLS
	// and WebSocket run on top of the connection and always verify the host of the URL. If nil, a
	// net.Dialer is used, which tries IPv6 and IPv4 in parallel.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)

	// OnStep, if not nil, is called after each step on the goroutine that dials, with the duration
	// of the step and its error.
	OnStep func(StepTime)

	// Logger logs warnings, such as a client certificate that expires soon or a server that is not
	// verified, but never secrets. If nil, nothing is logged.
	Logger *slog.Logger
}

// Dial opens a Network Connection to the server that rawURL names:
//
//	mqtt://host:1883    or tcp:    MQTT over TCP, port 1883 if not given
//	mqtts://host:8883   or tls, ssl: over TLS, port 8883 if not given
//	unix:///path        or unix:path: over a unix socket
//
// The error is a [*DialError].
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
		return nil, &DialError{Step: StepParse, Err: err}
	}
	return dialer(t, opts)
}

// An Address is the address of a server, for programs that have its parts and would otherwise have
// to build a URL.
type Address struct {
	Host string // a name or an IP address, without brackets
	Port int
	TLS  bool

	Unix string // the path of a unix socket; if set, the fields above are ignored
}

// AddressDialer is like [Dialer], with an [Address] instead of a URL.
func AddressDialer(a Address, opts *Options) (func(context.Context) (net.Conn, error), error) {
	if a.Unix != "" {
		return dialer(target{network: "unix", addr: a.Unix}, opts)
	}
	hostPort, err := address.Join(a.Host, a.Port)
	if err != nil {
		return nil, &DialError{Step: StepParse, Err: err}
	}
	return dialer(target{network: "tcp", addr: hostPort, secure: a.TLS}, opts)
}

func dialer(t target, opts *Options) (func(context.Context) (net.Conn, error), error) {
	o := opts.orDefault()
	if err := o.check(); err != nil {
		return nil, &DialError{Step: StepParse, Addr: t.addr, Err: err}
	}
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := o.deadline(ctx)
		defer cancel()
		conn, err := o.dial(ctx, t)
		if err != nil {
			return nil, err
		}
		if t.secure {
			return conn, nil
		}
		return &plainConn{Conn: conn, addr: t.addr}, nil
	}, nil
}

// DialStream opens a TCP connection to addr, a host:port, with TLS if secure, for protocols such as
// WebSocket that MQTT runs on top of.
func DialStream(ctx context.Context, addr string, secure bool, opts *Options) (net.Conn, error) {
	o := opts.orDefault()
	if err := o.check(); err != nil {
		return nil, &DialError{Step: StepParse, Addr: addr, Err: err}
	}
	ctx, cancel := o.deadline(ctx)
	defer cancel()
	return o.dial(ctx, target{network: "tcp", addr: addr, secure: secure})
}

// Check returns an error if the options are invalid. It reads no files.
func (o *Options) Check() error { return o.orDefault().check() }

func (o Options) check() error {
	if o.TLS == nil {
		return nil
	}
	return o.TLS.check()
}

// orDefault returns a copy that is independent of later changes by the caller.
func (o *Options) orDefault() Options {
	if o == nil {
		return Options{}
	}
	c := *o
	c.TLS = o.TLS.clone()
	return c
}

// WithDeadline returns a copy of ctx that is canceled when the Timeout of the options has passed.
// The caller must call the CancelFunc.
func (o *Options) WithDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return o.orDefault().deadline(ctx)
}

func (o Options) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	switch {
	case o.Timeout < 0:
		return context.WithCancel(ctx)
	case o.Timeout == 0:
		return context.WithTimeout(ctx, DefaultTimeout)
	}
	return context.WithTimeout(ctx, o.Timeout)
}

func (o Options) dial(ctx context.Context, t target) (net.Conn, error) {
	conn, err := o.connect(ctx, t)
	if err != nil || !t.secure {
		return conn, err
	}
	return o.handshake(ctx, conn, t.addr)
}

// connect opens the TCP connection or unix socket. [net.Dialer] implements Happy Eyeballs (RFC
// 6555).
func (o Options) connect(ctx context.Context, t target) (net.Conn, error) {
	netDial, watch := o.NetDial, &stopwatch{start: time.Now()}
	if netDial == nil {
		netDial = (&net.Dialer{ControlContext: watch.control(o.OnStep)}).DialContext
	}
	if err := ctx.Err(); err != nil {
		return nil, Failed(ctx, StepTCP, t.addr, err)
	}
	conn, err := netDial(ctx, t.network, t.addr)
	if err == nil && conn == nil {
		err = errors.New("the NetDial function returned no connection and no error")
	}
	if err != nil {
		failed := Failed(ctx, StepTCP, t.addr, err)
		watch.tell(o, t, failed)
		return nil, failed
	}
	watch.tell(o, t, nil)
	return conn, nil
}
