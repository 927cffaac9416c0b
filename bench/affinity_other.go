//go:build !linux

package main

// pinned calls start: only Linux can bind a process to a core.
func pinned(_ int, start func() error) error { return start() }
