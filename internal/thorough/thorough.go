// Package thorough selects the brief or the full form of tests with real brokers, processes and disks or with many histories.
// The default is brief, so that go test ./... takes about a minute. With MQTT311_THOROUGH=1 in the environment, as set by make
// thorough and CI, they run in full.
package thorough

import (
	"os"
	"testing"
)

// On reports whether tests are to be thorough.
func On() bool { return os.Getenv("MQTT311_THOROUGH") == "1" }

// Only skips a test that has no brief form.
func Only(t testing.TB) {
	t.Helper()
	if !On() {
		t.Skip("it takes long: make thorough, or MQTT311_THOROUGH=1")
	}
}

// Pick returns the value for the form that runs.
func Pick[T any](brief, all T) T {
	if On() {
		return all
	}
	return brief
}
