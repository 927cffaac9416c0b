package client_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.New(client.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:18830")
		},
		ClientID: "smoke", CleanSession: true,
		OnEvent: func(e client.Event) { fmt.Println(e) },
	})
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx))
	g, err := c.Subscribe(ctx, packets.Subscription{Filter: "a/#", QoS: 2})
	require.NoError(t, err)
	fmt.Println(g)
	for q := range packets.QoS(3) {
		require.NoError(t, c.Publish(ctx, client.Message{Topic: "a/b", Payload: []byte("x"), QoS: q}))
	}
	n := 0
	for d, err := range c.Messages(ctx) {
		require.NoError(t, err)
		fmt.Println(d.Topic, d.QoS, d.PacketID, string(d.Payload))
		if n++; n == 3 {
			break
		}
	}
	start := time.Now()
	var last *client.Receipt
	for range 100000 {
		last, err = c.PublishAsync(ctx, client.Message{Topic: "b", Payload: make([]byte, 256), QoS: 1})
		require.NoError(t, err)
	}
	<-last.Done()
	fmt.Println(time.Since(start)/100000, last.Err())
	require.NoError(t, c.Close(ctx))
	fmt.Println(c.Err(), c.Stats())
}
