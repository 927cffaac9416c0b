// Package benthos makes package connector an input and an output of the stream engine Benthos, which is
// also that of Redpanda Connect. Both are named mqtt311. A program of the engine gets them by importing
// the package:
//
//	import _ "github.com/mqtt311/mqtt311/connector/benthos"
//
// The input acknowledges a message to the Server when the engine has delivered it, and not before. The
// output is done with a message when the promise of its QoS is kept. Their fields have the names of the
// engine's own mqtt components. docs/benthos.md describes them, and the command mqtt311-benthos is an
// engine that has them.
package benthos

import "github.com/redpanda-data/benthos/v4/public/service"

// Name is what the input and the output are called in a configuration.
const Name = "mqtt311"

func init() { // as plugins of the engine do
	if err := Register(service.GlobalEnvironment()); err != nil {
		panic(err)
	}
}

// Register adds the input and the output to an environment. The global one has them already.
func Register(env *service.Environment) error {
	if err := env.RegisterBatchInput(Name, inputSpec(), newInput); err != nil {
		return err
	}
	return env.RegisterBatchOutput(Name, outputSpec(), newOutput)
}
