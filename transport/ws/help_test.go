package ws_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport/ws"
)

func tlsConfig(p *testcert.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.TLS()}}
}

// A peer is the server's end, written byte by byte and without a library, so that it can do what no
// library would.
type peer struct {
	net.Conn
	t       testing.TB
	r       *bufio.Reader
	request *http.Request
}

// The opcodes of RFC 6455, section 5.2, and the other bits of that byte.
const (
	fin          = 0x80
	rsv1         = 0x40
	continuation = 0
	text         = 1
	binaryFrame  = 2
	closeFrame   = 8
	ping         = 9
	pong         = 10
)

// answer is a correct handshake response, without the key.
const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n"

func newPeer(t testing.TB, conn net.Conn) *peer {
	return &peer{Conn: conn, t: t, r: bufio.NewReader(conn)}
}

// readRequest reads the handshake of the client.
func (p *peer) readRequest() {
	request, err := http.ReadRequest(p.r)
	if err != nil {
		p.t.Errorf("the request: %v", err)
		return
	}
	p.request = request
}

// accept ends a response header with the key for the client's request.
func (p *peer) accept(header string) {
	p.readRequest()
	sum := sha1.Sum([]byte(p.request.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	p.send(header, "Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
}

func (p *peer) send(parts ...string) { io.WriteString(p, strings.Join(parts, "")) }

// frame returns an unmasked frame with the shortest length.
func frame(first byte, payload string) string {
	switch n := len(payload); {
	case n < 126:
		return string([]byte{first, byte(n)}) + payload
	case n < 1<<16:
		return string(binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))) + payload
	default:
		return string(binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))) + payload
	}
}

// closing returns a close frame.
func closing(code uint16, reason string) string {
	return frame(fin|closeFrame, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

// A received is a frame, unmasked.
type received struct {
	first   byte
	masked  bool
	payload string
}

// receive reads one frame of the client.
func (p *peer) receive() (received, error) {
	var head [2]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return received{}, err
	}
	length := uint64(head[1] & 0x7f)
	if wide := map[uint64]int{126: 2, 127: 8}[length]; wide > 0 {
		b := make([]byte, 8)
		if _, err := io.ReadFull(p.r, b[8-wide:]); err != nil {
			return received{}, err
		}
		length = binary.BigEndian.Uint64(b)
	}
	f := received{first: head[0], masked: head[1]&0x80 != 0}
	var mask [4]byte
	if f.masked {
		if _, err := io.ReadFull(p.r, mask[:]); err != nil {
			return f, err
		}
	}
	payload := make([]byte, length)
	_, err := io.ReadFull(p.r, payload)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	f.payload = string(payload)
	return f, err
}

// mustReceive is receive where an error fails the test.
func (p *peer) mustReceive() received {
	f, err := p.receive()
	if err != nil {
		p.t.Errorf("a frame of the client: %v", err)
	}
	return f
}

// closeCode reads up to the client's close frame and returns its code, or 0 if the connection ends
// without one.
func (p *peer) closeCode() int {
	for {
		f, err := p.receive()
		if err != nil {
			return 0
		}
		if f.first == fin|closeFrame && len(f.payload) >= 2 {
			return int(binary.BigEndian.Uint16([]byte(f.payload)))
		}
	}
}

// dial runs script as the server of a connection over net.Pipe. The connection is closed when the
// test ends, and so the script ends, too.
func dial(t testing.TB, opts *ws.Options, script func(*peer)) (net.Conn, error) {
	t.Helper()
	var o ws.Options
	if opts != nil {
		o = *opts
	}
	here, there := net.Pipe()
	var running sync.WaitGroup
	o.NetDial = func(context.Context, string, string) (net.Conn, error) {
		running.Go(func() { script(newPeer(t, there)) })
		return here, nil
	}
	t.Cleanup(func() {
		here.Close()
		there.Close()
		running.Wait()
	})
	return ws.Dial(context.Background(), "ws://broker.test/mqtt", &o)
}

// meet is dial with a handshake that must succeed.
func meet(t testing.TB, opts *ws.Options, script func(*peer)) net.Conn {
	t.Helper()
	conn, err := dial(t, opts, func(p *peer) {
		p.accept(answer)
		script(p)
	})
	require.NoError(t, err)
	return conn
}
