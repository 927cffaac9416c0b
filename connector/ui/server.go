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

// Options are what a page is about and where it is served.
type Options struct {
	// File is the configuration. It need not be there yet.
	File string

	// Running is the connector that runs with File; nil if none does.
	Running *connector.Connector

	// Apply applies a configuration to Running. If nil, the page cannot.
	Apply func(context.Context, *connector.Config) (connector.Changes, error)

	// Address is where the page is served. If empty, a free port of 127.0.0.1. Anything but loopback needs TLS.
	Address string

	// TLS has the certificate of the page. If nil, the page is served without TLS.
	TLS *tls.Config

	// Hosts are further names by which browsers may ask for the page, without a port.
	Hosts []string

	// Logger gets every act that the page is used for. If nil, slog.Default().
	Logger *slog.Logger
}

// A Server serves the page. Its methods may be called from several goroutines.
type Server struct {
	opts  Options
	log   *slog.Logger
	token string
	addr  net.Addr
	hosts map[string]bool // that requests may name
	http  *http.Server

	ctx     context.Context // of all requests, until Shutdown
	cancel  context.CancelFunc
	serving sync.WaitGroup
	failed  chan error // why Serve ended, if not because of Shutdown

	handlers map[string]http.Handler // below /api, by method and path
	sessions sessions
	reach    *reach
}

const (
	mostConnections = 64      // for another one the oldest is closed
	maxBody         = 4 << 20 // of a request, in bytes
)

// Start listens and serves the page until Shutdown.
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
		WriteTimeout:      30 * time.Second, // streams have one for each line
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

// Failed returns a channel that gets an error if the page is served no longer, though nobody called Shutdown.
func (s *Server) Failed() <-chan error { return s.failed }

// hostsOf returns what the Host header of a request may be. A page of another site whose name points here is refused.
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

// Addr returns where the page is served.
func (s *Server) Addr() net.Addr { return s.addr }

// URL returns the address of the page with the token, which is a secret: whoever has it may do what the page can do.
// It is in the fragment, which browsers send to nobody.
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

// Shutdown ends the page. Requests that run get until ctx ends; streams end at once. Nothing of the page runs when it
// returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.cancel()
	err := s.http.Shutdown(ctx)
	s.http.Close()
	s.serving.Wait()
	return err
}
