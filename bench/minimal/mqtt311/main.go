// The smallest program that publishes and receives, over TCP: for its size.
package main

import (
	"context"
	"net"
	"os"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

func main() {
	ctx := context.Background()
	c, err := client.New(client.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", os.Args[1])
		},
		ClientID: "minimal",
	})
	if err != nil {
		panic(err)
	}
	if err := c.Connect(ctx); err != nil {
		panic(err)
	}
	if _, err := c.Subscribe(ctx, packets.Subscription{Filter: "minimal", QoS: packets.AtLeastOnce}); err != nil {
		panic(err)
	}
	if err := c.Publish(ctx, client.Message{Topic: "minimal", QoS: packets.AtLeastOnce}); err != nil {
		panic(err)
	}
	for _, err := range c.Messages(ctx) {
		if err != nil {
			panic(err)
		}
		break
	}
	c.Close(ctx)
}
