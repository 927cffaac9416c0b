package paho_test

import (
	"fmt"
	"log"
	"os"
	"time"

	mqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/mqtt311/mqtt311/internal/broker"
)

// server is a broker for the examples.
func server() (url string, stop func()) {
	b, err := broker.Start()
	if err != nil {
		log.Fatal(err)
	}
	return "tcp://" + b.Addr, func() { b.Close() }
}

func Example() {
	url, stop := server()
	defer stop()

	opts := mqtt.NewClientOptions().AddBroker(url).SetClientID("example")
	c := mqtt.NewClient(opts)
	if token := c.Connect(); token.Wait() && token.Error() != nil {
		log.Fatal(token.Error())
	}
	defer c.Disconnect(250)

	got := make(chan string)
	token := c.Subscribe("house/+/temperature", 1, func(_ mqtt.Client, m mqtt.Message) {
		got <- m.Topic() + ": " + string(m.Payload())
	})
	if token.Wait() && token.Error() != nil {
		log.Fatal(token.Error())
	}
	c.Publish("house/attic/temperature", 1, false, "17.5")
	fmt.Println(<-got)
	// Output: house/attic/temperature: 17.5
}

// A handler may publish and wait, and call every other method.
func ExampleMessageHandler() {
	url, stop := server()
	defer stop()

	done := make(chan string)
	opts := mqtt.NewClientOptions().AddBroker(url)
	opts.SetOnConnectHandler(func(c mqtt.Client) {
		c.Subscribe("question", 1, func(c mqtt.Client, m mqtt.Message) {
			token := c.Publish("answer", 2, false, "to "+string(m.Payload()))
			token.Wait()
		}).Wait()
		c.Subscribe("answer", 2, func(_ mqtt.Client, m mqtt.Message) { done <- string(m.Payload()) }).Wait()
		c.Publish("question", 1, false, "everything")
	})
	c := mqtt.NewClient(opts)
	c.Connect()
	fmt.Println(<-done)
	c.Disconnect(250)
	// Output: to everything
}

// A message published at QoS 1 without a connection is sent on the next one. With a FileStore it
// also survives the end of the program.
func ExampleNewFileStore() {
	url, stop := server()
	defer stop()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	opts := mqtt.NewClientOptions().AddBroker(url).SetClientID("meter").SetCleanSession(false)
	opts.SetStore(mqtt.NewFileStore(dir)).SetConnectRetry(true)
	c := mqtt.NewClient(opts)
	c.Connect()
	token := c.Publish("meter/7", 1, false, "42 kWh") // not connected yet
	fmt.Println(token.WaitTimeout(10*time.Second), token.Error())
	c.Disconnect(250)
	// Output: true <nil>
}

// The result of a subscription has the QoS that the Server granted for each filter.
func ExampleSubscribeToken() {
	url, stop := server()
	defer stop()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url))
	c.Connect().Wait()
	defer c.Disconnect(250)
	token := c.SubscribeMultiple(map[string]byte{"a/#": 1, "b": 2}, nil)
	if err := mqtt.WaitTokenTimeout(token, 10*time.Second); err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.(*mqtt.SubscribeToken).Result())
	// Output: map[a/#:1 b:2]
}
