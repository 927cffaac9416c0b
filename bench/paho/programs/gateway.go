package main

import (
	"fmt"
	"strings"
	"sync"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// gateway publishes the messages of devices under other names.
func gateway() {
	var forwarding sync.WaitGroup
	forward := func(c mqtt.Client, m mqtt.Message) {
		device := strings.Split(m.Topic(), "/")[1]
		forwarding.Add(1)
		go func() {
			defer forwarding.Done()
			if t := c.Publish("cloud/"+device, 1, false, m.Payload()); t.Wait() && t.Error() != nil {
				fmt.Println(t.Error())
			}
		}()
	}
	subscribed := make(chan struct{})
	opts := options("gateway").SetAutoReconnect(true).SetConnectRetry(true).SetOrderMatters(false)
	opts.SetOnConnectHandler(func(c mqtt.Client) {
		must(c.Subscribe("devices/+/data", 1, forward))
		close(subscribed)
	})
	opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) { fmt.Println("lost", err) })
	g := connect(opts)
	defer g.Disconnect(250)
	<-subscribed

	ch := make(chan string, 100)
	cloud := connect(options("cloud"))
	defer cloud.Disconnect(250)
	must(cloud.Subscribe("cloud/#", 1, into(ch)))

	device := connect(options("device"))
	defer device.Disconnect(250)
	for i := 0; i < 20; i++ {
		must(device.Publish(fmt.Sprintf("devices/d%d/data", i%4), 1, false, fmt.Sprint(i)))
	}
	seen := make(map[string]bool)
	for _, m := range collect(ch, 20) {
		seen[m] = true
	}
	forwarding.Wait()
	fmt.Println(len(seen), "forwarded")
}
