// Package jetstream puts a durable log, a NATS JetStream stream, between a connector and its flows.
// A [Gateway] receives the messages of a consumer from an MQTT Server and acknowledges each when it
// is in the stream. A [Worker] takes messages from the stream and runs the flow of a consumer, with
// the consumer's failure policy. Any number of processes can run workers. Messages with the same
// key keep their order, because they are in the same partition of the stream, and [Leases] give
// each partition only one owner at a time.
//
//	stream, err := jetstream.Open(ctx, nc, jetstream.Config{Name: "PLANT"})
//	...
//	gateway := jetstream.NewGateway(stream, conn, "readings", jetstream.GatewayOptions{})
//	...
//	err = gateway.Run(ctx)
//
// # Acknowledgements
//
// PUBACK or PUBREC is sent when the stream has acknowledged the message. The message then survives
// a crash of the NATS server process. It survives a crash of the machine if sync_interval of the
// server is "always", or if Config.Replicas is 3 and another machine is still running.
//
// # Duplicates
//
// Within Config.Duplicates the stream recognises duplicates of a message by its idempotency key
// (flow.IdempotencyKey). With ConsumerParams.Ledger the key survives a restart of the gateway, so a
// message that the MQTT Server sends again is in the stream only once. Without it each process
// makes its own keys, so messages that were not acknowledged when a process ended may be in the
// stream twice. The flow of a message runs again if its worker dies before it has acknowledged the
// message.
package jetstream
