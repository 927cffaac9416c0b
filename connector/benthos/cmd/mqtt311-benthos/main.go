// Mqtt311-benthos is a small Benthos: the engine with its own components, and the input and output mqtt311.
//
//	mqtt311-benthos -c pipeline.yaml
//	mqtt311-benthos lint pipeline.yaml
//	mqtt311-benthos create mqtt311/mapping/mqtt311
package main

import (
	"context"

	_ "github.com/mqtt311/mqtt311/connector/benthos"
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure/extended"
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	service.RunCLI(context.Background(),
		service.CLIOptSetBinaryName("mqtt311-benthos"),
		service.CLIOptSetProductName("mqtt311-benthos"),
		service.CLIOptOnConfigParse(checkOrder),
	)
}
