package client_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// benchServer accepts one client over TCP and answers packets in the batches in which they arrive.
func benchServer(b testing.TB, flood func(*clienttest.Conn)) (dial func(context.Context) (net.Conn, error)) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		c := clienttest.NewConn(conn)
		if _, err := c.Handshake(false); err != nil {
			return
		}
		if flood != nil {
			go flood(c)
		}
		r := packets.NewReader(conn, packets.ReaderOptions{})
		var out []byte
		for {
			p, err := r.ReadPacket()
			if err != nil {
				return
			}
			switch p := p.(type) {
			case *packets.Publish:
				switch p.QoS {
				case packets.AtLeastOnce:
					out = packets.AppendAck(out, packets.PUBACK, p.PacketID)
				case packets.ExactlyOnce:
					out = packets.AppendAck(out, packets.PUBREC, p.PacketID)
				}
			case *packets.Pubrel:
				out = packets.AppendAck(out, packets.PUBCOMP, p.PacketID)
			}
			if r.Buffered() == 0 && len(out) > 0 {
				if _, err := conn.Write(out); err != nil {
					return
				}
				out = out[:0]
			}
		}
	}()
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
}

func benchClient(b *testing.B, lend bool, flood func(*clienttest.Conn)) *client.Client {
	b.Helper()
	c, err := client.New(client.Config{Dial: benchServer(b, flood), CleanSession: true, MaxInflight: 100, LendPayloads: lend})
	require.NoError(b, err)
	require.NoError(b, c.Connect(b.Context()))
	b.Cleanup(c.Abort)
	return c
}

func BenchmarkPublishAsync(b *testing.B) {
	payload := make([]byte, 256)
	for name, qos := range map[string]packets.QoS{"QoS0": 0, "QoS1": 1, "QoS2": 2} {
		b.Run(name, func(b *testing.B) {
			c := benchClient(b, false, nil)
			m := client.Message{Topic: "bench/a/topic/of/31/bytes/exact", Payload: payload, QoS: qos}
			ctx := context.Background()
			b.ReportAllocs()
			b.SetBytes(256)
			var last *client.Receipt
			for b.Loop() {
				r, err := c.PublishAsync(ctx, m)
				if err != nil {
					b.Fatal(err)
				}
				last = r
			}
			<-last.Done()
		})
	}
}

func BenchmarkPublishSequentially(b *testing.B) {
	c := benchClient(b, false, nil)
	m := client.Message{Topic: "bench/a/topic/of/31/bytes/exact", Payload: make([]byte, 256), QoS: 1}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Publish(context.Background(), m); err != nil {
			b.Fatal(err)
		}
	}
}

// Enqueue reports no result, and allocates nothing.
func BenchmarkEnqueue(b *testing.B) {
	c := benchClient(b, false, nil)
	m := client.Message{Topic: "bench/a/topic/of/31/bytes/exact", Payload: make([]byte, 256)}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Enqueue(context.Background(), m); err != nil {
			b.Fatal(err)
		}
	}
}

// A hundred callers publish at once: their messages share writes, and their receipts are reused.
func BenchmarkPublishFromManyCallers(b *testing.B) {
	for _, qos := range []packets.QoS{0, 1} {
		b.Run(fmt.Sprintf("QoS%d", qos), func(b *testing.B) {
			c := benchClient(b, false, nil)
			m := client.Message{Topic: "bench/a/topic/of/31/bytes/exact", Payload: make([]byte, 256), QoS: qos}
			b.ReportAllocs()
			b.SetParallelism(100 / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := c.Publish(context.Background(), m); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(c.Stats().Writes)/float64(b.N), "writes/op")
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	b.Run("Owned", func(b *testing.B) { receiveFlood(b, false) })
	b.Run("Lent", func(b *testing.B) { receiveFlood(b, true) })
}

func receiveFlood(b *testing.B, lend bool) {
	c := benchClient(b, lend, func(c *clienttest.Conn) {
		var batch []byte
		for range 100 {
			p := &packets.Publish{Topic: "bench/a/topic/of/31/bytes/exact", Payload: make([]byte, 256)}
			batch, _ = p.AppendBinary(batch)
		}
		for {
			if _, err := c.Write(batch); err != nil {
				return
			}
		}
	})
	b.ReportAllocs()
	b.SetBytes(256)
	n := 0
	b.ResetTimer()
	for _, err := range c.Messages(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		if n++; n >= b.N {
			break
		}
	}
}
