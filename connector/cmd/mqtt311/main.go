// Mqtt311 is the command of the connector: it publishes and subscribes like
// mosquitto_pub and mosquitto_sub, checks a connector's configuration, tries its
// connection, and runs it.
package main

import (
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/verbs"
)

func main() { command.Main(verbs.All...) }
