// The smallest program that publishes and receives, over TLS: for its size.
package main

import (
	"context"
	"os"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
)

func main() {
	ctx := context.Background()
	dial, err := transport.Dialer("mqtts://"+os.Args[1], nil)
	if err != nil {
		panic(err)
	}
	c, err := client.New(client.Config{Dial: dial, ClientID: "minimal"})
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
