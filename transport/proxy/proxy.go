// Package proxy connects through a proxy, with HTTP CONNECT or SOCKS5. It works with all schemes of
// packages transport and transport/ws.
//
//	opts.NetDial, err = proxy.Dialer("socks5://user:password@proxy.example.com", nil)
//
// The proxy resolves the server's host name. TLS is end to end: the proxy sees only host and port,
// and the server's certificate is verified as usual. Unix sockets are dialed directly.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/transport/internal/address"
)

// NetDial opens a connection. It is the type of transport.Options.NetDial.
type NetDial = func(ctx context.Context, network, addr string) (net.Conn, error)

// Options are settings that are not part of the URL of a proxy. A nil *Options and the zero value
// mean the defaults.
type Options struct {
	// NetDial opens the connection to the proxy, or to a server that is not reached through the
	// proxy. If nil, a net.Dialer is used.
	NetDial NetDial

	// NoProxy is a comma-separated list of servers that are dialed without the proxy: a domain
	// name, which includes its subdomains; .name for the subdomains only; an IP address; or a
	// network such as 10.0.0.0/8. Each may be followed by :port to match only that port. "*"
	// matches all servers. If empty, all servers are dialed through the proxy.
	NoProxy string

	// TLS configures the connection to an https proxy. If nil, the roots of the system are trusted
	// and the host name of the proxy's URL is verified.
	TLS *tls.Config
}

// A server is a proxy.
type server struct {
	addr     string // host:port
	secure   bool   // TLS to the proxy itself
	userName string
	password string
	login    bool // whether to use userName and password
	open     func(*server, context.Context, net.Conn, string) error
	opts     Options
}

// Dialer returns a function that dials through the proxy that rawURL names:
//
//	http://host:80       CONNECT, port 80 if not given
//	https://host:443     CONNECT over TLS to the proxy, port 443 if not given
//	socks5://host:1080   SOCKS5, or socks5h, port 1080 if not given
//
// User name and password may precede the host, percent-encoded; errors of this package never
// contain them. The function returns errors of type [*Error].
func Dialer(rawURL string, opts *Options) (NetDial, error) {
	s, err := parse(rawURL)
	if err != nil {
		return nil, errors.New("proxy: " + err.Error())
	}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.NetDial == nil {
		s.opts.NetDial = new(net.Dialer).DialContext
	}
	return s.dial, nil
}

var ports = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

func parse(rawURL string) (*server, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, address.WithoutContent(err)
	}
	port, known := ports[strings.ToLower(u.Scheme)]
	if !known || u.Opaque != "" {
		return nil, errors.New("the URL is not like http://host:port, https://host:port or socks5://host:port")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the URL has a path, a query or a fragment, which no proxy has: percent-encode / as %2F, ? as %3F and # as %23")
	}
	s := &server{secure: u.Scheme == "https", open: (*server).connectHTTP}
	if s.addr, err = address.HostPort(u, port); err != nil {
		return nil, err
	}
	if u.User != nil {
		s.login, s.userName = true, u.User.Username()
		s.password, _ = u.User.Password()
	}
	if strings.HasPrefix(u.Scheme, "socks5") {
		s.open = (*server).connectSOCKS
		if s.login && (s.userName == "" || len(s.userName) > 255 || len(s.password) > 255) {
			return nil, errors.New("user name and password of SOCKS5 have at most 255 bytes each, and the user name one at least") // RFC 1929
		}
	} else if strings.Contains(s.userName, ":") {
		return nil, errors.New("the user name of an HTTP proxy cannot hold a colon") // RFC 7617
	}
	return s, nil
}

func (s *server) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if !slices.Contains([]string{"tcp", "tcp4", "tcp6"}, network) || matches(s.opts.NoProxy, addr) {
		return s.opts.NetDial(ctx, network, addr)
	}
	if strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, &Error{Addr: s.addr, Err: errors.New("the server's address holds a character that no host name has"), code: "options"}
	}
	conn, err := s.opts.NetDial(ctx, network, s.addr)
	if err != nil {
		return nil, &Error{Addr: s.addr, Err: err, code: "proxy-unreachable"}
	}
	tunnel, err := s.tunnel(ctx, conn, addr)
	if err != nil {
		conn.Close()
		return nil, s.failed(ctx, err)
	}
	return tunnel, nil
}

// tunnel makes the proxy connect conn to addr. On failure the caller must close conn.
func (s *server) tunnel(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	if s.secure {
		secure, err := s.handshake(ctx, conn)
		if err != nil {
			return nil, err
		}
		conn = secure
	}
	stop := interrupt(ctx, conn)
	err := s.open(s, ctx, conn, addr)
	if stopped := stop(); err == nil && !stopped {
		err = ctx.Err()
	}
	return conn, err
}

func (s *server) handshake(ctx context.Context, conn net.Conn) (net.Conn, error) {
	config := s.opts.TLS.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(s.addr)
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	secure := tls.Client(conn, config)
	return secure, secure.HandshakeContext(ctx)
}

// FromEnvironment is like [Dialer], with the proxy in the environment variable ALL_PROXY or else
// HTTPS_PROXY, or their lower-case names. Without a scheme it is an HTTP proxy. Servers in
// NO_PROXY, localhost and loopback addresses are dialed without the proxy. If no proxy is set,
// FromEnvironment returns opts.NetDial, which may be nil; transport.Options accepts that. The
// environment is read when FromEnvironment is called.
func FromEnvironment(opts *Options) (NetDial, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	for _, name := range []string{"ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"} {
		rawURL := getenv(name)
		if rawURL == "" {
			continue
		}
		if !strings.Contains(rawURL, "://") {
			rawURL = "http://" + rawURL
		}
		o.NoProxy = strings.Join([]string{loopback, o.NoProxy, getenv("NO_PROXY"), getenv("no_proxy")}, ",")
		dial, err := Dialer(rawURL, &o)
		if err != nil {
			return nil, errors.New(err.Error() + " (from the environment: " + name + ")")
		}
		return dial, nil
	}
	return o.NetDial, nil
}
