// Package benthos provides an input and an output, both named mqtt311, for the stream processor
// Benthos, on which Redpanda Connect is based. They use package connector. Importing the package
// registers them:
//
//	import _ "github.com/mqtt311/mqtt311/connector/benthos"
//
// The input acknowledges a message to the Server only when Benthos has delivered it. The output
// completes a message when the guarantee of its QoS is met. Their fields have the names of Benthos'
// own mqtt components. They are described in docs/benthos.md; the command mqtt311-benthos is a
// Benthos program that includes them.
package benthos

import "github.com/redpanda-data/benthos/v4/public/service"

// Name is the name of the input and the output in configurations.
const Name = "mqtt311"

func init() { // as plugins of the engine do
	if err := Register(service.GlobalEnvironment()); err != nil {
		panic(err)
	}
}

// Register adds the input and the output to env. The global environment already has them.
func Register(env *service.Environment) error {
	if err := env.RegisterBatchInput(Name, inputSpec(), newInput); err != nil {
		return err
	}
	return env.RegisterBatchOutput(Name, outputSpec(), newOutput)
}
