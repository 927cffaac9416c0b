package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/stretchr/testify/require"
)

// A refusingConn has already received the Server's reason for closing when the client first writes
// to it.
type refusingConn struct {
	net.Conn
	written chan struct{}
	why     error
}

func (c *refusingConn) Write([]byte) (int, error) {
	close(c.written)
	return 0, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.ECONNRESET)}
}

func (c *refusingConn) Read([]byte) (int, error) {
	<-c.written
	return 0, c.why
}

// An alertError is a transport error that carries a hint, like transport.DialError.
type alertError struct{}

func (alertError) Error() string  { return "remote error: tls: certificate required" }
func (alertError) Hint() string   { return "give a certificate" }
func (alertError) HintZH() string { return "请给出证书" }

func (alertError) Unwrap() error {
	return &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}
}

// In TLS 1.3 a Server may refuse the client's certificate while the client is already writing: the write fails with
// a reset, but the Server's reason can still be read. The error gives that reason, not the reset.
func TestReasonOfTheServerBesideAFailedWrite(t *testing.T) {
	for _, test := range []struct {
		why  error
		says string
	}{
		{alertError{}, "the server closed the connection before CONNACK: remote error: tls: certificate required"},
		{io.EOF, "the server closed the connection before CONNACK: write tcp: write: connection reset by peer"},
	} {
		dial := func(context.Context) (net.Conn, error) {
			end, _ := net.Pipe()
			return &refusingConn{Conn: end, written: make(chan struct{}), why: test.why}, nil
		}
		inBubble(t, client.Config{Dial: dial, NoReconnect: true}, func(d *dialogue) {
			err := d.client.Connect(d.ctx)
			require.ErrorContains(d, err, test.says)
			var hint *client.HandshakeError
			require.ErrorAs(d, err, &hint)
			require.Equal(d, test.why != io.EOF, hint.Hint() == "give a certificate")
		})
	}
}
