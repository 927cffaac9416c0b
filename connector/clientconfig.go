package connector

import "github.com/mqtt311/mqtt311/client"

// ClientConfig returns the client configuration that a Connector uses for its main connection: how
// to reach the Server, and the ClientID and credentials. It is for programs that use the same
// Server in another way. [Config.Check] must find no errors in cfg.
func (cfg *Config) ClientConfig() (client.Config, error) {
	return (&way{cfg: cfg.own()}).clientConfig()
}
