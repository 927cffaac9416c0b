package ws

import (
	"bytes"
	"net"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/transport"
)

const (
	// maxAnswer limits the answer to the handshake, including the start of a body.
	maxAnswer = 16<<10 + 1024

	// bodyTime is how long to wait for the body of a refusal.
	bodyTime = time.Second
)

// wire wraps the underlying connection for gorilla. It keeps the time limit of the handshake and
// the deadlines of the user, which gorilla would overwrite, and the reader's errors, which gorilla
// would replace.
type wire struct {
	net.Conn

	// Used by the handshake, and then only by the reader.
	handshake bool
	answered  int    // bytes of the answer
	tail      []byte // its last three bytes, until its header has ended
	bodyStart bool   // the header has ended
	readErr   error  // the first

	mu            sync.Mutex
	writeDeadline time.Time // the user's
}

func (w *wire) Read(b []byte) (int, error) {
	if w.handshake {
		if w.answered >= maxAnswer {
			w.readErr = errTooLong
			return 0, errTooLong
		}
		b = b[:min(len(b), maxAnswer-w.answered)]
	}
	n, err := w.Conn.Read(b)
	if err != nil && w.readErr == nil {
		w.readErr = err
	}
	if w.handshake {
		if w.answered == 0 && bytes.HasPrefix(b[:n], []byte{0x15, 0x03}) { // a TLS alert
			w.readErr = transport.ErrSpeaksTLS
			return 0, w.readErr
		}
		w.answered += n
		w.limitBody(b[:n])
	}
	return n, err
}

// limitBody limits the time for the body of a refusal: gorilla waits for its end, and a server that
// keeps the connection open would use up the whole timeout and hide the status.
func (w *wire) limitBody(b []byte) {
	if w.bodyStart {
		return
	}
	seen := append(w.tail, b...)
	if bytes.Contains(seen, []byte("\r\n\r\n")) || bytes.Contains(seen, []byte("\n\n")) {
		w.bodyStart = true
		w.Conn.SetReadDeadline(time.Now().Add(bodyTime))
		return
	}
	w.tail = bytes.Clone(seen[max(0, len(seen)-3):])
}

// SetDeadline does nothing. Gorilla calls it only during the handshake, in which the context acts
// on the underlying connection.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetWriteDeadline is called by gorilla before each frame, with the zero time for data and a second
// ahead for its own control frames. The earlier of that and the user's deadline applies.
func (w *wire) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.IsZero() || !w.writeDeadline.IsZero() && w.writeDeadline.Before(t) {
		t = w.writeDeadline
	}
	return w.Conn.SetWriteDeadline(t)
}

// limitWrites is the user's SetWriteDeadline. It also applies to a Write in progress.
func (w *wire) limitWrites(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeDeadline = t
	return w.Conn.SetWriteDeadline(t)
}
