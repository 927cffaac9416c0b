package paho

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
)

// attempts is the state of connecting in a life. It belongs to the goroutine of its client that
// connects. The event handler also reads server and last when the client reports that an attempt
// failed; begin waits for that.
type attempts struct {
	next     int    // index of the next server; 0 at the start of a round
	round    int    // counts the rounds since the last connection
	begun    bool   // there was an attempt
	connects uint64 // when the last one began

	// The following fields are about the current attempt.
	options  ClientOptions
	server   *url.URL
	userName string
	password []byte
	last     bool // it is the last of its round

	// Calls of the program that have not returned yet: the next attempt continues to wait for them.
	changes call[ClientOptions]
	logins  call[[2]string]

	told     chan struct{} // capacity 1: events before this attempt were handled
	releases []leftover    // PUBRELs to be completed first: see releaseAll
}

// caughtUp handles the event that an attempt starts.
func (a *attempts) caughtUp() {
	select {
	case a.told <- struct{}{}:
	default:
	}
}

// failed handles the event that the attempt failed.
func (a *attempts) failed(l *life, err error) {
	if a.server == nil {
		return
	}
	l.c.notify(ConnectionNotificationBrokerFailed{a.server, err})
	if a.last {
		l.c.notify(ConnectionNotificationFailed{err})
	}
}

// begin starts an attempt: it chooses the server and returns user name and password. When ctx is
// done, it no longer waits for code of the program.
func (l *life) begin(ctx context.Context) (userName string, password []byte, err error) {
	a := &l.attempts
	select {
	case <-a.told:
	case <-ctx.Done():
		return "", nil, context.Cause(ctx)
	}
	a.server = nil // not chosen yet
	connects := l.client.Stats().Connects
	switch {
	case !a.begun || connects != a.connects:
		a.begun, a.connects, a.next, a.round = true, connects, 0, 0
	case a.next == 0:
		a.round++
	}
	if a.next == 0 {
		if err := l.beginRound(ctx, connects > 0); err != nil {
			return "", nil, err
		}
	}
	a.options = l.c.current()
	if len(a.options.Servers) == 0 {
		return "", nil, errors.New("paho: no server is left")
	}
	a.server = a.options.Servers[a.next]
	a.next = (a.next + 1) % len(a.options.Servers) // Servers change only at the start of a round
	a.last = a.next == 0
	a.userName, a.password, err = a.login(ctx)
	return a.userName, a.password, err
}

// beginRound notifies the program that a round of attempts starts.
func (l *life) beginRound(ctx context.Context, again bool) error {
	c, o := l.c, l.c.current()
	if again && o.OnReconnecting != nil {
		changed, err := l.attempts.changes.await(ctx, func() ClientOptions {
			o := o
			o.OnReconnecting(c, &o)
			return o
		})
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.options = changed
		c.mu.Unlock()
	}
	c.notify(ConnectionNotificationConnecting{again, l.attempts.round})
	return nil
}

// login returns user name and password for CONNECT. A password is not sent without a user name.
func (a *attempts) login(ctx context.Context) (userName string, password []byte, err error) {
	o := &a.options
	user, secret := o.Username, o.Password
	if in := a.server.User; in != nil {
		user = in.Username()
		if p, ok := in.Password(); ok {
			secret = p
		}
	}
	if ask := o.CredentialsProvider; ask != nil {
		answer, err := a.logins.await(ctx, func() [2]string {
			user, secret := ask()
			return [2]string{user, secret}
		})
		if err != nil {
			return "", nil, err
		}
		user, secret = answer[0], answer[1]
	}
	switch {
	case user == "":
		if secret != "" {
			logf(WARN, CLI, "the password is not sent: there is no user name")
		}
		return "", nil, nil
	case secret == "":
		return user, nil, nil
	}
	return user, []byte(secret), nil
}

// dial opens the connection of an attempt.
func (l *life) dial(ctx context.Context) (net.Conn, error) {
	a := &l.attempts
	server, tlsConfig := a.server, a.options.TLSConfig.Clone()
	if choose := a.options.OnConnectAttempt; choose != nil {
		var err error
		offered := tlsConfig
		if tlsConfig, err = await(ctx, func() *tls.Config { return choose(server, offered) }, nil); err != nil {
			return nil, err
		}
	}
	l.c.notify(ConnectionNotificationBroker{server})
	if len(a.releases) > 0 {
		conn, err := a.open(ctx, tlsConfig.Clone())
		if err != nil {
			return nil, err
		}
		if err := a.releaseAll(ctx, conn); err != nil {
			return nil, err
		}
	}
	return a.open(ctx, tlsConfig)
}

// open opens a connection to the server, with the program's function if there is one.
func (a *attempts) open(ctx context.Context, tlsConfig *tls.Config) (net.Conn, error) {
	open := a.options.CustomOpenConnectionFn
	if open == nil {
		return openConnection(ctx, a.server, tlsConfig, &a.options)
	}
	server, o := a.server, a.options
	o.TLSConfig = tlsConfig
	type opened struct {
		conn net.Conn
		err  error
	}
	got, err := await(ctx, func() opened {
		conn, err := open(server, o)
		return opened{conn, err}
	}, func(late opened) {
		if late.conn != nil {
			late.conn.Close()
		}
	})
	if err != nil {
		return nil, err
	}
	return got.conn, got.err
}

// A call is a call of a function of the program. Only one runs at a time.
type call[T any] struct {
	result chan T // nil if none is running
}

// await returns the result of f, or an error if ctx is done first. The next await then waits for
// the same call.
func (c *call[T]) await(ctx context.Context, f func() T) (T, error) {
	if c.result == nil {
		result := make(chan T, 1)
		c.result = result
		go func() { result <- f() }()
	}
	select {
	case r := <-c.result:
		c.result = nil
		return r, nil
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// await calls f, a function of the program, and returns its result, or an error if ctx is done
// first. A later result is passed to late, unless that is nil.
func await[T any](ctx context.Context, f func() T, late func(T)) (T, error) {
	result := make(chan T, 1)
	go func() { result <- f() }()
	select {
	case r := <-result:
		return r, nil
	case <-ctx.Done():
		if late != nil {
			go func() { late(<-result) }()
		}
		var none T
		return none, context.Cause(ctx)
	}
}
