package ws_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/transport/internal/failure"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// Frame boundaries have no meaning: packets span frames, and frames hold several packets, even with
// control frames in between [MQTT-6.0.0-2].
func TestFrameBordersMeanNothing_MQTT_6_0_0_2(t *testing.T) {
	const stream = "first packet, second packet, third packet"
	half := len(stream) / 2
	for about, frames := range map[string]string{
		"one frame":              frame(fin|binaryFrame, stream),
		"two messages":           frame(fin|binaryFrame, stream[:half]) + frame(fin|binaryFrame, stream[half:]),
		"continuation":           frame(binaryFrame, stream[:half]) + frame(continuation, stream[half:half+1]) + frame(fin|continuation, stream[half+1:]),
		"a byte a frame":         eachByte(stream, fin|binaryFrame, fin|binaryFrame, ""),
		"a byte a piece":         eachByte(stream, binaryFrame, continuation, "") + frame(fin|continuation, ""),
		"a pong after each byte": eachByte(stream, fin|binaryFrame, fin|binaryFrame, frame(fin|pong, "unasked")),
		"a pong inside":          eachByte(stream, binaryFrame, continuation, frame(fin|pong, "")) + frame(fin|continuation, ""),
		"empty frames":           frame(fin|binaryFrame, "") + frame(binaryFrame, "") + frame(continuation, "") + frame(fin|continuation, stream) + frame(fin|binaryFrame, ""),
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := meet(t, nil, func(p *peer) {
					p.send(frames, closing(1000, ""))
					require.Equal(t, 1000, p.closeCode())
				})
				got, err := io.ReadAll(conn)
				require.ErrorIs(t, err, io.EOF)
				require.Equal(t, stream, string(got))
				require.NoError(t, conn.Close())
			})
		})
	}
}

func eachByte(s string, first, later byte, between string) string {
	var b strings.Builder
	for i, c := range []byte(s) {
		kind := later
		if i == 0 {
			kind = first
		}
		b.WriteString(frame(kind, string(c)) + between)
	}
	return b.String()
}

// Messages with all three forms of length are read through a small buffer.
func TestLengths(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 300_000} {
		synctest.Test(t, func(t *testing.T) {
			conn := meet(t, nil, func(p *peer) {
				p.send(frame(fin|binaryFrame, strings.Repeat("x", n)), closing(1000, ""))
				p.closeCode()
			})
			defer conn.Close()
			got, err := io.ReadAll(io.LimitReader(conn, int64(n)))
			require.NoError(t, err)
			require.Len(t, got, n)
		})
	}
}

// A text frame ends the connection with 1003 [MQTT-6.0.0-1].
func TestTextFrame_MQTT_6_0_0_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		code := 0
		conn := meet(t, nil, func(p *peer) {
			p.send(frame(fin|binaryFrame, "before"), frame(fin|text, "hello"))
			code = p.closeCode()
		})
		got, err := io.ReadAll(conn)
		require.Equal(t, "before", string(got))
		failure.Is(t, "ws-protocol", err)
		require.ErrorContains(t, err, "[MQTT-6.0.0-1]")
		require.False(t, byPeer(t, err), "we close over it")
		synctest.Wait()
		require.Equal(t, 1003, code)
		_, again := conn.Read(make([]byte, 1))
		require.Equal(t, err, again, "the error stays")
		_, err = conn.Write([]byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, conn.Close())
	})
}

