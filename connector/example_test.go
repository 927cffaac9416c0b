package connector_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
)

// A consumer whose flow processes each reading and publishes the result with a producer.
func Example() {
	server, err := broker.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	keep := false
	c, err := connector.New(connector.Config{
		General:  connector.General{BrokerURL: server.Addr, ClientID: "line-7"},
		Advanced: connector.Advanced{CleanSession: &keep, AutoReconnect: true},
		Consumers: map[string]connector.ConsumerParams{"readings": {
			Topics: []connector.TopicQoS{{Topic: "plant/+/celsius"}}, QoS: packets.AtLeastOnce, AckMode: connector.AfterFlowSuccess,
		}},
		Producers: map[string]connector.ProducerParams{
			"alarms":  {Topic: "alarms/${variable.line}", QoS: packets.AtLeastOnce},
			"sensors": {Topic: "plant/7/celsius", QoS: packets.AtLeastOnce},
		},
	}, connector.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan struct{})
	check := flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		fmt.Println(m.Topic(), string(m.Payload.Blob))
		m.Variable = map[string]any{"line": 7}
		m.Payload.Blob = []byte("too hot")
		return m, nil
	})
	tell := flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		fmt.Println("published:", string(m.Payload.Blob))
		close(done)
		return m, nil
	})
	if err := c.Consume("readings", flow.Chain(check, c.Producer("alarms"), tell)); err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if err := c.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Producer("sensors").Run(ctx, flow.NewMessage("", []byte("93"), 1, 0))
	<-done
	fmt.Println(err, c.Stop(ctx))
	// Output:
	// plant/7/celsius 93
	// published: too hot
	// <nil> <nil>
}

// A program without a flow pulls messages, and settles each when its work is done.
func ExampleConnector_Pull() {
	server, err := broker.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	c, err := connector.New(connector.Config{
		General: connector.General{BrokerURL: server.Addr, ClientID: "line-7"},
		Consumers: map[string]connector.ConsumerParams{"orders": {
			Topics: []connector.TopicQoS{{Topic: "orders"}}, QoS: packets.AtLeastOnce, AckMode: connector.AfterFlowSuccess,
		}},
		Producers: map[string]connector.ProducerParams{"shop": {Topic: "orders", QoS: packets.AtLeastOnce}},
	}, connector.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	orders := c.Pull(ctx, "orders") // before Start, so that nothing comes too early
	if err := c.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer c.Stop(ctx)
	if _, err := c.Producer("shop").Run(ctx, flow.NewMessage("", []byte("a chair"), 1, 0)); err != nil {
		fmt.Println(err)
		return
	}
	for d, err := range orders {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(string(d.Message().Payload.Blob))
		fmt.Println(d.Settle(nil)) // now it is acknowledged
		return
	}
	// Output:
	// a chair
	// <nil>
}

// A running connector gets another configuration: the consumer "doors" is added at once, and the
// changed connection takes effect at the next start.
func ExampleConnector_Reconfigure() {
	server, err := broker.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	readings := connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "plant/+/reading"}}, QoS: packets.AtLeastOnce}
	doors := connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "plant/+/door"}}, QoS: packets.AtLeastOnce}
	cfg := connector.Config{
		General:   connector.General{BrokerURL: server.Addr, ClientID: "line-7"},
		Consumers: map[string]connector.ConsumerParams{"readings": readings},
	}
	show := func(consumer string) flow.Flow {
		return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			fmt.Println(consumer, m.Topic(), string(m.Payload.Blob))
			return m, nil
		})
	}
	ctx := context.Background()
	c, err := connector.New(cfg, connector.Options{})
	if err == nil {
		err = c.Consume("readings", show("readings"))
	}
	if err == nil {
		err = c.Start(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Stop(ctx)

	keepAlive := time.Minute
	cfg.Advanced.KeepAlive = &keepAlive
	cfg.Consumers = map[string]connector.ConsumerParams{"readings": readings, "doors": doors}
	changes, err := c.Reconfigure(ctx, cfg, func(consumer string) flow.Flow {
		if consumer == "doors" {
			return show(consumer)
		}
		return nil // it keeps the one that it has
	})
	fmt.Println("applied:", changes.Applied, changes.Subscribed)
	fmt.Println("after a restart:", changes.Restart)
	fmt.Println(err)
	// Output:
	// applied: [consumers.doors] [{plant/+/door at least once}]
	// after a restart: [connector.advanced.keep_alive]
	// <nil>
}

// A flow that fails with an error of its own, and a catch for it.
func ExampleTry() {
	order := flow.RaiseError("SHOP:OUT_OF_STOCK", "no chairs left")
	watched := flow.Try(order, flow.Catch{
		Types: []flow.ErrorType{"SHOP:OUT_OF_STOCK"},
		Flow: flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			fmt.Println("caught:", m.Error.Code, m.Error.Description)
			return m, nil
		}),
	})
	_, err := watched.Run(context.Background(), flow.NewMessage("orders", []byte("chair"), 1, 4))
	fmt.Println("failed:", err)
	// Output:
	// caught: SHOP:OUT_OF_STOCK no chairs left
	// failed: <nil>
}

