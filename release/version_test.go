package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNameOf(t *testing.T) {
	for described, want := range map[string]string{
		"v1.2.3-0-g0123abc":           "1.2.3",
		"v1.2.3-5-g0123abc":           "1.2.4-dev.5.g0123abc",
		"v1.2.9-1-g0123abc":           "1.2.10-dev.1.g0123abc",
		"v1.0.0-rc.1-0-g0123abc":      "1.0.0-rc.1",
		"v1.0.0-rc.1-12-g0123abc":     "1.0.0-rc.1.dev.12.g0123abc",
		"v0.0.0-749-gb911f99":         "0.0.1-dev.749.gb911f99",
		"v10.20.30-alpha-0-g00000000": "10.20.30-alpha",
	} {
		got, err := nameOf(described)
		require.NoError(t, err, described)
		require.Equal(t, want, got)
	}
	for _, described := range []string{"", "v1.2-0-g0123abc", "release-1-g0123abc", "v1.2.3", "v1.2.3-x-gzzz"} {
		_, err := nameOf(described)
		require.Error(t, err, described)
	}
}

func TestArguments(t *testing.T) {
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	require.ErrorContains(t, run(t.Context(), "..", full, "", "", nil), "is not empty")
	require.ErrorContains(t, run(t.Context(), "..", t.TempDir(), "linux/mips", "", nil), "none of linux/amd64")
	require.ErrorContains(t, run(t.Context(), "..", t.TempDir(), "", "mqtt311,mqtt312", nil), `program "mqtt312" is none of mqtt311, mqtt311-nats`)
	require.ErrorContains(t, run(t.Context(), "..", t.TempDir(), "", "", []string{"now"}), `"now"`)
	_, err := os.Stat(filepath.Join(full, "mine"))
	require.NoError(t, err)
}
