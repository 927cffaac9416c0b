package paho

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/proxy"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// ports are the default ports of schemes.
var ports = map[string]int{
	"tcp": 1883, "mqtt": 1883,
	"ssl": 8883, "tls": 8883, "mqtts": 8883, "mqtt+ssl": 8883, "tcps": 8883,
	"ws": 80, "wss": 443,
}

// openConnection opens a connection to a server URL, with the options in o. tlsConfig is used as it
// is and may be nil.
func openConnection(ctx context.Context, server *url.URL, tlsConfig *tls.Config, o *ClientOptions) (net.Conn, error) {
	dialer := o.Dialer
	if dialer == nil {
		dialer = &net.Dialer{Timeout: defaultTimeout}
	}
	opts := transport.Options{
		TLS:     &transport.TLSOptions{Base: tlsConfig},
		Timeout: -1, // ctx has it
		NetDial: dialer.DialContext,
		Logger:  loggerFor(NET),
	}
	addr, err := addressOf(server)
	if err != nil {
		return nil, err
	}
	if addr.Unix != "" {
		return open(ctx)(transport.AddressDialer(addr, &opts))
	}
	if server.Scheme != "ws" && server.Scheme != "wss" {
		if opts.NetDial, err = throughSOCKS(opts.NetDial); err != nil {
			return nil, err
		}
		return open(ctx)(transport.AddressDialer(addr, &opts))
	}
	if opts.NetDial, err = o.throughProxy(server, opts.NetDial); err != nil {
		return nil, err
	}
	header := o.HTTPHeaders
	return open(ctx)(ws.AddressDialer(addr, server, &ws.Options{
		Options: opts,
		Header:  func(context.Context) (http.Header, error) { return header, nil },
	}))
}

// open returns a function that calls a dial function, if there is one.
func open(ctx context.Context) func(func(context.Context) (net.Conn, error), error) (net.Conn, error) {
	return func(dial func(context.Context) (net.Conn, error), err error) (net.Conn, error) {
		if err != nil {
			return nil, err
		}
		return dial(ctx)
	}
}

// addressOf returns the address in a URL. A path is used only for WebSocket and unix.
func addressOf(server *url.URL) (transport.Address, error) {
	if server.Scheme == "unix" {
		path := server.Host + server.Path // unix://socket.sock has its path in place of the host
		if path == "" {
			path = server.Opaque
		}
		if path == "" {
			return transport.Address{}, fmt.Errorf("paho: the URL has no path of a socket: write it like unix:///path")
		}
		return transport.Address{Unix: path}, nil
	}
	port, ok := ports[server.Scheme]
	if !ok {
		return transport.Address{}, fmt.Errorf("paho: unknown scheme %q: tcp, mqtt, ssl, tls, mqtts, tcps, ws, wss and unix are known", server.Scheme)
	}
	if p := server.Port(); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil {
			return transport.Address{}, fmt.Errorf("paho: port %q is no number", p)
		}
		port = n
	}
	host := server.Hostname()
	if host == "" {
		host = "127.0.0.1"
	}
	return transport.Address{Host: host, Port: port, TLS: secure(server.Scheme)}, nil
}

func secure(scheme string) bool {
	switch scheme {
	case "ssl", "tls", "mqtts", "mqtt+ssl", "tcps", "wss":
		return true
	}
	return false
}

// throughSOCKS dials through the SOCKS5 proxy in ALL_PROXY, if set, as paho.mqtt.golang does for
// all schemes except ws and wss.
func throughSOCKS(dial proxy.NetDial) (proxy.NetDial, error) {
	via := env("ALL_PROXY")
	switch scheme, _, _ := strings.Cut(via, "://"); strings.ToLower(scheme) {
	case "socks5", "socks5h":
	default:
		return dial, nil
	}
	return proxy.Dialer(via, &proxy.Options{NetDial: dial, NoProxy: env("NO_PROXY")})
}

// env returns an environment variable, whose name may also be in lower case.
func env(name string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return os.Getenv(strings.ToLower(name))
}

// throughProxy dials a WebSocket through the proxy in the options or the environment, if there is
// one.
func (o *ClientOptions) throughProxy(server *url.URL, dial proxy.NetDial) (proxy.NetDial, error) {
	choose := http.ProxyFromEnvironment
	if o.WebsocketOptions != nil && o.WebsocketOptions.Proxy != nil {
		choose = o.WebsocketOptions.Proxy
	}
	asked := &url.URL{Scheme: "http", Host: server.Host, Path: server.Path, RawQuery: server.RawQuery}
	if secure(server.Scheme) {
		asked.Scheme = "https"
	}
	via, err := choose(&http.Request{Method: http.MethodGet, URL: asked, Header: make(http.Header), Host: server.Host})
	if err != nil || via == nil {
		return dial, err
	}
	return proxy.Dialer(via.String(), &proxy.Options{NetDial: dial})
}

// NewWebsocket opens a WebSocket connection for MQTT to host, a ws or wss URL. If timeout is zero,
// it is 10 seconds.
func NewWebsocket(host string, tlsc *tls.Config, timeout time.Duration, requestHeader http.Header, options *WebsocketOptions) (net.Conn, error) {
	server, err := url.Parse(host)
	if err != nil {
		return nil, fmt.Errorf("paho: NewWebsocket: not a URL")
	}
	if server.Scheme != "ws" && server.Scheme != "wss" {
		return nil, fmt.Errorf("paho: NewWebsocket: the scheme is %q, not ws or wss", server.Scheme)
	}
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return openConnection(ctx, server, tlsc.Clone(), &ClientOptions{HTTPHeaders: requestHeader, WebsocketOptions: options})
}