// An error matches its type and the ancestors of it, and explains itself in two languages.
func ExampleError() {
	err := flow.AsError(context.DeadlineExceeded)
	fmt.Println(errors.Is(err, flow.TypeTimeout), errors.Is(err, flow.TypeConnectivity))
	fmt.Println(err.Code, err.Description)
	fmt.Println(err.Explain("zh"))
	// Output:
	// true false
	// CORE:RUNTIME [CORE:TIMEOUT] context deadline exceeded
	// 流程运行超时，请调大 flow_timeout 或优化流程。
}

// A bridge takes messages from one server and publishes them to another. While the other is
// unreachable, messages are stored, and acknowledged to the first.
func ExampleConfig_bridge() {
	near, err := broker.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer near.Close()
	folder, err := os.MkdirTemp("", "bridge")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)

	kept := false
	cfg := connector.Config{
		General:  connector.General{BrokerURL: near.Addr, ClientID: "plant"},
		Advanced: connector.Advanced{CleanSession: &kept, AutoReconnect: true},
		Connections: map[string]connector.Connection{"cloud": {
			General:   connector.General{BrokerURL: "cloud.example.com:1883", ClientID: "plant-7"},
			Advanced:  connector.Advanced{CleanSession: &kept, AutoReconnect: true, ConnectRetry: true},
			Extension: connector.Extension{SessionStore: &connector.SessionStore{Dir: filepath.Join(folder, "store")}},
		}},
		Consumers: map[string]connector.ConsumerParams{"readings": {Topics: []connector.TopicQoS{{Topic: "plant/#"}}, QoS: packets.AtLeastOnce}},
		Producers: map[string]connector.ProducerParams{
			"up":   {Topic: "site/7/${attribute.topic}", QoS: packets.AtLeastOnce, Connection: "cloud", DoneWhen: connector.DoneWhenStored},
			"test": {Topic: "plant/1/reading", QoS: packets.AtLeastOnce},
		},
	}
	away := func(context.Context) (net.Conn, error) { return nil, errors.New("the cloud is away") }
	c, err := connector.New(cfg, connector.Options{Dials: map[string]func(context.Context) (net.Conn, error){"cloud": away}})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Consume("readings", c.Producer("up"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer c.Stop(ctx)

	c.Producer("test").Run(ctx, flow.NewMessage("", []byte("21.5"), 0, 0)) // a device of the plant
	for c.Health().Acknowledged == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	h := c.Health()
	cloud := h.Connections["cloud"]
	fmt.Println("ready:", h.Ready() == nil)
	fmt.Println("cloud is up:", cloud.Connected)
	fmt.Println("acknowledged:", h.Acknowledged, "waiting for the cloud:", cloud.Waiting)
	// Output:
	// ready: true
	// cloud is up: false
	// acknowledged: 1 waiting for the cloud: 1
}
