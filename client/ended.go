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

// whoEnded returns who ended a Network Connection whose Read or Write returned err. It is called
// only if we have not ended it: see [link.closeFor]. If it is unclear, it returns ByNetwork,
// because a request can only be blamed for a close by the Server.
func whoEnded(err error) session.EndedBy {
	var transport interface{ ByPeer() bool } // of a transport that knows, such as ws.CloseError
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
	case errors.As(err, &op) && op.Op == "local error": // the Server violated TLS
		return session.ByUs
	case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
		return session.ByUs
	case errors.As(err, &errno) && slices.Contains(resets, errno):
		return session.ByPeer
	}
	return session.ByNetwork // a time-out of the system, an unreachable network
}