// A violation of RFC 6455 ends the connection, and the error describes it.
func TestBrokenFrames(t *testing.T) {
	for about, test := range map[string]struct {
		frames string
		code   int
		says   string
	}{
		"masked":                  {"\x82\x81\x01\x02\x03\x04x", 1002, "MASK"},
		"compressed":              {frame(fin|rsv1|binaryFrame, "x"), 1002, "RSV1"},
		"reserved bits":           {frame(fin|0x30|binaryFrame, "x"), 1002, "RSV2"},
		"reserved opcode":         {frame(fin|3, "x"), 1002, "opcode"},
		"reserved control opcode": {frame(fin|11, "x"), 1002, "opcode"},
		"long control frame":      {frame(fin|ping, strings.Repeat("x", 126)), 1002, "125"},
		"control frame in pieces": {frame(ping, "x"), 1002, "FIN"},
		"continuation of nothing": {frame(fin|continuation, "x"), 1002, "continuation"},
		"message in a message":    {frame(binaryFrame, "") + frame(fin|binaryFrame, "x"), 1002, "FIN"},
		"text in a message":       {frame(binaryFrame, "") + frame(fin|text, "x"), 1002, "FIN"},
		"negative length":         {"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", 1009, "limit"},
		"over the limit":          {frame(fin|binaryFrame, strings.Repeat("x", 11)), 1009, "MaxMessage"},
		"over the limit in parts": {frame(binaryFrame, "") + frame(continuation, "12345") + frame(fin|continuation, "678901"), 1009, "MaxMessage"},
		"a lie of a length":       {"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 1009, "MaxMessage"},
		"impossible close code":   {closing(1005, ""), 1002, "close code"},
		"close reason not UTF-8":  {closing(1000, "\xff"), 1002, "utf8"},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				code := 0
				conn := meet(t, &ws.Options{MaxMessage: 10}, func(p *peer) {
					p.send(test.frames)
					code = p.closeCode()
				})
				_, err := io.ReadAll(conn)
				failure.Is(t, "ws-protocol", err)
				require.ErrorContains(t, err, test.says)
				var broken *ws.ProtocolError
				require.ErrorAs(t, err, &broken)
				require.Equal(t, test.code, broken.Code)
				conn.Close()
				synctest.Wait()
				require.Equal(t, test.code, code, "the server is told")
			})
		})
	}
}

// byPeer asks an error of this package whether the peer ended the connection, like package client.
func byPeer(t *testing.T, err error) bool {
	t.Helper()
	var told interface{ ByPeer() bool }
	require.ErrorAs(t, err, &told)
	return told.ByPeer()
}

// The error says how a connection ended.
func TestCloseCodes(t *testing.T) {
	for about, test := range map[string]struct {
		end, says string
		echo      int
		eof       bool
	}{
		"normal":           {closing(1000, "MQTT died"), `1000 (normal): "MQTT died"`, 1000, true},
		"going away":       {closing(1001, ""), "1001 (going away)", 1001, true},
		"without a code":   {frame(fin|closeFrame, ""), "closed the WebSocket", 0, true},
		"policy":           {closing(1008, "who are you?"), `1008 (policy violation): "who are you?"`, 1008, false},
		"too big":          {closing(1009, ""), "1009 (message too big)", 1009, false},
		"private":          {closing(4001, "x"), `4001 (private): "x"`, 4001, false},
		"no close frame":   {"", "without a close frame", 0, true},
		"inside a message": {frame(binaryFrame, ""), "without a close frame", 0, true},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				code := 0
				conn := meet(t, nil, func(p *peer) {
					p.send(frame(fin|binaryFrame, "x"), test.end)
					if test.end == "" || about == "inside a message" {
						p.Close()
						return
					}
					code = p.closeCode()
				})
				_, err := io.ReadAll(conn)
				if about == "inside a message" {
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				} else {
					failure.Is(t, "ws-closed", err)
					require.ErrorContains(t, err, test.says)
					require.Equal(t, test.eof, errors.Is(err, io.EOF))
					require.True(t, byPeer(t, err))
				}
				conn.Close()
				synctest.Wait()
				require.Equal(t, test.echo, code)
			})
		})
	}
}

// A Write sends one masked binary frame, a long one several messages of one frame each, an empty
// one nothing [MQTT-6.0.0-1].
func TestWrites_MQTT_6_0_0_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []received
		conn := meet(t, nil, func(p *peer) {
			for range 6 {
				got = append(got, p.mustReceive())
			}
		})
		long := strings.Repeat("x", 64<<10)
		for _, s := range []string{"a", "", "bc", long, long + "yz", ""} {
			n, err := io.WriteString(conn, s)
			require.NoError(t, err)
			require.Equal(t, len(s), n)
		}
		conn.Close()
		synctest.Wait()
		for i, want := range []string{"a", "bc", long, long, "yz"} {
			require.Equal(t, received{fin | binaryFrame, true, want}, got[i])
		}
		require.Equal(t, received{fin | closeFrame, true, "\x03\xe8"}, got[5], "the close frame is masked as well")
	})
}

