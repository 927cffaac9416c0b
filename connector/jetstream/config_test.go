package jetstream_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	internalnats "github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/nats-io/nats.go"
	natsjetstream "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A password is read at every attempt to connect, and the error says so if a server refuses it.
func TestDialWithPassword(t *testing.T) {
	t.Parallel()
	server := internalnats.Start(t, internalnats.Options{Config: `accounts {
  PLANT: { jetstream: enabled, users: [ { user: line, password: first }, { user: line2, password: second } ] }
  MQTT: { jetstream: enabled, users: [ { user: anybody } ] }
}
no_auth_user: anybody`})
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("wrong\n"), 0o600))
	n := &connector.NATS{URLs: []string{server.Client}, UserName: "line", PasswordFrom: &connector.SecretSource{File: file}}
	_, err := jetstream.Dial(n, "test", nil)
	require.ErrorIs(t, err, nats.ErrAuthorization)
	require.False(t, jetstream.Temporary(err))
	require.NotContains(t, err.Error(), "wrong")
	require.NoError(t, os.WriteFile(file, []byte("first\n"), 0o600))
	nc, err := jetstream.Dial(n, "test", nil)
	require.NoError(t, err)
	nc.Close()
}

// The certificates in a configuration are used in both directions; one for another name or
// authority is refused.
func TestDialOverTLS(t *testing.T) {
	t.Parallel()
	ca := testcert.Authority(t)
	dir := t.TempDir()
	caFile, _ := ca.Write(t, dir, "ca")
	cert, key := ca.Issue(t).Write(t, dir, "server")
	clientCert, clientKey := ca.Issue(t, testcert.ForClients(), testcert.CommonName("line")).Write(t, dir, "client")
	server := internalnats.Start(t, internalnats.Options{Config: fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", cert, key, caFile)})
	url := strings.Replace(server.Client, "nats://", "tls://", 1)
	n := connector.NATS{URLs: []string{url}, TLSServerCert: caFile, TLSClientCert: clientCert, TLSClientKey: connector.Secret(clientKey)}
	nc, err := jetstream.Dial(&n, "test", nil)
	require.NoError(t, err)
	nc.Close()
	without := n
	without.TLSServerCert = ""
	_, err = jetstream.Dial(&without, "test", nil)
	require.ErrorContains(t, err, "certificate")
	without = n
	without.TLSClientCert, without.TLSClientKey = "", ""
	_, err = jetstream.Dial(&without, "test", nil)
	require.Error(t, err)
	n.TLSClientKey, n.TLSClientKeyFrom = "", &connector.SecretSource{Exec: []string{"cat", clientKey}}
	nc, err = jetstream.Dial(&n, "test", nil)
	require.NoError(t, err)
	nc.Close()
}

// An unreachable server is a temporary error; a stream that does not fit is not.
func TestTemporary(t *testing.T) {
	t.Parallel()
	_, err := jetstream.Dial(&connector.NATS{URLs: []string{"nats://127.0.0.1:1"}}, "test", nil)
	require.True(t, jetstream.Temporary(err), "%v", err)
	_, err = jetstream.Dial(&connector.NATS{URLs: []string{"nats://line:hunter2@127.0.0.1:1"}}, "test", nil)
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.NotContains(t, err.Error(), "hunter2")
	for _, err := range []error{context.DeadlineExceeded, nats.ErrTimeout, &natsjetstream.APIError{Code: 503}, &natsjetstream.APIError{Code: 400, ErrorCode: 10005}} {
		require.True(t, jetstream.Temporary(fmt.Errorf("x: %w", err)), "%v", err)
	}
	for _, err := range []error{nats.ErrAuthorization, &natsjetstream.APIError{Code: 500, ErrorCode: 10047}, fmt.Errorf("x")} {
		require.False(t, jetstream.Temporary(err), "%v", err)
	}
}

// The settings of a configuration reach the stream, the gateway and the leases.
func TestConfigurationOfAStream(t *testing.T) {
	n := &connector.NATS{
		Stream: "PLANT", Prefix: "p", Partitions: 4, Replicas: 3, MaxBytes: 1 << 20, Keep: new(time.Hour), Duplicates: new(time.Minute), AckTimeout: new(time.Second),
		Strict: true, Key: "${payload.device}", MessageID: "${payload.id}", Bucket: "b", LeaseTTL: new(7 * time.Second),
	}
	require.Equal(t, jetstream.Config{
		Name: "PLANT", Prefix: "p", Partitions: 4, Replicas: 3, MaxBytes: 1 << 20, Keep: time.Hour, Duplicates: time.Minute, AckTimeout: time.Second,
	}, jetstream.StreamOf(n))
	o := jetstream.GatewayOf(n, nil)
	require.Equal(t, jetstream.OrderStrict, o.Order)
	key, err := o.Key.Text(&flow.Message{Payload: flow.Entity{Blob: []byte(`{"device": "d7"}`)}})
	require.NoError(t, err)
	require.Equal(t, "d7", key)
	id, err := o.MessageID.Text(&flow.Message{Payload: flow.Entity{Blob: []byte(`{"id": "r1"}`)}})
	require.NoError(t, err)
	require.Equal(t, "r1", id)
	require.Nil(t, jetstream.GatewayOf(&connector.NATS{Key: "topic"}, nil).Key)
	require.Nil(t, jetstream.GatewayOf(&connector.NATS{}, nil).MessageID)

	cfg := &connector.Config{
		General:   connector.General{BrokerURL: "h:1883", ClientID: "line 7/α"},
		NATS:      n,
		Consumers: map[string]connector.ConsumerParams{"in": {Partition: &connector.Partition{Count: 8, Lease: connector.LeaseByNATS}}},
	}
	servers, leases := jetstream.DivisionOf(cfg, nil)
	require.Same(t, n, servers)
	require.Equal(t, 8, leases.Count)
	require.Equal(t, 7*time.Second, leases.TTL)
	require.Equal(t, 3, leases.Replicas)
	require.Equal(t, "b", leases.Bucket)
	require.Regexp(t, `^line_7__-[0-9a-f]{12}$`, leases.Group)
	cfg.General.ClientID = "line_7/α"
	_, other := jetstream.DivisionOf(cfg, nil)
	require.NotEqual(t, leases.Group, other.Group)
	cfg.Consumers["in"].Partition.Lease = "nats://elsewhere"
	servers, leases = jetstream.DivisionOf(cfg, nil)
	require.Equal(t, &connector.NATS{URLs: []string{"nats://elsewhere"}}, servers)
	require.Zero(t, leases.TTL)
}

// With Keep, finished messages stay in the stream, but do not count for the group that has finished
// them.
func TestLag(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc, err := nats.Connect(p.stream)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	stream, err := jetstream.Open(t.Context(), nc, jetstream.Config{Name: "KEPT", Prefix: "kept", Partitions: 2, Keep: time.Hour})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := (&task{Role: "gateway", Name: "gateway", MQTT: p.mqtt.Addr(), QoS: 2}).config()
	gate, err := connector.New(cfg, connector.Options{})
	require.NoError(t, err)
	gateway := jetstream.NewGateway(stream, gate, "in", jetstream.GatewayOptions{})
	require.NoError(t, gate.Start(ctx))
	gone := make(chan struct{})
	go func() {
		gateway.Run(context.WithoutCancel(ctx))
		close(gone)
	}()

	leases, err := jetstream.NewLeases(ctx, nc, jetstream.LeaseConfig{Group: "kept", Count: 2, TTL: 10 * time.Second, Name: "me"})
	require.NoError(t, err)
	conn, err := connector.New((&task{Role: "worker", Name: "worker", MQTT: p.mqtt.Addr()}).config(), connector.Options{})
	require.NoError(t, err)
	blocked := make(chan struct{})
	feed, err := conn.Feed("in", flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		if strings.HasPrefix(string(m.Payload.Blob), "0 ") {
			select {
			case <-blocked:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return nil, nil
	}))
	require.NoError(t, err)
	worker, err := jetstream.NewWorker(stream, feed, leases, jetstream.WorkerOptions{Group: "g"})
	require.NoError(t, err)
	require.NoError(t, conn.Start(ctx))
	over := make(chan struct{})
	go func() {
		worker.Run(ctx)
		close(over)
	}()
	p.waits("the owner", func() bool {
		owners, err := leases.Owners(ctx)
		return err == nil && owners[0] == "me" && owners[1] == "me"
	})
	p.waits("the consumers", func() bool {
		list, err := natsjetstream.New(nc)
		require.NoError(t, err)
		s, err := list.Stream(ctx, "KEPT")
		return err == nil && s.CachedInfo().State.Consumers == 2
	})
	p.publish(0, 10, 2, 0) // five of device 0, whose first waits
	lag := func() jetstream.Backlog {
		b, err := stream.Lag(ctx, "g")
		if err != nil {
			return jetstream.Backlog{Messages: 99}
		}
		return b
	}
	p.waits("those of one device", func() bool { return lag().Messages == 5 && worker.Stats().Done == 5 })
	require.WithinDuration(t, time.Now(), lag().Oldest, time.Minute)
	close(blocked)
	p.waits("all", func() bool { b := lag(); return b.Messages == 0 && b.Oldest.IsZero() })
	b, err := stream.Backlog(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 10, b.Messages)

	// A gateway whose connector stops ends by itself.
	require.NoError(t, gate.Stop(ctx))
	<-gone
	require.EqualValues(t, 10, gateway.Stats().Stored)
	cancel()
	<-over
	require.NoError(t, conn.Stop(context.WithoutCancel(ctx)))
}
