// Beside is a Benthos program that moves messages from one topic of an MQTT server to another at QoS 1,
// using paho. It acknowledges a message after the Server has acknowledged its copy, like the components of
// Redpanda Connect.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	paho "github.com/eclipse/paho.mqtt.golang"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure" // a buffer that does nothing
	"github.com/redpanda-data/benthos/v4/public/service"
)

const usage = "usage: beside SERVER FROM TO, as in beside 127.0.0.1:1883 bench/in bench/out"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "beside:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New(usage)
	}
	env, spec := service.NewEnvironment(), service.NewConfigSpec().Field(service.NewStringField("topic"))
	err := env.RegisterInput("mqtt", spec, func(conf *service.ParsedConfig, _ *service.Resources) (service.Input, error) {
		topic, err := conf.FieldString("topic")
		return &input{server: args[0], topic: topic}, err
	})
	if err != nil {
		return err
	}
	err = env.RegisterOutput("mqtt", spec, func(conf *service.ParsedConfig, _ *service.Resources) (service.Output, int, error) {
		topic, err := conf.FieldString("topic")
		return &output{server: args[0], topic: topic}, mostInFlight, err
	})
	if err != nil {
		return err
	}
	b := env.NewStreamBuilder()
	err = b.SetYAML(fmt.Sprintf(`
input: {mqtt: {topic: %q}}
output: {mqtt: {topic: %q}}
logger: {level: ERROR}
http: {enabled: false}
`, args[1], args[2]))
	if err != nil {
		return err
	}
	s, err := b.Build()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return s.Run(ctx)
}

// mostInFlight is the default of the output mqtt of Redpanda Connect.
const mostInFlight = 64

func connect(server, id string, more func(*paho.ClientOptions)) (paho.Client, error) {
	opts := paho.NewClientOptions().AddBroker("tcp://" + server).SetClientID(id).SetProtocolVersion(4)
	if more != nil {
		more(opts)
	}
	c := paho.NewClient(opts)
	t := c.Connect()
	t.Wait()
	return c, t.Error()
}

// An input yields the messages of a topic, and lets paho acknowledge them when the stream has.
type input struct {
	server, topic string

	mu   sync.Mutex
	c    paho.Client
	came chan paho.Message
	lost chan struct{}
}

func (in *input) Connect(context.Context) error {
	came, lost := make(chan paho.Message), make(chan struct{})
	c, err := connect(in.server, "beside-in", func(o *paho.ClientOptions) {
		o.SetAutoReconnect(false).SetAutoAckDisabled(true)
		o.SetConnectionLostHandler(func(paho.Client, error) { close(lost) })
	})
	if err != nil {
		return err
	}
	t := c.Subscribe(in.topic, 1, func(_ paho.Client, m paho.Message) {
		select {
		case came <- m:
		case <-lost:
		}
	})
	t.Wait()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.c, in.came, in.lost = c, came, lost
	return t.Error()
}

func (in *input) Read(ctx context.Context) (*service.Message, service.AckFunc, error) {
	in.mu.Lock()
	came, lost := in.came, in.lost
	in.mu.Unlock()
	select {
	case m := <-came:
		out := service.NewMessage(m.Payload())
		out.MetaSet("mqtt_topic", m.Topic())
		return out, func(_ context.Context, err error) error {
			if err == nil {
				m.Ack()
			}
			return nil
		}, nil
	case <-lost:
		return nil, nil, service.ErrNotConnected
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (in *input) Close(context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.c != nil {
		in.c.Disconnect(100)
	}
	return nil
}

// An output publishes a message and waits for PUBACK.
type output struct {
	server, topic string
	c             paho.Client
}

func (out *output) Connect(context.Context) (err error) {
	out.c, err = connect(out.server, "beside-out", nil)
	return err
}

func (out *output) Write(_ context.Context, m *service.Message) error {
	b, err := m.AsBytes()
	if err != nil {
		return err
	}
	t := out.c.Publish(out.topic, 1, false, b)
	t.Wait()
	return t.Error()
}

func (out *output) Close(context.Context) error {
	if out.c != nil {
		out.c.Disconnect(100)
	}
	return nil
}
