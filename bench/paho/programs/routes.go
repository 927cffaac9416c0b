package main

import (
	"bytes"
	"fmt"
	"net/http"
	"sort"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// websocket connects over a WebSocket.
func websocket() {
	opts := mqtt.NewClientOptions().AddBroker(ws).SetClientID("websocket").SetHTTPHeaders(http.Header{"X-Trace": []string{"1"}})
	c := connect(opts)
	defer c.Disconnect(250)
	ch := make(chan string, 1)
	must(c.Subscribe("websocket", 0, into(ch)))
	must(c.Publish("websocket", 0, false, []byte("through HTTP")))
	fmt.Println(collect(ch, 1))
}

// routes has handlers for parts of its subscription.
func routes() {
	ch := make(chan string, 100)
	named := func(name string) mqtt.MessageHandler {
		return func(_ mqtt.Client, m mqtt.Message) { ch <- name + " " + m.Topic() }
	}
	c := mqtt.NewClient(options("routes").SetDefaultPublishHandler(named("default")))
	c.AddRoute("house/+/temperature", named("temperature"))
	must(c.Connect())
	defer c.Disconnect(250)
	must(c.Subscribe("house/#", 1, nil))
	must(c.Subscribe("house/kitchen/#", 1, named("kitchen")))
	for _, topic := range []string{"house/kitchen/temperature", "house/attic/temperature", "house/attic/light"} {
		must(c.Publish(topic, 0, false, "x"))
	}
	seen := make(map[string]bool)
	for len(seen) < 4 { // mosquitto sends one copy for each subscription that matches
		seen[collect(ch, 1)[0]] = true
	}
	var distinct []string
	for m := range seen {
		distinct = append(distinct, m)
	}
	sort.Strings(distinct)
	fmt.Println(distinct)
	must(c.Unsubscribe("house/#", "house/kitchen/#"))
}

// manualAck acknowledges later.
func manualAck() {
	ch := make(chan mqtt.Message, 10)
	c := connect(options("manual").SetAutoAckDisabled(true).SetCleanSession(false))
	must(c.Subscribe("manual", 1, func(_ mqtt.Client, m mqtt.Message) { ch <- m }))
	must(c.Publish("manual", 1, false, "one"))
	must(c.Publish("manual", 1, false, "two"))
	one, two := <-ch, <-ch
	one.Ack()
	c.Disconnect(250)
	fmt.Println(string(one.Payload()), string(two.Payload()))

	var again mqtt.Client
	opts := options("manual").SetCleanSession(false)
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { ch <- m })
	again = connect(opts)
	m := <-ch
	fmt.Println(string(m.Payload()), m.Duplicate(), m.Qos(), m.Retained())
	must(again.Unsubscribe("manual"))
	again.Disconnect(250)
	must(mqtt.NewClient(options("manual")).Connect()) // clean
}

// multiple subscribes to several filters at once, and publishes all types of payloads.
func multiple() {
	ch := make(chan string, 100)
	c := connect(options("multiple").SetKeepAlive(60 * time.Second).SetPingTimeout(5 * time.Second).SetWriteTimeout(5 * time.Second))
	defer c.Disconnect(250)
	t := c.SubscribeMultiple(map[string]byte{"m/a": 0, "m/b": 1, "m/c": 2}, into(ch))
	must(t)
	result := t.(*mqtt.SubscribeToken).Result()
	fmt.Println(result["m/a"], result["m/b"], result["m/c"], len(result))
	must(c.Publish("m/a", 0, false, "string"))
	must(c.Publish("m/b", 1, false, []byte("bytes")))
	must(c.Publish("m/c", 2, false, *bytes.NewBufferString("buffer")))
	all := collect(ch, 3)
	sort.Strings(all)
	fmt.Println(all)
	must(c.Unsubscribe("m/a", "m/b", "m/c"))
	must(c.Publish("m/a", 1, false, "x"))
	time.Sleep(100 * time.Millisecond)
	fmt.Println("more:", len(ch))
	r := c.OptionsReader()
	fmt.Println(r.ClientID(), r.KeepAlive(), r.CleanSession(), r.Order())
}
