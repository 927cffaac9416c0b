package clientsim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A stream carries bytes in one direction: late, in pieces, up to some byte, or not at all.
type stream struct {
	mu       sync.Mutex
	changed  chan struct{} // closed at every change
	parcels  []parcel
	size     int // bytes in them
	delay    func() time.Duration
	left     int // bytes before the cut comes; negative: it does not
	cut      func()
	hole     bool  // nothing arrives any more and nobody is told
	readErr  error // after what has arrived
	writeErr error
	readBy   time.Time
	writeBy  time.Time
}

// A parcel is some bytes in flight.
type parcel struct {
	due   time.Time
	bytes []byte
}

const streamSpace = 4096 // bytes in flight before a write waits

func newStream(delay func() time.Duration) *stream {
	return &stream{changed: make(chan struct{}), delay: delay, left: -1}
}

// change does something to the stream and wakes whoever waits for it.
func (s *stream) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.tell()
}

func (s *stream) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
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

// lose drops the bytes in flight from some byte on.
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

// wait waits until the stream changes, or for at. The caller holds mu.
func (s *stream) wait(at ...time.Time) {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	var first time.Time
	for _, t := range at {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(first))
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
			s.wait(s.writeBy)
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
	s.tell()
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
			s.tell()
			return n, nil
		default:
			due = s.parcels[0].due
		}
		s.wait(due, s.readBy)
	}
}

// errCut is what a network says: nobody closed.
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
	e.in.change(func() { e.in.readBy = t })
	return nil
}

func (e *end) SetWriteDeadline(t time.Time) error {
	e.out.change(func() { e.out.writeBy = t })
	return nil
}

func (e *end) LocalAddr() net.Addr  { return addr{} }
func (e *end) RemoteAddr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "sim" }
func (addr) String() string  { return "sim" }
