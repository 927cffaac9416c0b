package main

import (
	"fmt"
	"sort"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// ordered receives messages one after another.
func ordered() {
	ch := make(chan string, 100)
	c := connect(options("ordered").SetOrderMatters(true))
	defer c.Disconnect(250)
	must(c.Subscribe("ordered", 1, into(ch)))
	var tokens []mqtt.Token
	for i := 0; i < 10; i++ {
		tokens = append(tokens, c.Publish("ordered", 1, false, fmt.Sprint(i)))
	}
	for _, t := range tokens {
		must(t)
	}
	fmt.Println(collect(ch, 10))
}

// unordered handles messages concurrently, and publishes in handlers.
func unordered() {
	ch := make(chan string, 100)
	var all, over sync.WaitGroup
	all.Add(5)
	over.Add(5)
	c := connect(options("unordered").SetOrderMatters(false))
	defer c.Disconnect(250)
	must(c.Subscribe("jobs/+", 1, func(c mqtt.Client, m mqtt.Message) {
		defer over.Done()
		all.Done()
		all.Wait() // for the others
		must(c.Publish("done", 1, false, m.Payload()))
	}))
	must(c.Subscribe("done", 1, into(ch)))
	start := time.Now()
	for i := 0; i < 5; i++ {
		must(c.Publish(fmt.Sprintf("jobs/%d", i), 1, false, fmt.Sprint(i)))
	}
	done := collect(ch, 5)
	over.Wait()
	sort.Strings(done)
	fmt.Println(done, time.Since(start) < 20*time.Second)
}
