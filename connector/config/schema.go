package config

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of a configuration in canonical spelling, for
// programs that write configurations; [EditorSchema] is for editors. It cannot express every rule,
// such as that a filter is valid; [Parse] checks all.
func Schema() []byte { return slices.Clone(schema) }
