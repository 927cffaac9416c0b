package config

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// The schema has the keys of the tables, neither more nor fewer, with the seed's labels,
// which also mark the seed's fields.
func TestSchemaHasEveryKey(t *testing.T) {
	type properties = map[string]struct {
		Label      string `json:"x-label-zh"`
		Seed       bool   `json:"x-seed"`
		Properties map[string]json.RawMessage
	}
	var doc struct {
		Defs map[string]struct {
			Label      string `json:"x-label-zh"`
			Properties properties
		} `json:"$defs"`
		Properties properties
	}
	require.NoError(t, json.Unmarshal(Schema(), &doc))
	for name, fields := range tables() {
		if name == "on_failure" {
			of := doc.Defs["consumer"].Properties["on_failure"].Properties
			require.Len(t, of, len(fields))
			for _, f := range fields {
				require.Contains(t, of, f.key)
			}
			continue
		}
		def := doc.Defs[name].Properties
		require.Len(t, def, len(fields), name)
		for _, f := range fields {
			require.Contains(t, def, f.key)
			require.Equal(t, f.zh, def[f.key].Label, f.key)
			require.Equal(t, f.zh != "", def[f.key].Seed, f.key)
		}
	}
	require.Len(t, doc.Properties, 4)
	Schema()[0] = 'x'
	require.Equal(t, byte('{'), Schema()[0], "the caller's copy")
}
