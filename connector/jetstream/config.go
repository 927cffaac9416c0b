package jetstream

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

const (
	reconnectWait = 500 * time.Millisecond
	secretTimeout = 10 * time.Second // for reading one
)

// Dial connects to one of the NATS servers in n, with its TLS settings and credentials. The
// connection reconnects by itself, without limit; secrets with a source are read again each time.
// The name is shown to operators of the servers.
func Dial(n *connector.NATS, name string, log *slog.Logger) (*nats.Conn, error) {
	log = logger(log)
	opts := []nats.Option{
		nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.IgnoreAuthErrorAbort(),
		nats.ConnectHandler(func(nc *nats.Conn) { log.Info("connected to NATS", "server", nc.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("connected to NATS", "server", nc.ConnectedUrlRedacted()) }),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil { // otherwise it was closed
				log.Warn("connection to NATS lost", "error", err.Error())
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("an error of NATS", "error", err.Error())
		}),
	}
	if n.TLSServerCert != "" || n.TLSClientCert != "" {
		t, err := tlsOf(n)
		if err != nil {
			return nil, fmt.Errorf("jetstream: %w", err)
		}
		opts = append(opts, nats.Secure(t))
	}
	opts = append(opts, identity(n, log)...)
	nc, err := nats.Connect(strings.Join(n.URLs, ","), opts...)
	if err != nil {
		return nil, fmt.Errorf("jetstream: NATS server %s: %w", servers(n.URLs), err)
	}
	return nc, nil
}

// servers joins URLs. They contain no credentials, which Check refuses.
func servers(urls []string) string {
	shown := make([]string, len(urls))
	for i, u := range urls {
		shown[i] = u[strings.LastIndexByte(u, '@')+1:]
	}
	return strings.Join(shown, ", ")
}

// tlsOf reads the certificates. A server's certificate must be valid for the host of its URL.
func tlsOf(n *connector.NATS) (*tls.Config, error) {
	key := n.TLSClientKey
	if n.TLSClientKeyFrom != nil {
		text, err := read(n.TLSClientKeyFrom)
		if err != nil {
			return nil, err
		}
		key = connector.Secret(text)
	}
	o := &transport.TLSOptions{ServerCert: transport.File(n.TLSServerCert), ClientCert: transport.File(n.TLSClientCert), ClientKey: transport.File(key)}
	t, err := o.Config("", nil)
	if err != nil {
		return nil, err
	}
	t.ServerName = "" // the library sets it for each server
	return t, nil
}

// identity returns the options that authenticate the client.
func identity(n *connector.NATS, log *slog.Logger) []nats.Option {
	now := func(text connector.Secret, from *connector.SecretSource) string {
		if from == nil {
			return string(text)
		}
		s, err := read(from)
		if err != nil {
			log.Error("a secret for NATS cannot be read", "error", err.Error())
		}
		return s
	}
	switch {
	case n.Credentials != "" || n.CredentialsFrom != nil:
		return []nats.Option{nats.UserJWT(
			func() (string, error) { return nkeys.ParseDecoratedJWT([]byte(now(n.Credentials, n.CredentialsFrom))) },
			func(nonce []byte) ([]byte, error) {
				pair, err := nkeys.ParseDecoratedNKey([]byte(now(n.Credentials, n.CredentialsFrom)))
				if err != nil {
					return nil, err
				}
				defer pair.Wipe()
				return pair.Sign(nonce)
			})}
	case n.Token != "" || n.TokenFrom != nil:
		return []nats.Option{nats.TokenHandler(func() string { return now(n.Token, n.TokenFrom) })}
	case n.UserName != "":
		return []nats.Option{nats.UserInfoHandler(func() (string, string) { return n.UserName, now(n.Password, n.PasswordFrom) })}
	}
	return nil
}

func read(from *connector.SecretSource) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), secretTimeout)
	defer cancel()
	return from.Read(ctx)
}

// StreamOf returns the configuration of the stream in n.
func StreamOf(n *connector.NATS) Config {
	return Config{
		Name: n.Stream, Prefix: n.Prefix, Partitions: n.Partitions, Replicas: n.Replicas, MaxBytes: int64(n.MaxBytes),
		Keep: given(n.Keep), Duplicates: given(n.Duplicates), AckTimeout: given(n.AckTimeout),
	}
}

// GatewayOf returns the options for a gateway into the stream of n, which must be valid.
func GatewayOf(n *connector.NATS, log *slog.Logger) GatewayOptions {
	o := GatewayOptions{Logger: log}
	if n.Strict {
		o.Order = OrderStrict
	}
	if n.Key != "" && n.Key != keyTopic {
		o.Key, _ = flow.ParseTemplate(n.Key) // validated by Check
	}
	if n.MessageID != "" {
		o.MessageID, _ = flow.ParseTemplate(n.MessageID)
	}
	return o
}

// keyTopic is the value of Key for the topic.
const keyTopic = "topic"

// WorkersOf returns the configuration of the leases by which workers share the partitions of s.
func WorkersOf(n *connector.NATS, s *Stream, log *slog.Logger) LeaseConfig {
	l := leasesOf(n, log)
	l.Group, l.Count = s.cfg.Name+"-"+cmp.Or(n.Group, DefaultGroup), s.cfg.Partitions
	return l
}

// DivisionOf returns the NATS servers and the configuration of the leases for a configuration whose
// consumers have a [connector.Partition] with a Lease.
func DivisionOf(cfg *connector.Config, log *slog.Logger) (*connector.NATS, LeaseConfig) {
	p := cfg.Lease()
	n := cfg.NATS
	if p.Lease != connector.LeaseByNATS {
		n = &connector.NATS{URLs: []string{p.Lease}}
	}
	l := leasesOf(n, log)
	l.Group, l.Count = divisionGroup(&cfg.General), p.Count
	return n, l
}

// divisionGroup returns the lease group for a client id at a Server.
func divisionGroup(g *connector.General) string {
	sum := sha256.Sum256([]byte(g.BrokerURL + "\x00" + g.ClientID))
	id := strings.Map(func(r rune) rune {
		if plainName(string(r)) {
			return r
		}
		return '_'
	}, g.ClientID)
	return fmt.Sprintf("%.100s-%s", id, hex.EncodeToString(sum[:6]))
}

func leasesOf(n *connector.NATS, log *slog.Logger) LeaseConfig {
	return LeaseConfig{Bucket: n.Bucket, TTL: given(n.LeaseTTL), Replicas: n.Replicas, Logger: log}
}

func given(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}

// Temporary reports whether an error of Dial, Open or NewLeases may resolve itself, because servers
// are unavailable or have no leader.
func Temporary(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		const noPeers = 10005 // fewer servers than replicas are available
		return api.Code == 503 || api.ErrorCode == noPeers
	}
	for _, target := range []error{
		nats.ErrNoServers, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrReconnectBufExceeded,
		nats.ErrStaleConnection, context.DeadlineExceeded, jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	var network interface{ Timeout() bool } // net.Error
	return errors.As(err, &network)
}
