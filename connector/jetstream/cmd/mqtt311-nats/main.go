// Mqtt311-nats is the command mqtt311 with the parts that need NATS servers: run --into moves messages into a
// stream, work runs flows for messages from it, and run divides the work among processes that hold leases.
package main

import (
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/verbs"
)

func main() { command.MainNATS(streams{}, verbs.All...) }
