// Programs is a collection of small programs written for paho.mqtt.golang, one in each file. A test
// builds them unchanged and with package client/paho in place of paho, and compares their output.
package main

import (
	"fmt"
	"log"
	"os"
	"sort"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// The addresses of the servers, and files.
var (
	tcp  = os.Getenv("MQTT_TCP")
	mtls = os.Getenv("MQTT_MTLS")
	ws   = os.Getenv("MQTT_WS")
	ca   = os.Getenv("MQTT_CA")
	cert = os.Getenv("MQTT_CERT")
	key  = os.Getenv("MQTT_KEY")
	dir  = os.Getenv("MQTT_DIR")
)

var programs = map[string]func(){
	"gateway": gateway, "tls": tlsProgram, "filestore": fileStore, "ordered": ordered, "unordered": unordered,
	"will": will, "resubscribe": resubscribe, "shared": shared, "request": request, "websocket": websocket,
	"routes": routes, "manualack": manualAck, "multiple": multiple, "refused": refused,
}

func main() {
	log.SetFlags(0)
	var names []string
	for name := range programs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Println("#", name)
		start := time.Now()
		programs[name]()
		log.Println(name, "took", time.Since(start).Round(time.Millisecond))
	}
}

func options(id string) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker(tcp).SetClientID(id)
}

func connect(opts *mqtt.ClientOptions) mqtt.Client {
	c := mqtt.NewClient(opts)
	must(c.Connect())
	return c
}

func must(t mqtt.Token) {
	if !t.WaitTimeout(20 * time.Second) {
		log.Fatal("a token does not end")
	}
	if t.Error() != nil {
		log.Fatal(t.Error())
	}
}

// collect returns the next n messages.
func collect(ch <-chan string, n int) (all []string) {
	for len(all) < n {
		select {
		case m := <-ch:
			all = append(all, m)
		case <-time.After(20 * time.Second):
			log.Fatalf("only %d of %d messages came: %v", len(all), n, all)
		}
	}
	return all
}

// into returns a handler that sends topic and payload to ch.
func into(ch chan<- string) mqtt.MessageHandler {
	return func(_ mqtt.Client, m mqtt.Message) { ch <- m.Topic() + " " + string(m.Payload()) }
}