// Pings are answered while the connection is read.
func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := meet(t, nil, func(p *peer) {
			p.send(frame(fin|ping, "are you there?"))
			require.Equal(t, received{fin | pong, true, "are you there?"}, p.mustReceive())
			p.send(frame(fin|ping, ""))
			require.Equal(t, received{fin | pong, true, ""}, p.mustReceive())
			p.send(closing(1000, ""))
			p.closeCode()
		})
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		conn.Close()
	})
}

// A server that sends data and pings but does not read does not block the reader, and the newest
// ping is answered once the server reads.
func TestPingsDoNotHoldUpTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		allRead := make(chan struct{})
		conn := meet(t, nil, func(p *peer) {
			p.send(frame(fin|ping, "first"))
			synctest.Wait() // its pong is being written
			p.send(strings.Repeat(frame(fin|ping, "old")+frame(fin|binaryFrame, "x"), 1000), frame(fin|ping, "new"), frame(fin|binaryFrame, "end"))
			<-allRead
			require.Equal(t, "first", p.mustReceive().payload)
			require.Equal(t, "new", p.mustReceive().payload)
		})
		got := make([]byte, 1003)
		_, err := io.ReadFull(conn, got)
		require.NoError(t, err)
		close(allRead)
		synctest.Wait()
		conn.Close()
	})
}

// A deadline ends a blocked Read or Write, even if another goroutine sets it.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := meet(t, nil, func(*peer) {})
		start := time.Now()
		time.AfterFunc(3*time.Second, func() { conn.SetDeadline(time.Now()) })
		var reading sync.WaitGroup
		reading.Go(func() {
			_, err := conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		})
		_, err := io.WriteString(conn, "nobody reads this")
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
		reading.Wait()
		conn.Close()
	})
}

// Close ends a blocked Read and Write. It returns at once if a Write is blocked, and otherwise within a quarter
// of a second if the peer does not read the close frame. A second Close does nothing.
func TestCloseIsSoon(t *testing.T) {
	for stuck, want := range map[bool]time.Duration{true: 0, false: 250 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			conn := meet(t, nil, func(*peer) {})
			var others sync.WaitGroup
			others.Go(func() {
				_, err := conn.Read(make([]byte, 1))
				require.ErrorIs(t, err, net.ErrClosed)
			})
			if stuck {
				others.Go(func() {
					_, err := io.WriteString(conn, "nobody reads this")
					require.ErrorIs(t, err, net.ErrClosed)
				})
			}
			synctest.Wait()
			start := time.Now()
			require.NoError(t, conn.Close())
			require.Equal(t, want, time.Since(start))
			require.NoError(t, conn.Close())
			others.Wait()
		})
	}
}

// After CloseWrite the server may still send, up to its own close frame.
func TestCloseWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := meet(t, nil, func(p *peer) {
			require.Equal(t, 1000, p.closeCode())
			p.send(frame(fin|binaryFrame, "last words"), closing(1000, ""))
		})
		require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
		_, err := io.WriteString(conn, "x")
		require.ErrorIs(t, err, net.ErrClosed)
		got, err := io.ReadAll(conn)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, "last words", string(got))
		require.NoError(t, conn.Close())
	})
}

// Further reads after an error return the same error.
func TestReadAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := meet(t, nil, func(p *peer) { p.send(closing(1011, "")); p.closeCode() })
		for range 2000 { // gorilla alone panics after 1000
			_, err := conn.Read(make([]byte, 1))
			require.ErrorContains(t, err, "1011 (internal error)")
		}
		n, err := conn.Read(nil)
		require.Zero(t, n)
		require.NoError(t, err)
		conn.Close()
	})
}
