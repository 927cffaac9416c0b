package connector

import (
	"fmt"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
)

// ClientConfig returns the configuration of the client that a Connector of cfg has for its own connection: how it reaches
// the Server, and as whom. It is for programs that look at the same Server in another way. The configuration has to
// be one in which [Config.Check] finds no mistake.
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
