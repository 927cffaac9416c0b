package ws

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// closeTimeout is how long closing may wait to send the close frame.
const closeTimeout = 250 * time.Millisecond

// A Conn is an MQTT Network Connection over WebSocket. One goroutine may call Read while another
// calls Write; all other methods may be called at any time.
type Conn struct {
	ws   *websocket.Conn
	wire *wire

	reader  io.Reader // of the current message; used only by the reader
	readErr error     // the first error, which is final; used only by the reader

	writing   sync.Mutex   // held by Write
	closeCode atomic.Int32 // for our close frame
	closed    atomic.Bool
	pong      pong
}

func newConn(ws *websocket.Conn, w *wire, maxMessage int64) *Conn {
	c := &Conn{ws: ws, wire: w}
	c.closeCode.Store(websocket.CloseNormalClosure)
	if maxMessage == 0 {
		maxMessage = MaxPacket
	}
	ws.SetReadLimit(max(maxMessage, 0))
	ws.SetPingHandler(func(data string) error { c.pong.answer(ws, data); return nil })
	// Close echoes the code. A write here could block the reader.
	ws.SetCloseHandler(func(code int, _ string) error { c.echo(code); return nil })
	return c
}

// Read reads the payloads of binary frames as one stream, regardless of frame boundaries
// [MQTT-6.0.0-2]. It returns a [*CloseError] for a close frame and a [*ProtocolError] for a
// protocol violation. After an error all further calls fail.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for c.readErr == nil {
		if c.reader == nil {
			kind, reader, err := c.ws.NextReader()
			if err != nil {
				return 0, c.failed(err, false)
			}
			if kind != websocket.BinaryMessage { // [MQTT-6.0.0-1]
				return 0, c.breach(websocket.CloseUnsupportedData, "a text frame came, and MQTT is in binary frames [MQTT-6.0.0-1]")
			}
			c.reader = reader
		}
		n, err := c.reader.Read(b)
		if errors.Is(err, io.EOF) && !isClose(err) {
			c.reader, err = nil, nil
		}
		if err != nil {
			err = c.failed(err, true)
		}
		if n > 0 {
			return n, nil // an error is returned by the next call
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, c.readErr
}

func isClose(err error) bool {
	var closed *websocket.CloseError
	return errors.As(err, &closed)
}

// failed keeps the reader's first error, as one of our types.
func (c *Conn) failed(err error, inMessage bool) error {
	var closed *websocket.CloseError
	switch {
	case c.closed.Load():
		c.readErr = net.ErrClosed
	case errors.As(err, &closed) && closed.Code == websocket.CloseAbnormalClosure && inMessage:
		c.readErr = io.ErrUnexpectedEOF
	case errors.As(err, &closed):
		c.readErr = &CloseError{Code: closed.Code, Reason: closed.Text}
	case errors.Is(err, websocket.ErrReadLimit):
		c.closeCode.Store(websocket.CloseMessageTooBig)
		c.readErr = &ProtocolError{Code: websocket.CloseMessageTooBig, Reason: "a message is larger than the limit, MaxMessage"}
	case c.wire.readErr != nil:
		c.readErr = c.wire.readErr
	default: // gorilla has sent the close frame
		c.readErr = &ProtocolError{Code: websocket.CloseProtocolError, Reason: err.Error()}
	}
	return c.readErr
}

// breach ends the connection because of a violation that gorilla accepts.
func (c *Conn) breach(code int, reason string) error {
	c.readErr = &ProtocolError{Code: code, Reason: reason}
	c.closeCode.Store(int32(code))
	c.Close()
	return c.readErr
}

// echo uses the code of the server's close frame for ours.
func (c *Conn) echo(code int) {
	c.closeCode.Store(int32(code))
}

// Write sends b in one binary frame [MQTT-6.0.0-1], or, if b is longer than 64 KiB, in several
// messages of one frame each, since some servers do not support continuation frames. If b is empty
// Write sends nothing, since some servers close the connection when they receive an empty frame.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for len(b) > 0 {
		frame := b[:min(len(b), maxFrame)]
		if err := c.ws.WriteMessage(websocket.BinaryMessage, frame); err != nil {
			return n, c.writeFailed(err)
		}
		n += len(frame)
		b = b[len(frame):]
	}
	return n, nil
}

// writeFailed returns the error of a write; gorilla hides timeouts.
func (c *Conn) writeFailed(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case c.closed.Load(), errors.Is(err, websocket.ErrCloseSent):
		return net.ErrClosed
	case errors.As(err, &timeout) && timeout.Timeout():
		return os.ErrDeadlineExceeded
	}
	return err
}

// CloseWrite sends a close frame, after which Write fails. What the server sends before its own
// close frame can still be read. CloseWrite blocks for at most 250 ms.
func (c *Conn) CloseWrite() error {
	deadline := time.Now().Add(closeTimeout)
	c.wire.limitWrites(deadline)
	frame := websocket.FormatCloseMessage(int(c.closeCode.Load()), "")
	err := c.ws.WriteControl(websocket.CloseMessage, frame, deadline)
	if err != nil {
		return c.writeFailed(err)
	}
	return nil
}

// Close sends a close frame, unless a Write is blocked or one was sent before, and closes the
// connection. It waits at most 250 ms each for WebSocket and TLS. Further calls do nothing.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	// A frame cannot be sent within another. A Write still in progress now is blocked by a peer
	// that does not read.
	if c.writing.TryLock() {
		c.CloseWrite()
		c.writing.Unlock()
	}
	return c.wire.Conn.Close()
}

// NetConn returns the underlying connection, for inspection only, as by [transport.TLSState].
func (c *Conn) NetConn() net.Conn { return c.wire.Conn }

// LocalAddr returns the local address.
func (c *Conn) LocalAddr() net.Addr { return c.wire.LocalAddr() }

// RemoteAddr returns the address of the server or proxy.
func (c *Conn) RemoteAddr() net.Addr { return c.wire.RemoteAddr() }

// SetDeadline calls SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the time after which Read fails. Once exceeded, the connection cannot be
// read any more.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.wire.Conn.SetReadDeadline(t) }

// SetWriteDeadline sets the time after which Write fails. After a Write has failed in this way, so do
// all later ones.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.wire.limitWrites(t) }
