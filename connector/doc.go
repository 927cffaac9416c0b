// Package connector is the iPaaS connector for MQTT 3.1.1: a Consumer runs a flow for each message
// that arrives and acknowledges it after the flow succeeded; a Producer publishes, and is itself a
// step of a flow.
//
//	c, err := connector.New(cfg, connector.Options{})
//	if err != nil {
//		return err // every mistake of the configuration
//	}
//	if err := c.Consume("readings", flow.Func(store)); err != nil {
//		return err
//	}
//	if err := c.Start(ctx); err != nil {
//		return err
//	}
//	<-ctx.Done()
//	return c.Stop(context.Background()) // what runs ends first
//
// All consumers and producers of a [Connector] share one Network Connection, because a Server knows
// a client by its ClientID. [Config.Connections] describes connections to further Servers, which
// producers may publish over. Package connector/config reads a [Config] from YAML and JSON, and
// package connector/flow has messages, errors and the steps that flows are made of.
//
// A program that is no flow takes messages with [Connector.Pull]. [Connector.Reconfigure] applies
// another configuration to a connector that runs.
//
// # What is promised
//
// With QoS 1 or 2, clean_session off and the acknowledgement mode "after the flow succeeded", no
// message is lost: it is acknowledged only when its flow succeeded or its failure policy disposed
// of it, so the Server sends it again after a crash. A reconnect that keeps the session does not
// run a flow a second time. After a crash a message of QoS 1 may run twice, and so may one of QoS 2
// whose flow had ended and whose acknowledgement had not left.
package connector
