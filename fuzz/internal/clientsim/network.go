package clientsim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A stream carries bytes in one direction: with delays, in pieces, up to a cut, or not at all. Only one
// goroutine at a time may read from it.
type stream struct {
	mu       sync.Mutex
	parcels  []parcel
	size     int // bytes in them
	delay    func() time.Duration
	left     int // bytes until it is cut; negative: it is not
	cut      func()
	hole     bool  // nothing arrives any more, and neither end notices
	readErr  error // returned after the data that has arrived
	writeErr error
	readBy   time.Time
	writeBy  time.Time

	reading bool          // the reader waits
	wake    chan struct{} // has capacity 1; the reader looks again
	alarm   *time.Timer   // wakes the reader at a given time
	writing bool          // a writer waits, or has waited
	changed chan struct{} // closed to wake the writers
}

// A parcel is some bytes in flight.
type parcel struct {
	due   time.Time
	bytes []byte
}

const streamSpace = 4096 // bytes in flight before a write waits

func newStream(delay func() time.Duration) *stream {
	s := &stream{delay: delay, left: -1, wake: make(chan struct{}, 1), alarm: time.NewTimer(time.Hour), changed: make(chan struct{})}
	s.alarm.Stop()
	return s
}

// change modifies the stream and wakes its waiters.
func (s *stream) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.wakeReader()
	s.wakeWriters()
}

func (s *stream) wakeReader() {
	if s.reading {
		poke(s.wake)
	}
}

func (s *stream) wakeWriters() {
	if s.writing {
		close(s.changed)
		s.changed, s.writing = make(chan struct{}), false
	}
}

// end ends the stream with the errors of the two sides. Only the first call counts.
func (s *stream) end(readErr, writeErr error) {
	s.change(func() {
		if s.readErr == nil {
			s.readErr = readErr
		}
		if s.writeErr == nil {
			s.writeErr = writeErr
		}
	})
}

// lose drops the bytes in flight beyond those that keep returns.
func (s *stream) lose(keep func(n int) int) {
	s.change(func() {
		n := keep(s.size)
		for i := range s.parcels {
			p := &s.parcels[i]
			p.bytes = p.bytes[:min(n, len(p.bytes))]
			n -= len(p.bytes)
		}
	})
}

// awaitBytes lets a reader wait until the stream changes or one of two times has come. The caller holds
// mu.
func (s *stream) awaitBytes(due, by time.Time) {
	if s.reading {
		panic("two goroutines read from a stream")
	}
	if due.IsZero() || !by.IsZero() && by.Before(due) {
		due = by
	}
	if !due.IsZero() {
		s.alarm.Reset(time.Until(due))
	}
	s.reading = true
	s.mu.Unlock()
	select {
	case <-s.wake:
	case <-s.alarm.C:
	}
	s.mu.Lock()
	s.alarm.Stop()
	s.reading = false
}

// awaitRoom lets a writer wait until the stream changes or a time has come.
func (s *stream) awaitRoom(by time.Time) {
	changed := s.changed
	s.writing = true
	s.mu.Unlock()
	defer s.mu.Lock()
	if by.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(by))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	}
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (s *stream) write(b []byte) (int, error) {
	n, err := s.push(b)
	if err == errCut && s.cut != nil {
		s.cut()
	}
	return n, err
}

func (s *stream) push(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.writeErr != nil:
			return n, s.writeErr
		case past(s.writeBy):
			return n, os.ErrDeadlineExceeded
		case n == len(b):
			return n, nil
		case s.size >= streamSpace:
			s.awaitRoom(s.writeBy)
			continue
		}
		part := b[n:min(len(b), n+streamSpace-s.size)]
		cut := s.left >= 0 && len(part) >= s.left
		if cut {
			part = part[:s.left]
		}
		s.put(part)
		if n += len(part); cut {
			return n, errCut
		}
	}
}

func (s *stream) put(b []byte) {
	due := time.Now().Add(s.delay())
	if n := len(s.parcels); n > 0 && s.parcels[n-1].due.After(due) {
		due = s.parcels[n-1].due
	}
	s.parcels = append(s.parcels, parcel{due, append([]byte(nil), b...)})
	s.size += len(b)
	if s.left >= 0 {
		s.left -= len(b)
	}
	switch {
	case !s.reading, len(s.parcels) > 1: // nobody reads, or the reader waits for an earlier parcel
	case !due.After(time.Now()):
		s.wakeReader()
	case s.readBy.IsZero() || due.Before(s.readBy):
		s.alarm.Reset(time.Until(due))
	}
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var due time.Time
		switch {
		case past(s.readBy):
			return 0, os.ErrDeadlineExceeded
		case s.hole:
		case len(s.parcels) == 0:
			if s.readErr != nil {
				return 0, s.readErr
			}
		case past(s.parcels[0].due):
			p := &s.parcels[0]
			n := copy(b, p.bytes)
			p.bytes = p.bytes[n:]
			s.size -= n
			if len(p.bytes) == 0 {
				s.parcels = s.parcels[1:]
			}
			if n == 0 {
				continue
			}
			s.wakeWriters()
			return n, nil
		default:
			due = s.parcels[0].due
		}
		s.awaitBytes(due, s.readBy)
	}
}

// errCut is the error of a broken network: neither end has closed.
var errCut = &net.OpError{Op: "read", Net: "sim", Err: syscall.ETIMEDOUT}

// An end is one side of a connection.
type end struct {
	in, out *stream
}

func (e *end) Read(b []byte) (int, error)  { return e.in.read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.write(b) }

func (e *end) Close() error {
	e.in.change(func() { e.in.parcels, e.in.size, e.in.hole = nil, 0, false })
	e.in.end(net.ErrClosed, syscall.EPIPE)
	e.out.end(io.EOF, net.ErrClosed)
	return nil
}

func (e *end) CloseWrite() error {
	e.out.end(io.EOF, net.ErrClosed)
	return nil
}

func (e *end) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	e.in.readBy = t
	e.in.wakeReader()
	return nil
}

func (e *end) SetWriteDeadline(t time.Time) error {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	e.out.writeBy = t
	e.out.wakeWriters()
	return nil
}

func (e *end) LocalAddr() net.Addr  { return addr{} }
func (e *end) RemoteAddr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "sim" }
func (addr) String() string  { return "sim" }
