// Package connector is the iPaaS connector for MQTT 3.1.1: a Consumer runs a flow for
// each message that arrives and acknowledges it after the flow succeeded; a Producer
// publishes and is itself a step of a flow.
//
//	c, err := connector.New(cfg)
//	c.Consume("readings", connector.FlowFunc(store))
//	err = c.Start(ctx)
//	...
//	err = c.Stop(ctx)
//
// All consumers and producers of a [Connector] share one Network Connection, because a
// Server knows a client by its ClientID. Package connector/config reads [Config] from
// YAML and JSON.
//
// # What is promised
//
// With QoS 1 or 2, clean_session off and the acknowledgement mode "after the flow
// succeeded", no message is lost: it is acknowledged only when its flow succeeded or
// its failure policy disposed of it, so the Server sends it again after a crash. A
// reconnect that keeps the session does not run a flow a second time. At QoS 1 a
// message may run twice after a crash, and at QoS 2 the one whose flow ended and whose
// acknowledgement had not left.
package connector
