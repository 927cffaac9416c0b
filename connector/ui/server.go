package ui

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/crowd"
)

// Options configure a Server.
type Options struct {
	// File is the path of the configuration file. It need not exist yet.
	File string

	// Running is the connector that runs with File, or nil if none does.
	Running *connector.Connector

	// Apply applies a configuration to Running. If nil, the page does not offer that.
	Apply func(context.Context, *connector.Config) (connector.Changes, error)

	// Address is the address to listen on, host:port. If empty, a free port of 127.0.0.1 is used.
	// Any but a loopback address requires TLS.
	Address string

	// TLS has the certificate of the server. If nil, the page is served without TLS.
	TLS *tls.Config

	// Hosts are additional host names, without port, under which browsers may request the page.
	Hosts []string

	// Logger logs every action of users of the page. If nil, slog.Default() is used.
	Logger *slog.Logger
}

// A Server serves the page. Its methods are safe for concurrent use.
type Server struct {
	opts  Options
	log   *slog.Logger
	token string
	addr  net.Addr
	hosts map[string]bool // hosts that requests may name
	http  *http.Server

	ctx     context.Context // parent of all requests, until Shutdown
	cancel  context.CancelFunc
	serving sync.WaitGroup
	failed  chan error // why Serve ended, if not because of Shutdown

	handlers map[string]http.Handler // below /api, by method and path
	sessions sessions
	reach    *reach
}

const (
	mostConnections = 64      // if there are more, the oldest is closed
	maxBody         = 4 << 20 // of a request, in bytes
)

// Start returns a Server that serves the page until Shutdown is called.
func Start(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	at, err := netip.ParseAddrPort(l.Addr().String())
	if err == nil && !at.Addr().IsLoopback() && o.TLS == nil {
		err = fmt.Errorf("%s is not a loopback address: other machines reach it, so it needs a certificate and its key", at)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("ui: %w", err)
	}
	s := &Server{opts: o, log: o.Logger, token: rand.Text(), addr: l.Addr(), failed: make(chan error, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.hosts = hostsOf(o, at)
	s.sessions.name = "mqtt311-" + strconv.Itoa(int(at.Port())) // cookies are the same for all ports of a host
	s.sessions.secure = o.TLS != nil
	s.reach = newReach(o.File, o.Running)
	s.routes()
	l = crowd.Limit(l, mostConnections)
	if o.TLS != nil {
		config := o.TLS.Clone()
		config.NextProtos = []string{"http/1.1"}
		l = tls.NewListener(l, config)
	}
	s.http = &http.Server{
		Handler:           s.guard(http.HandlerFunc(s.serve)),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second, // streams set one for each line
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	s.serving.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("ui: %w", err)
		}
	})
	return s, nil
}

// Failed returns a channel that receives an error if the server stops without a call of Shutdown.
func (s *Server) Failed() <-chan error { return s.failed }

// hostsOf returns the allowed values of the Host header. This refuses pages of other sites whose
// name resolves to this server (DNS rebinding).
func hostsOf(o Options, at netip.AddrPort) map[string]bool {
	names := append([]string{at.Addr().String()}, o.Hosts...)
	if at.Addr().IsLoopback() {
		names = append(names, "localhost", "127.0.0.1", "::1")
	}
	standard := uint16(80)
	if o.TLS != nil {
		standard = 443
	}
	hosts := make(map[string]bool)
	for _, name := range names {
		hosts[net.JoinHostPort(name, strconv.Itoa(int(at.Port())))] = true
		if at.Port() == standard {
			hosts[name] = true
		}
	}
	return hosts
}

// Addr returns the address on which the server listens.
func (s *Server) Addr() net.Addr { return s.addr }

// URL returns the URL of the page including the token. The token is a secret: anyone who has it can
// do everything that the page can. It is in the fragment, which browsers do not send.
func (s *Server) URL() string {
	scheme := "http"
	if s.opts.TLS != nil {
		scheme = "https"
	}
	host := s.addr.String()
	if len(s.opts.Hosts) > 0 {
		_, port, _ := net.SplitHostPort(host)
		host = net.JoinHostPort(s.opts.Hosts[0], port)
	}
	return scheme + "://" + host + "/#token=" + s.token
}

// Shutdown stops the server. It ends streams at once and waits for other requests until ctx is
// done. When it returns, nothing of the server is running.
func (s *Server) Shutdown(ctx context.Context) error {
	s.cancel()
	err := s.http.Shutdown(ctx)
	s.http.Close()
	s.serving.Wait()
	return err
}
