//go:build tools

// Package tools pins the programs that check this project, in a module of their own.
package tools

import (
	_ "github.com/nats-io/nats-server/v2"
	_ "golang.org/x/perf/cmd/benchstat"
	_ "golang.org/x/vuln/cmd/govulncheck"
	_ "honnef.co/go/tools/cmd/staticcheck"
)
