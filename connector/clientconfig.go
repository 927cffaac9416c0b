package connector

import (
	"fmt"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
)

// ClientConfig returns the client configuration that a Connector uses for its main connection: how
// to reach the Server, and the ClientID and credentials. It is for programs that use the same
// Server in another way. [Config.Check] must find no errors in cfg.
func (cfg *Config) ClientConfig() (client.Config, error) {
	return (&way{cfg: cfg.own()}).clientConfig()
}

// ConnectionConfig is ClientConfig for a connection of Connections.
func (cfg *Config) ConnectionConfig(name string) (client.Config, error) {
	settings, ok := cfg.Connections[name]
	if !ok {
		return client.Config{}, flow.NewError(flow.TypeConfig, fmt.Errorf("there is no connection %q in the configuration", name))
	}
	return (&way{cfg: &settings}).clientConfig()
}
