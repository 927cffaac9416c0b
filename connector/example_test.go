package connector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
)

// A Consumer runs a flow for each message and acknowledges after the flow succeeded; a
// Producer is a step of the flow, on the same connection.
func Example() {
	server, err := broker.Start() // any MQTT 3.1.1 server
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	no := false
	c, err := connector.New(connector.Config{
		General:  connector.General{BrokerURL: server.Addr, ClientID: "line-7"},
		Advanced: connector.Advanced{CleanSession: &no, AutoReconnect: true},
		Consumers: map[string]connector.ConsumerParams{
			"readings": {Topics: []connector.TopicQoS{{Topic: "plant/+/reading"}}, QoS: packets.AtLeastOnce},
			"alarms":   {Topics: []connector.TopicQoS{{Topic: "alarms/#"}}, QoS: packets.AtLeastOnce},
		},
		Producers: map[string]connector.ProducerParams{
			"alarm":   {Topic: "alarms/${payload.line}", QoS: packets.AtLeastOnce},
			"reading": {Topic: "plant/${variable.line}/reading", QoS: packets.AtLeastOnce},
		},
	}, connector.Options{})
	if err != nil {
		log.Fatal(err)
	}

	tooHot := connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		var reading struct{ Celsius float64 }
		if err := json.Unmarshal(m.Payload.Blob, &reading); err != nil {
			return nil, err // not acknowledged, and tried again
		}
		if reading.Celsius < 90 {
			return nil, nil
		}
		return c.Producer("alarm").Run(ctx, m)
	})
	alarms := make(chan string)
	show := connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		alarms <- fmt.Sprintf("%s %s", m.Topic(), m.Payload.Blob)
		return nil, nil
	})
	if err := errors.Join(c.Consume("readings", tooHot), c.Consume("alarms", show)); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		log.Fatal(err)
	}
	for _, celsius := range []int{21, 97} {
		m := &connector.Message{
			Payload:  connector.Entity{Blob: fmt.Appendf(nil, `{"line": 7, "celsius": %d}`, celsius)},
			Variable: map[string]any{"line": 7},
		}
		if _, err := c.Producer("reading").Run(ctx, m); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(<-alarms)
	if err := c.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Health().Succeeded, "flows succeeded")
	// Output:
	// alarms/7 {"line": 7, "celsius": 97}
	// 3 flows succeeded
}

// A step that fails is handled by the first catch that fits its error.
func ExampleTry() {
	store := connector.RaiseError("STORE:FULL", "no space left")
	later := connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
		fmt.Printf("kept for later: %s (%s)\n", m.Payload.Blob, m.Error.Description)
		return nil, nil
	})
	flow := connector.Try(store,
		connector.Catch{Types: []connector.ErrorType{connector.TypeConnectivity}, Retries: 3, Interval: time.Second},
		connector.Catch{Types: []connector.ErrorType{"STORE:FULL"}, Flow: later},
	)
	_, err := flow.Run(context.Background(), connector.NewMessage("plant/7/reading", []byte("21"), 1, 4))
	fmt.Println(err)
	// Output:
	// kept for later: 21 (no space left)
	// <nil>
}

// A chain hands the message of each step to the next.
func ExampleChain() {
	double := connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
		next := m.Clone()
		next.Payload.Blob = append(m.Payload.Blob, m.Payload.Blob...)
		return next, nil
	})
	m, err := connector.Chain(double, double).Run(context.Background(), connector.NewMessage("t", []byte("ab"), 0, 0))
	fmt.Println(string(m.Payload.Blob), err)
	// Output:
	// abababab <nil>
}

// What a message is: exactly the platform's attribute and error.
func ExampleMessage() {
	m := connector.NewMessage("some topic", []byte("21"), packets.AtLeastOnce, 4)
	attribute, _ := json.Marshal(m.Attribute)
	fmt.Println(string(attribute))
	failed, _ := json.Marshal(m.WithError(errors.New("some error message.")).Error)
	fmt.Println(string(failed))
	// Output:
	// {"QoS":1,"messageID":4,"topic":"some topic"}
	// {"Code":"CORE:RUNTIME","Description":"some error message."}
}

// Every mistake in a configuration comes at once, each with what to do.
func ExampleConfig_Check() {
	cfg := connector.Config{
		General: connector.General{BrokerURL: "localhost", ClientID: "c", Password: "p"},
	}
	for _, f := range cfg.Check() {
		fmt.Println(f)
	}
	// Output:
	// E116 connector.general.broker_url: "localhost" is not host:port → write it as broker.example.com:1883, or [::1]:1883 for IPv6
	// E107 connector.general.password: is set without a user name [MQTT-3.1.2-22] → set username
	// W213 connector.general.password: goes over the network in clear text → use protocol TLS or WebSocket Secure
}
