package command

import (
	"io"
	"sync"
)

// An outputWriter is a standard output other than a terminal. It remembers write errors, so that no verb reports
// success after one.
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
