package sim

import "slices"

// Shrink returns the shortest run it finds that still breaks a promise, with kinds of steps left
// out and fewer messages. It returns o if o does not fail.
func Shrink(o Options) Options {
	o.Trace = nil
	st, err := Run(o)
	if err == nil {
		return o
	}
	best := st.Steps
	try := func(c Options) {
		if st, err := Run(c); err != nil && st.Steps < best {
			best, o = st.Steps, c
		}
	}
	for range 2 {
		for _, f := range faults {
			if slices.Contains(o.Without, f) {
				continue
			}
			c := o
			c.Without = append(slices.Clone(o.Without), f)
			try(c)
		}
		for _, n := range []int{1, 2, 3, 5, 8} {
			c := o
			c.Limit = n
			try(c)
		}
	}
	return o
}
