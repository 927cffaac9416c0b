package connector

import "github.com/mqtt311/mqtt311/client"

// ClientConfig returns the configuration of the client that a Connector of cfg has for its own connection: how it reaches
// the Server, and as whom. It is for programs that look at the same Server in another way. The configuration has to
// be one in which [Config.Check] finds no mistake.
func (cfg *Config) ClientConfig() (client.Config, error) {
	return (&way{cfg: cfg.own()}).clientConfig()
}
