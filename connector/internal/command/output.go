package command

import (
	"io"
	"sync"
)

// An outputWriter is standard output that is no terminal. It remembers that something could not be written, so that no
// verb ends as if all had been.
type outputWriter struct {
	w io.Writer

	mu     sync.Mutex
	failed error
}

func (o *outputWriter) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		o.mu.Lock()
		if o.failed == nil {
			o.failed = err
		}
		o.mu.Unlock()
	}
	return n, err
}

func (o *outputWriter) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}
