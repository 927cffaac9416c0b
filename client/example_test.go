package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
)

// server starts a broker for the examples.
func server() (dial func(context.Context) (net.Conn, error), stop func()) {
	b, err := broker.Start()
	if err != nil {
		panic(err)
	}
	dial = func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", b.Addr)
	}
	return dial, func() { b.Close() }
}

// A program that publishes, subscribes and consumes over TCP. For TLS and WebSocket,
// transport.Dialer and ws.Dialer return what Dial takes.
func Example() {
	dial, stop := server()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Config{Dial: dial, ClientID: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Connect(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	if _, err := c.Subscribe(ctx, packets.Subscription{Filter: "plant/+/door", QoS: 1}); err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Publish(ctx, client.Message{Topic: "plant/7/door", Payload: []byte("open"), QoS: 1}); err != nil {
		fmt.Println(err)
		return
	}
	for m, err := range c.Messages(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %s\n", m.Topic, m.Payload)
		m.Ack() // before leaving the loop; stepping on does it by itself
		break
	}
	// Output: plant/7/door: open
}

// Every outcome of Publish.
func ExampleClient_Publish() {
	dial, stop := server()
	defer stop()
	ctx := context.Background()
	c, _ := client.New(client.Config{Dial: dial, ClientID: "example"})
	c.Connect(ctx)
	defer c.Close(ctx)
	err := c.Publish(ctx, client.Message{Topic: "plant/7/door", Payload: []byte("open"), QoS: 1})
	var wrong *packets.EncodeError
	switch {
	case err == nil:
		fmt.Println("the server has it")
	case errors.As(err, &wrong):
		fmt.Println("no packet can carry it:", wrong.Field)
	case errors.Is(err, client.ErrNotSent): // also ErrNotConnected, ErrQueueFull, ErrClosed before sending
		fmt.Println("nothing happened; repeating it is safe")
	case errors.Is(err, client.ErrDowngraded):
		fmt.Println("the server has it, at QoS 1 though 2 was asked for")
	case errors.Is(err, client.ErrUnknown): // also ErrPoison
		fmt.Println("it may have arrived; repeating it may do it twice")
	}
	// Output: the server has it
}

// Every outcome of Subscribe.
func ExampleClient_Subscribe() {
	dial, stop := server()
	defer stop()
	ctx := context.Background()
	c, _ := client.New(client.Config{Dial: dial, CleanSession: true})
	c.Connect(ctx)
	defer c.Close(ctx)
	granted, err := c.Subscribe(ctx, packets.Subscription{Filter: "plant/#", QoS: 2}, packets.Subscription{Filter: "news"})
	var refused *client.SubscribeError
	switch {
	case err == nil:
		fmt.Println("granted", granted) // possibly less than asked for
	case errors.As(err, &refused):
		for _, r := range refused.Results {
			fmt.Println(r.Filter, r.QoS, r.Err)
		}
	default:
		fmt.Println("no answer; the filters stay wanted:", err)
	}
	// Output: granted [exactly once at most once]
}

// Handlers may block, publish and wait. They are registered before Connect.
func ExampleClient_Handle() {
	dial, stop := server()
	defer stop()
	ctx := context.Background()
	c, _ := client.New(client.Config{Dial: dial, CleanSession: true})
	answered := make(chan string)
	c.Handle("question", func(ctx context.Context, m *client.Delivery) {
		c.Publish(ctx, client.Message{Topic: "answer", Payload: append(m.Payload, " 42"...), QoS: 1})
	})
	c.Handle("answer", func(_ context.Context, m *client.Delivery) { answered <- string(m.Payload) })
	c.Connect(ctx)
	defer c.Close(ctx)
	c.Subscribe(ctx, packets.Subscription{Filter: "question", QoS: 1}, packets.Subscription{Filter: "answer", QoS: 1})
	c.Publish(ctx, client.Message{Topic: "question", Payload: []byte("6 x 7 ="), QoS: 1})
	fmt.Println(<-answered)
	// Output: 6 x 7 = 42
}

// A receipt ends when the promise of the QoS is kept; many may be open.
func ExampleClient_PublishAsync() {
	dial, stop := server()
	defer stop()
	ctx := context.Background()
	c, _ := client.New(client.Config{Dial: dial, CleanSession: true})
	c.Connect(ctx)
	defer c.Close(ctx)
	var receipts []*client.Receipt
	for i := range 100 {
		r, err := c.PublishAsync(ctx, client.Message{Topic: "n", Payload: fmt.Append(nil, i), QoS: 2})
		if err != nil {
			fmt.Println("not accepted, nothing was sent:", err)
			return
		}
		receipts = append(receipts, r)
	}
	for _, r := range receipts {
		<-r.Done()
		if r.Err() != nil {
			fmt.Println(r.Err())
		}
	}
	fmt.Println(len(receipts), "delivered exactly once")
	// Output: 100 delivered exactly once
}
