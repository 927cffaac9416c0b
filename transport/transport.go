// Package transport opens the Network Connections that MQTT runs over, section
// 4.2: TCP, TLS and unix sockets. Package transport/ws adds WebSocket, and
// package transport/proxy leads them all through a proxy.
//
//	dial, err := transport.Dialer("mqtts://broker.example.com:8883", nil)
//
// Every kind comes back as a net.Conn that carries the same bytes, an ordered
// and lossless stream [MQTT-7.1.2-1]. One goroutine may read it while another
// writes. Deadlines are there for giving up: after one has passed, close the
// connection. All have the method CloseWrite() error, which tells the server
// that nothing more will come, and lets what it still sends be read.
//
// The package links crypto/tls. A program that needs TCP alone can do with a
// net.Dialer.
package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/mqtt311/mqtt311/transport/internal/address"
)

// DefaultTimeout is the time for all steps together where the options name
// none.
const DefaultTimeout = 30 * time.Second

// Options are what a URL cannot say. A nil *Options and the zero value mean the
// defaults. Functions of this package only read them.
type Options struct {
	// TLS is used by mqtts and by wss. If nil, the roots of the system are
	// trusted, and the host name of the URL is verified.
	TLS *TLSOptions

	// Timeout is the time for all steps together, from the host name to the
	// last handshake. If zero, DefaultTimeout. If negative, there is none but
	// that of the context.
	Timeout time.Duration

	// NetDial opens the TCP connection or the unix socket. If nil, a
	// net.Dialer does, which tries IPv6 and IPv4 side by side. The function
	// must return when the context ends. TLS and WebSocket run on top of what
	// it returns, and verify the host of the URL whatever it does.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)

	// OnStep is told about each step when it has ended, on the goroutine that dials: how
	// long it took, and why it failed. If nil, nobody is.
	OnStep func(StepTime)

	// Logger gets warnings: a client certificate that ends soon, a server that
	// is not verified. If nil, nothing is logged. Secrets never are.
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

// Dialer is [Dial] in two halves: what is wrong with rawURL and opts is found
// at once, and the function that it returns opens a connection with every
// call. It may be called by many goroutines at once.
func Dialer(rawURL string, opts *Options) (func(context.Context) (net.Conn, error), error) {
	t, err := parse(rawURL)
	if err != nil {
		return nil, &DialError{Step: StepParse, Err: err}
	}
	return dialer(t, opts)
}

// An Address is a server in parts, for programs that have them apart. It spares them from
// building a URL.
type Address struct {
	Host string // a name or an IP address, without brackets
	Port int
	TLS  bool

	Unix string // the path of a unix socket; then the fields above are not used
}

// AddressDialer is [Dialer] for a server that is given in parts.
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

// DialStream opens the byte stream that another protocol than MQTT begins on,
// as WebSocket does: TCP to addr, a host:port, and TLS if secure.
func DialStream(ctx context.Context, addr string, secure bool, opts *Options) (net.Conn, error) {
	o := opts.orDefault()
	if err := o.check(); err != nil {
		return nil, &DialError{Step: StepParse, Addr: addr, Err: err}
	}
	ctx, cancel := o.deadline(ctx)
	defer cancel()
	return o.dial(ctx, target{network: "tcp", addr: addr, secure: secure})
}

// Check returns what is wrong with the options before anything is dialled. It
// reads no files.
func (o *Options) Check() error { return o.orDefault().check() }

func (o Options) check() error {
	if o.TLS == nil {
		return nil
	}
	return o.TLS.check()
}

// orDefault returns a copy that later changes of the caller do not reach.
func (o *Options) orDefault() Options {
	if o == nil {
		return Options{}
	}
	c := *o
	c.TLS = o.TLS.clone()
	return c
}

// WithDeadline returns a context that ends when the options' Timeout has
// passed. The caller must call the function to release it.
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

// connect opens the TCP connection or the unix socket. [net.Dialer] does as
// RFC 6555, Happy Eyeballs, says.
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
