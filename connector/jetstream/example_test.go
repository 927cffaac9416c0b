package jetstream_test

import (
	"context"
	"fmt"
	"log"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	"github.com/nats-io/nats.go"
)

// Every topic has its own subject, so that NATS can select the same topics as MQTT wildcards.
func ExampleTopicSubject() {
	fmt.Println(jetstream.TopicSubject("plant/line 1/temp"))
	fmt.Println(jetstream.TopicSubject("v1.2//温度"))
	// Output:
	// plant.line%201.temp
	// v1%2E2.%.%E6%B8%A9%E5%BA%A6
}

// A gateway moves the messages of the consumer "readings" into the stream PLANT.
func ExampleGateway() {
	ctx := context.Background()
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	stream, err := jetstream.Open(ctx, nc, jetstream.Config{Name: "PLANT"})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := connector.New(configuration(), connector.Options{})
	if err != nil {
		log.Fatal(err)
	}
	gateway := jetstream.NewGateway(stream, conn, "readings", jetstream.GatewayOptions{Order: jetstream.OrderStrict})
	if err := conn.Start(ctx); err != nil {
		log.Fatal(err)
	}
	log.Print(gateway.Run(ctx))
	conn.Stop(ctx)
}

// A worker runs the flow for messages that gateways have put into the stream, with the failure policy of the
// consumer "readings". There may be as many workers as the stream has partitions.
func ExampleWorker() {
	ctx := context.Background()
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	stream, err := jetstream.Open(ctx, nc, jetstream.Config{Name: "PLANT"})
	if err != nil {
		log.Fatal(err)
	}
	leases, err := jetstream.NewLeases(ctx, nc, jetstream.LeaseConfig{Group: "readings", Count: stream.Partitions()})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := connector.New(configuration(), connector.Options{})
	if err != nil {
		log.Fatal(err)
	}
	feed, err := conn.Feed("readings", flow.Func(store))
	if err != nil {
		log.Fatal(err)
	}
	worker, err := jetstream.NewWorker(stream, feed, leases, jetstream.WorkerOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.Start(ctx); err != nil {
		log.Fatal(err)
	}
	worker.Run(ctx)
	conn.Stop(ctx)
}

// store is a flow that writes to a place where only the owner of a partition may write.
func store(ctx context.Context, m *flow.Message) (*flow.Message, error) {
	epoch, err := jetstream.Fence(ctx)
	if err != nil {
		return nil, err // another process has the partition by now
	}
	return nil, write(m.Topic(), m.Payload.Blob, epoch)
}

func write(topic string, payload []byte, epoch uint64) error { return nil }

func configuration() connector.Config { return connector.Config{} }
