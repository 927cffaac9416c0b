package hostile

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/packets"
)

// secured are the servers that are hostile in TLS.
var secured = []Server{
	{
		Name: "TLS handshake hangs", Does: "accepts connections and says nothing", Over: TLS, Bare: true,
		Script: (*Conn).Drain, Told: "tls: .*: no answer in time",
	},
	{
		Name: "no TLS", Does: "speaks MQTT without TLS", Over: TLS, Bare: true,
		Script: func(c *Conn) { c.Say(&packets.Connack{}, &packets.Pingresp{}); c.Drain() }, Told: "does not look like a TLS handshake",
	},
	{
		Name: "TLS alerts", Does: "floods TLS alerts", Over: TLS, Bare: true,
		Script: func(c *Conn) { go c.Drain(); c.Flood([]byte{21, 3, 3, 0, 2, 1, 0}) }, Told: "tls: .*: EOF",
	},
	{
		Name: "TLS records of nothing", Does: "floods empty TLS records", Over: TLS, Bare: true,
		Script: func(c *Conn) { go c.Drain(); c.Flood([]byte{22, 3, 3, 0, 0}) }, Told: "tls: unexpected message",
	},
	{
		Name: "endless certificate", Does: "begins a handshake message of 16 MiB and sends it without end", Over: TLS, Bare: true,
		Script: func(c *Conn) {
			go c.Drain()
			c.Write([]byte{22, 3, 3, 0x40, 0, 11, 0xff, 0xff, 0xff})
			c.Write(make([]byte, 0x4000-4))
			c.Flood(append([]byte{22, 3, 3, 0x40, 0}, make([]byte, 0x4000)...))
		},
		Told: "handshake message of length 16777215 bytes exceeds",
	},
	{
		Name: "another name", Does: "shows a certificate for another name", Over: TLS,
		Cert: func(t testing.TB, ca *testcert.Pair) tls.Certificate {
			return ca.Issue(t, testcert.Names("else.example")).TLS()
		},
		Script: (*Conn).Drain, Told: "cannot validate certificate",
	},
	{
		Name: "expired", Does: "shows a certificate that has ended", Over: TLS,
		Cert: func(t testing.TB, ca *testcert.Pair) tls.Certificate {
			return ca.Issue(t, testcert.Valid(-48*time.Hour, -24*time.Hour)).TLS()
		},
		Script: (*Conn).Drain, Told: "certificate has expired",
	},
	{
		Name: "signed by itself", Does: "shows a certificate of nobody", Over: TLS,
		Cert:   func(t testing.TB, _ *testcert.Pair) tls.Certificate { return testcert.SelfSigned(t).TLS() },
		Script: (*Conn).Drain, Told: "unknown authority",
	},
	{
		Name: "no close_notify", Does: "ends TCP without a word in TLS", Over: TLS,
		Script: func(c *Conn) { c.Accept(false); c.Pause(20 * time.Millisecond); c.Under.Close() }, Told: "connection lost",
	},
	{
		Name: "garbage in TLS", Does: "sends a record that nobody can decrypt", Over: TLS,
		Script: func(c *Conn) {
			c.Accept(false)
			c.Pause(20 * time.Millisecond)
			c.Under.Write(append([]byte{23, 3, 3, 0, 100}, make([]byte, 100)...))
			c.Drain()
		},
		Told: "bad record MAC",
	},
	{
		Name: "a record for each byte", Does: "floods PINGRESP with each byte in a TLS record of its own", Over: TLS,
		Script: func(c *Conn) {
			c.Accept(false)
			go c.Drain()
			for {
				for _, b := range []byte{0xd0, 0} {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
				}
			}
		},
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "PUBREC in TLS, read slowly", Does: "floods PUBREC and reads 64 KiB every 0.2 s", Over: TLS,
		Script: slowly(encode(&packets.Pubrec{PacketID: 7})),
		Floods: true, Budget: Budget{CPU: 0.5}, Why: "it works as fast as the server reads",
	},
}

