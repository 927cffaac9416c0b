// Package connector implements an integration (iPaaS) connector for MQTT 3.1.1: a Consumer runs a
// flow for each message that arrives and acknowledges the message when the flow has succeeded; a
// Producer publishes messages, and can be a step of a flow.
//
//	c, err := connector.New(cfg, connector.Options{})
//	if err != nil {
//		return err // all errors in the configuration
//	}
//	if err := c.Consume("readings", flow.Func(store)); err != nil {
//		return err
//	}
//	if err := c.Start(ctx); err != nil {
//		return err
//	}
//	<-ctx.Done()
//	return c.Stop(context.Background()) // waits for running flows
//
// All consumers and producers of a [Connector] share one Network Connection, because a Server
// allows only one for each ClientID. [Config.Connections] has connections to further Servers, for
// producers. Package connector/config reads a [Config] from YAML or JSON. Package connector/flow
// defines messages, errors and the steps of flows.
//
// A program can take messages with [Connector.Pull] instead of providing a flow.
// [Connector.Reconfigure] changes the configuration of a running connector.
//
// # Guarantees
//
// With QoS 1 or 2, clean_session off and acknowledgement after the flow has succeeded, no message
// is lost: it is acknowledged only when its flow has succeeded or its failure policy has disposed
// of it, so the Server sends it again after a crash. A reconnect in the same session does not run a
// flow again. After a crash, the flow of a message may run again if the acknowledgement was not
// sent before.
package connector
