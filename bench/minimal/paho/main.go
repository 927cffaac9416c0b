// The smallest program that publishes and receives: for its size.
package main

import (
	"os"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

func main() {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(os.Args[1]).SetClientID("minimal"))
	must(c.Connect())
	came := make(chan bool)
	must(c.Subscribe("minimal", 1, func(mqtt.Client, mqtt.Message) { close(came) }))
	must(c.Publish("minimal", 1, false, ""))
	<-came
	c.Disconnect(100)
}

func must(t mqtt.Token) {
	if t.Wait(); t.Error() != nil {
		panic(t.Error())
	}
}
