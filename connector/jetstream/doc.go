// Package jetstream puts a durable log between a connector and its flows: a stream of NATS JetStream.
// A [Gateway] takes messages of a consumer from an MQTT Server and acknowledges each when the stream has it. A
// [Worker] takes them out of the stream and runs the flow of a consumer, in as many processes as it needs, with the
// consumer's failure policy. Messages with one key keep their order: they share a partition of the stream, and
// [Leases] give each partition one owner at a time.
//
//	stream, err := jetstream.Open(ctx, nc, jetstream.Config{Name: "PLANT"})
//	...
//	gateway := jetstream.NewGateway(stream, conn, "readings", jetstream.GatewayOptions{})
//	...
//	err = gateway.Run(ctx)
//
// # What an acknowledgement means
//
// PUBACK or PUBREC leaves when the stream has acknowledged the message. What that survives is decided by the stream: a
// crash of the server's process in any case; a crash of its machine if sync_interval of the server is "always", or if
// Config.Replicas is 3 and one of the other machines goes on.
//
// # What comes twice
//
// The stream knows a message again by its idempotency key (flow.IdempotencyKey) within Config.Duplicates. With
// ConsumerParams.Ledger the key outlives a restart of the gateway, so that a message that the MQTT Server sends again
// is in the stream once. Without, each process makes keys of its own, and what was not acknowledged when it ended may
// be there twice. A flow runs twice for a message whose worker died before it could acknowledge it.
package jetstream
