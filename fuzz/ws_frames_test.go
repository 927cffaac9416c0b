package fuzz

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// deframe is a naive implementation of RFC 6455, section 5, and of section 6 of MQTT: it returns
// the bytes that a client may pass on before a stream of frames ends or breaks a rule. It is slow
// and short, and shares no code with what it checks.
func deframe(stream []byte, maxMessage int) (payload []byte) {
	inMessage, length := false, 0
	for len(stream) >= 2 {
		first, n := stream[0], int(stream[1]&0x7f)
		final, opcode := first&0x80 != 0, first&0x0f
		masked := stream[1]&0x80 != 0
		control := opcode >= 8
		switch {
		case masked, first&0x70 != 0, control && (n > 125 || !final):
			return payload
		case opcode == 0 && !inMessage, opcode == 1, opcode == 2 && inMessage, opcode > 2 && opcode < 8, opcode == 8, opcode > 10:
			return payload
		}
		stream = stream[2:]
		if wide := map[int]int{126: 2, 127: 8}[n]; wide > 0 {
			if len(stream) < wide {
				return payload
			}
			long := binary.BigEndian.Uint64(append(make([]byte, 8-wide), stream[:wide]...))
			stream = stream[wide:]
			if long > uint64(maxMessage) {
				return payload
			}
			n = int(long)
		}
		here := stream[:min(n, len(stream))]
		stream = stream[len(here):]
		if control {
			continue
		}
		if opcode == 2 {
			length = 0
		}
		if length += n; length > maxMessage {
			return payload
		}
		payload = append(payload, here...)
		inMessage = !final
	}
	return payload
}

// answering returns a server that runs the handshake correctly, sends frames, and ends.
func answering(frames []byte, piece int) func(net.Conn) {
	return func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		sum := sha1.Sum([]byte(request.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
		go io.Copy(io.Discard, conn)
		for len(frames) > 0 {
			n := min(piece, len(frames))
			if _, err := conn.Write(frames[:n]); err != nil {
				return
			}
			frames = frames[n:]
		}
	}
}

// open dials a server that runs script on its end of a pipe and closes it.
func open(t *testing.T, maxMessage int64, script func(net.Conn)) (net.Conn, error) {
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	var o ws.Options
	o.MaxMessage = maxMessage
	o.Timeout = 10 * time.Second
	o.NetDial = func(context.Context, string, string) (net.Conn, error) {
		go func() { defer there.Close(); script(there) }()
		return here, nil
	}
	return ws.Dial(context.Background(), "ws://broker.test/mqtt?token=sEcReT", &o)
}

// FuzzWSFrames checks that, whatever frames a server sends, the client reads what deframe returns,
// and then an error.
func FuzzWSFrames(f *testing.F) {
	for _, seed := range []string{
		"", "\x82\x05hello", "\x02\x02he\x80\x03llo", "\x02\x01h\x89\x04ping\x00\x00\x80\x01i\x82\x00", "\x81\x02hi", "\x88\x02\x03\xe8", "\x88\x00",
		"\x82\x7e\x00\x03abc", "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x03abc", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "\x82\x81\x01\x02\x03\x04x",
		"\xc2\x01x", "\x80\x01x", "\x82\x01a\x8a\x7e\x00\x80", "\x09\x00", "\x82\x01a\x02\x01b\x82\x01c", "\x82\x7e\x01\x01", "\x88\x01x\x82\x01y", "\x88\x02\x03\xed",
	} {
		f.Add([]byte(seed), byte(1))
		f.Add([]byte(seed), byte(200))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece byte) {
		const limit = 256
		conn, err := open(t, limit, answering(stream, int(piece)+1))
		require.NoError(t, err)
		defer conn.Close()
		got, err := io.ReadAll(conn)
		require.Error(t, err, "no stream ends without a reason")
		require.False(t, errors.Is(err, context.DeadlineExceeded))
		require.Equal(t, string(deframe(stream, limit)), string(got))
	})
}

// FuzzWSHandshake checks that, whatever answers the handshake, it ends in an agreement on "mqtt" or
// in a DialError of bounded length without the query of the URL.
func FuzzWSHandshake(f *testing.F) {
	const ok = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: KEY\r\n"
	for _, seed := range []string{
		ok + "\r\n", ok + "\r\n\x82\x01x", ok + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nsEcReT",
		"HTTP/1.1 301 x\r\nLocation: wss://sEcReT@x/?sEcReT\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", "\x20\x02\x00\x00", "HTTP/1.1 sEcReT\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + ok + "\r\n", "\x15\x03\x01\x00\x02\x02\x46", "", "H", ok + "sEcReT: \x00\r\n\r\n", "HTTP/1.1 999 sEc",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		conn, err := open(t, 0, func(conn net.Conn) {
			request, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			sum := sha1.Sum([]byte(request.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			answer = bytes.ReplaceAll(answer, []byte("KEY"), []byte(base64.StdEncoding.EncodeToString(sum[:])))
			go io.Copy(io.Discard, conn)
			conn.Write(answer)
		})
		if err == nil {
			require.True(t, bytes.HasPrefix(answer, []byte("HTTP/")))
			require.Contains(t, string(answer), "mqtt")
			conn.Close()
			return
		}
		var dial *transport.DialError
		require.ErrorAs(t, err, &dial)
		require.Equal(t, transport.StepWebSocket, dial.Step)
		require.NotContains(t, err.Error(), "sEcReT")
		require.LessOrEqual(t, len(err.Error()), 4*600)
	})
}
