package client

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/mqtt311/mqtt311/session"
)

// whoEnded reports who ended a Network Connection of which a Read or Write returned err. It is
// asked only when nobody has decided to end it before: see [link.closeFor]. What cannot be told
// counts as the network's doing, because only the Server's own close counts against what was sent.
func whoEnded(err error) session.EndedBy {
	var transport interface{ ByPeer() bool } // a transport that knows, such as ws.CloseError
	var op *net.OpError
	var errno syscall.Errno
	switch {
	case errors.As(err, &transport):
		if transport.ByPeer() {
			return session.ByPeer
		}
		return session.ByUs
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return session.ByPeer
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert, in the words of crypto/tls
		return session.ByPeer
	case errors.As(err, &op) && op.Op == "local error": // what came breaks TLS
		return session.ByUs
	case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
		return session.ByUs
	case errors.As(err, &errno) && slices.Contains(resets, errno):
		return session.ByPeer
	}
	return session.ByNetwork // a time-out of the system, an unreachable network
}
