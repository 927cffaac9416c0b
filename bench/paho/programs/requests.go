package main

import (
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// shared has two workers that take turns.
func shared() {
	ch := make(chan string, 100)
	for i := 0; i < 2; i++ {
		w := connect(options(fmt.Sprint("worker", i)))
		defer w.Disconnect(250)
		t := w.Subscribe("$share/workers/jobs/+", 1, into(ch))
		must(t)
		fmt.Println(t.(*mqtt.SubscribeToken).Result()["jobs/+"])
	}
	boss := connect(options("boss"))
	defer boss.Disconnect(250)
	for i := 0; i < 20; i++ {
		must(boss.Publish("jobs/now", 1, false, fmt.Sprint(i)))
	}
	seen := make(map[string]bool)
	for _, m := range collect(ch, 20) {
		seen[m] = true
	}
	fmt.Println(len(seen), len(ch))
}

// request sends a request and waits for the answer.
func request() {
	server := connect(options("responder"))
	defer server.Disconnect(250)
	must(server.Subscribe("ask/+", 1, func(c mqtt.Client, m mqtt.Message) {
		go c.Publish("answer/"+m.Topic()[4:], 1, false, "re: "+string(m.Payload()))
	}))
	c := connect(options("requester"))
	defer c.Disconnect(250)
	ch := make(chan string, 1)
	must(c.Subscribe("answer/requester", 1, into(ch)))
	for i := 0; i < 3; i++ {
		if err := mqtt.WaitTokenTimeout(c.Publish("ask/requester", 1, false, fmt.Sprint(i)), 10*time.Second); err != nil {
			fmt.Println(err)
		}
		fmt.Println(collect(ch, 1))
	}
}

// refused connects with a login that the server refuses.
func refused() {
	opts := options("").SetCleanSession(false).SetProtocolVersion(4)
	t := mqtt.NewClient(opts).Connect()
	t.Wait()
	fmt.Println("without a client id:", t.Error() != nil)
	c := mqtt.NewClient(options("early"))
	fmt.Println(c.Publish("a", 1, false, "x").Error() == mqtt.ErrNotConnected, c.Subscribe("a", 1, nil).Error() == mqtt.ErrNotConnected)
	c = connect(options("mistakes"))
	defer c.Disconnect(250)
	fmt.Println(c.Subscribe("", 1, nil).Error(), c.Subscribe("a/#/b", 1, nil).Error(), c.Subscribe("a", 3, nil).Error())
	fmt.Println(c.Publish("a", 1, false, 17).Error() != nil)
}
