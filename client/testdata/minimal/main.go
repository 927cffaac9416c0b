// Minimal is a program that publishes over TCP, for its size.
package main

import (
	"context"
	"net"

	"github.com/mqtt311/mqtt311/client"
)

func main() {
	c, err := client.New(client.Config{CleanSession: true, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:1883")
	}})
	if err != nil {
		panic(err)
	}
	if err := c.Connect(context.Background()); err != nil {
		panic(err)
	}
	if err := c.Publish(context.Background(), client.Message{Topic: "t", QoS: 1}); err != nil {
		panic(err)
	}
	c.Close(context.Background())
}
