package wal

import "flag"

// long selects the long forms of tests that try many histories or stop at many places. The short
// forms try a sample of them.
var long = flag.Bool("wal.long", false, "run the long forms: every size and place")

// either returns few in the short forms and many in the long ones.
func either[T any](few, many T) T {
	if *long {
		return many
	}
	return few
}
