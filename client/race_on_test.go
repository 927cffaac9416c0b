//go:build race

package client_test

const raceEnabled = true // the race detector keeps memory of its own