// framing are the servers that are hostile in WebSocket.
var framing = []Server{
	{
		Name: "WebSocket handshake hangs", Does: "does not answer the handshake", Over: WS, Bare: true,
		Script: (*Conn).Drain, Told: "websocket: .*: no answer in time",
	},
	{
		Name: "WebSocket in TLS hangs", Does: "does not answer the handshake, over TLS", Over: WSS, Bare: true,
		Script: func(c *Conn) {
			if c.Secure() == nil {
				c.Drain()
			}
		},
		Told: "websocket: .*: no answer in time",
	},
	upgrading("endless headers", "answers the handshake with a header without end", "the answer to the handshake is too long", func(c *Conn, k string) {
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\n")
		c.Flood([]byte("X-More: " + strings.Repeat("x", 100) + "\r\n"))
	}),
	upgrading("header byte by byte", "answers the handshake a byte every 50 ms, without end", "websocket: .*: no answer in time", func(c *Conn, k string) {
		c.Dribble([]byte("HTTP/1.1 101 Switching Protocols\r\nX-More: "+strings.Repeat("x", 10_000)), 1, 50*time.Millisecond)
	}),
	upgrading("endless body", "refuses the handshake with a body without end", "403 Forbidden", func(c *Conn, k string) {
		fmt.Fprintf(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000000000\r\n\r\n")
		c.Flood([]byte("no, "))
	}),
	upgrading("wrong accept", "answers with another Sec-WebSocket-Accept", "do not answer the request", func(c *Conn, k string) {
		c.Switch("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "Sec-WebSocket-Protocol: mqtt\r\n")
	}),
	upgrading("wrong subprotocol", "chooses a subprotocol that was not offered", "MQTT-6.0.0-4", func(c *Conn, k string) {
		c.Switch(k, "Sec-WebSocket-Protocol: chat\r\n")
	}),
	upgrading("compression", "chooses an extension that was not offered", "do not answer the request", func(c *Conn, k string) {
		c.Switch(k, "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n")
	}),
	upgrading("redirects", "redirects to itself", "302 Found", func(c *Conn, k string) {
		fmt.Fprintf(c, "HTTP/1.1 302 Found\r\nLocation: ws://%s/mqtt\r\nContent-Length: 0\r\n\r\n", c.LocalAddr())
	}),
	framed1("masked frames", "masks its frames", "bad MASK", append(frame(binry, 0x80, 4), 0, 0, 0, 0, 0xd0, 0, 0xd0, 0)),
	framed1("text frames", "sends text", "MQTT-6.0.0-1", append(frame(text, 0, 2), 0xd0, 0)),
	framed1("reserved bits", "sends compressed frames", "RSV1 set", append(frame(0xc2, 0, 2), 0xd0, 0)),
	framed1("oversize frame", "begins a frame of 2^62 bytes", "larger than the limit", frame(binry, 0, 1<<62)),
	framed1("frame of negative length", "begins a frame of 2^63 bytes", "larger than the limit", frame(binry, 0, 1<<63)),
	framed1("continuation of nothing", "continues a message that was not begun", "continuation after FIN", append(frame(0x80, 0, 2), 0xd0, 0)),
	framed1("long ping", "sends a ping of 1,000 bytes", "len > 125 for control", append(frame(ping, 0, 1000), make([]byte, 1000)...)),
	framed1("close", "sends a close frame at once", "code 1001", append(frame(closes, 0, 2), 0x03, 0xe9)),
	framed1("close with nonsense", "sends a close frame whose reason is not UTF-8", "invalid utf8 payload in close frame", append(frame(closes, 0, 4), 0x03, 0xe8, 0xff, 0xfe)),
	flooded("pings", "floods pings", append(frame(ping, 0, 4), "ping"...)),
	flooded("pongs", "floods pongs", append(frame(pong, 0, 4), "pong"...)),
	flooded("empty messages", "floods messages without a byte", frame(binry, 0, 0)),
	{
		Name: "empty fragments", Does: "begins a message and continues it with fragments without a byte, without end", Over: WS,
		Script: func(c *Conn) {
			c.Accept(false)
			raw := c.Conn.(*framed)
			go c.Drain()
			raw.Conn.Write(frame(0x02, 0, 0))
			(&Conn{Conn: raw.Conn, over: c.over}).Flood(frame(0x00, 0, 0))
		},
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy, Told: "no sign of life",
	},
}

// whySlow is the reason why an endless answer costs more than others.
const whySlow = "16 KiB are read byte by byte in each attempt, since what follows is the tunnel's"

// proxied are the hostile proxies.
var proxied = []Server{
	{
		Name: "SOCKS5 hangs", Does: "does not answer", Over: Socks, Bare: true,
		Script: (*Conn).Drain, Told: "proxy: .*: no answer in time",
	},
	{
		Name: "SOCKS5 of nonsense", Does: "answers in another version", Over: Socks, Bare: true,
		Script: func(c *Conn) { c.Write(bytes.Repeat([]byte{4, 0x5b}, 100)); c.Drain() }, Told: "unexpected protocol version 4",
	},
	{
		Name: "SOCKS5 byte by byte", Does: "promises a bound address of 255 bytes and sends a byte every 50 ms", Over: Socks, Bare: true,
		Script: func(c *Conn) {
			if c.greeted() == nil {
				c.Write([]byte{5, 0, 0, 3, 255})
				c.Dribble(make([]byte, 255), 1, 50*time.Millisecond)
			}
		},
		Told: "proxy: .*: no answer in time",
	},
	{
		Name: "SOCKS5 lies", Does: "says that the connection is there, and closes", Over: Socks,
		Script: func(*Conn) {}, Told: "the server closed the connection before CONNACK",
	},
	{
		Name: "HTTP proxy hangs", Does: "does not answer CONNECT", Over: HTTP, Bare: true,
		Script: (*Conn).Drain, Told: "proxy: .*: no answer in time",
	},
	{
		Name: "HTTP proxy without end", Does: "answers CONNECT with a header without end", Over: HTTP, Bare: true,
		Script: func(c *Conn) {
			c.Ask()
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			c.Flood([]byte("X-More: " + strings.Repeat("x", 100) + "\r\n"))
		},
		Told:   "the answer of the proxy is too long",
		Budget: Budget{CPU: 0.5}, Why: whySlow,
	},
	{
		Name: "HTTP proxy of interim answers", Does: "answers CONNECT with 100 Continue, without end", Over: HTTP, Bare: true,
		Script: func(c *Conn) { c.Ask(); c.Flood([]byte("HTTP/1.1 100 Continue\r\n\r\n")) },
		Told:   "the answer of the proxy is too long",
		Budget: Budget{CPU: 0.5}, Why: whySlow,
	},
	{
		Name: "HTTP proxy lies", Does: "says that the tunnel is there, and sends a page", Over: HTTP,
		Script: func(c *Conn) { c.Receive(); io.WriteString(c, "<html><body>Please pay</body></html>"); c.Drain() },
		Told:   "no CONNACK",
	},
	{
		Name: "HTTP proxy echoes", Does: "refuses with 407 and shows the password that it got", Over: HTTP, Bare: true,
		Script: func(c *Conn) {
			r, err := c.Ask()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 407 %s canary-of-the-proxy\r\nContent-Length: 0\r\n\r\n", r.Header.Get("Proxy-Authorization"))
		},
		Told: "407",
	},
}

// upgrading returns a server that answers the WebSocket handshake with answer; key is the right
// Sec-WebSocket-Accept.
func upgrading(name, does, told string, answer func(c *Conn, key string)) Server {
	return Server{
		Name: name, Does: does, Told: told, Over: WS, Bare: true,
		Script: func(c *Conn) {
			r, err := c.Ask()
			if err != nil {
				return
			}
			answer(c, key(r))
			c.Drain()
		},
	}
}

// framed1 returns a server that sends wrong bytes after CONNACK.
func framed1(name, does, told string, b []byte) Server {
	return Server{
		Name: name, Does: does, Told: told, Over: WS,
		Script: func(c *Conn) {
			c.Accept(false)
			c.Pause(20 * time.Millisecond)
			c.Conn.(*framed).Conn.Write(b)
			c.Drain()
		},
	}
}

// flooded returns a server that floods frames after CONNACK.
func flooded(name, does string, b []byte) Server {
	return Server{
		Name: name, Does: does, Over: WS, Told: "no sign of life",
		Script: func(c *Conn) {
			c.Accept(false)
			raw := c.Conn.(*framed)
			go c.Drain()
			(&Conn{Conn: raw.Conn, over: c.over}).Flood(b)
		},
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	}
}

// Servers returns all servers.
func Servers() []Server {
	var all []Server
	for _, some := range [][]Server{connecting, flooding, lying, secured, framing, proxied} {
		all = append(all, some...)
	}
	return all
}
