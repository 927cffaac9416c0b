// The smallest program that publishes and receives: for its size.
package main

import (
	"context"
	"os"

	"github.com/at-wat/mqtt-go"
)

func main() {
	ctx := context.Background()
	c, err := mqtt.NewReconnectClient(&mqtt.URLDialer{URL: os.Args[1]})
	if err != nil {
		panic(err)
	}
	if _, err := c.Connect(ctx, "minimal", mqtt.WithKeepAlive(30)); err != nil {
		panic(err)
	}
	came := make(chan bool)
	c.Handle(mqtt.HandlerFunc(func(*mqtt.Message) { close(came) }))
	if _, err := c.Subscribe(ctx, mqtt.Subscription{Topic: "minimal", QoS: mqtt.QoS1}); err != nil {
		panic(err)
	}
	if err := c.Publish(ctx, &mqtt.Message{Topic: "minimal", QoS: mqtt.QoS1}); err != nil {
		panic(err)
	}
	<-came
	c.Disconnect(ctx)
}
