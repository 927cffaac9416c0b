// Package thorough tells tests of real brokers, processes and disks, and those of many histories, how much they
// are to do. By default they are brief, so that go test ./... takes about a minute. With MQTT311_THOROUGH=1 in the
// environment, as make thorough and CI have it, they do all.
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

// Pick returns the number of the form that runs.
func Pick[T any](brief, all T) T {
	if On() {
		return all
	}
	return brief
}
