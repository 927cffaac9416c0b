package config

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of a configuration: canonical keys and
// spellings, which editors complete and check. What reading accepts on top, labels and
// other spellings, it does not have.
func Schema() []byte { return slices.Clone(schema) }
