// Mqtt311-benthos is a small Benthos: the engine with its own components, and the input and output mqtt311.
//
//	mqtt311-benthos -c pipeline.yaml
//	mqtt311-benthos lint pipeline.yaml
//	mqtt311-benthos create mqtt311/mapping/mqtt311
package main

import (
	"context"
	"runtime/debug"

	_ "github.com/mqtt311/mqtt311/connector/benthos"
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure/extended"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// Set in a release: -ldflags "-X main.version=1.2.3 -X main.date=2026-01-02T03:04:05Z".
var version, date string

func main() {
	opts := []service.CLIOptFunc{
		service.CLIOptSetBinaryName("mqtt311-benthos"),
		service.CLIOptSetProductName("mqtt311-benthos"),
		service.CLIOptOnConfigParse(checkOrder),
	}
	if version != "" { // otherwise --version prints the engine's alone
		opts = append(opts, service.CLIOptSetVersion(version+", Benthos "+engineVersion(), date))
	}
	service.RunCLI(context.Background(), opts...)
}

func engineVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/redpanda-data/benthos/v4" {
				return m.Version
			}
		}
	}
	return "unknown"
}
