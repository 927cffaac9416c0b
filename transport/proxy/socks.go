package proxy

import (
	"context"
	"errors"
	"net"
	"strings"

	"golang.org/x/net/proxy"
)

// connectSOCKS requests a connection (RFC 1928), with authentication by RFC 1929.
func (s *server) connectSOCKS(ctx context.Context, conn net.Conn, addr string) error {
	var login *proxy.Auth
	if s.login {
		login = &proxy.Auth{User: s.userName, Password: s.password}
	}
	dialer, err := proxy.SOCKS5("tcp", s.addr, login, nil)
	if err != nil {
		return err
	}
	// Not Dial, which returns a connection without CloseWrite.
	onConn, ok := dialer.(interface {
		DialWithConn(context.Context, net.Conn, string, string) (net.Addr, error)
	})
	if !ok {
		return errors.New("this version of golang.org/x/net/proxy cannot use an open connection")
	}
	_, err = onConn.DialWithConn(context.WithoutCancel(ctx), conn, "tcp", addr)
	return socksError(err)
}

// socksError classifies err by its text, because the library has no error types.
func socksError(err error) error {
	var op *net.OpError
	if err == nil || !errors.As(err, &op) || op.Op != "socks connect" {
		return err
	}
	var network net.Error
	if errors.As(op.Err, &network) {
		return op.Err
	}
	text := op.Err.Error()
	switch {
	case strings.Contains(text, "authentication"):
		return &Error{Err: errors.New("the SOCKS5 login failed: " + text), code: "proxy-login"}
	case strings.HasPrefix(text, "unknown error "):
		return &Error{Err: errors.New("the proxy refused: " + strings.TrimPrefix(text, "unknown error ")), code: "proxy-refused"}
	case strings.HasPrefix(text, "un"), strings.HasPrefix(text, "non-zero"): // unexpected, unknown, unsupported
		return &Error{Err: errors.New("the answer is not that of a SOCKS5 proxy: " + text), code: "proxy-answer"}
	}
	return op.Err
}
