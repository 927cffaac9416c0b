package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// pinned calls start so that the process that it starts runs on one core only: a process inherits
// the cores of the thread that starts it, and the Go runtime counts them at its start.
func pinned(core int, start func() error) error {
	if core == anywhere {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	one.Set(nth(&all, core))
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &all)
	return start()
}

// nth returns the nth core that this process may use, or the last if there are fewer.
func nth(set *unix.CPUSet, n int) int {
	found := 0
	for cpu := range 8 * len(set) * 8 {
		if set.IsSet(cpu) {
			found = cpu
			if n--; n < 0 {
				break
			}
		}
	}
	return found
}
