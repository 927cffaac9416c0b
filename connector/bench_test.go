package connector_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
)

// BenchmarkConsumer passes QoS 1 messages from PUBLISH to PUBACK through a flow that does nothing,
// with 64 in flight: without a store, with one, and with the ledger, which syncs before each run.
func BenchmarkConsumer(b *testing.B) {
	for _, c := range []struct {
		name          string
		store, ledger bool
	}{{"memory", false, false}, {"store", true, false}, {"ledger", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			cfg := kept(connector.ConsumerParams{Ledger: c.ledger})
			if c.store {
				cfg.Extension.SessionStore = &connector.SessionStore{Dir: b.TempDir()}
			}
			consume(b, cfg)
		})
	}
}

func consume(b *testing.B, cfg connector.Config) {
	ours, theirs := net.Pipe()
	server := clienttest.NewConn(theirs)
	c, err := connector.New(cfg, connector.Options{Dial: func(context.Context) (net.Conn, error) { return ours, nil }})
	check(b, err)
	check(b, c.Consume("in", step(func(context.Context) error { return nil })))
	ready := make(chan error, 1)
	go func() { ready <- c.Start(context.Background()) }()
	_, err = server.Handshake(false)
	check(b, err)
	p, err := server.Receive()
	check(b, err)
	check(b, server.Send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{2}}))
	check(b, <-ready)

	window := make(chan struct{}, 64)
	go func() {
		for i := range b.N {
			window <- struct{}{}
			if server.Send(publish("t/a", 1, uint16(1+i%60000), "21")) != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		_, err := server.Receive()
		check(b, err)
		<-window
	}
	b.StopTimer()
	go server.Receive() // DISCONNECT
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	check(b, c.Stop(ctx))
}

func check(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}
