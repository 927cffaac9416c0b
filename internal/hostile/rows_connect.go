package hostile

import (
	"net"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// connecting are the servers that prevent a connection, or end it.
var connecting = []Server{
	{
		Name: "closes at once", Does: "accepts connections and closes them",
		Script: func(*Conn) {},
		Told:   "the server closed the connection before CONNACK",
	},
	{
		Name: "resets at once", Does: "accepts connections and resets them",
		Script: func(c *Conn) { c.Under.(*net.TCPConn).SetLinger(0) },
		Told:   "the server closed the connection before CONNACK",
	},
	{
		Name: "says nothing", Does: "accepts connections and says nothing",
		Script: (*Conn).Drain,
		Told:   "within the connect timeout",
	},
	{
		Name: "half a CONNACK", Does: "sends two bytes of CONNACK and nothing else",
		Script: func(c *Conn) { c.Receive(); c.Write([]byte{0x20, 2}); c.Drain() },
		Told:   "within the connect timeout",
	},
	{
		Name: "CONNACK byte by byte", Does: "sends CONNACK so slowly that the time of an attempt is over before it is whole",
		Script: func(c *Conn) { c.Receive(); c.Dribble([]byte{0x20, 2, 0, 0}, 1, time.Minute); c.Drain() },
		Told:   "within the connect timeout",
	},
	{
		Name: "two CONNACKs", Does: "sends CONNACK twice",
		Script: func(c *Conn) { c.Accept(false); c.Say(&packets.Connack{}); c.Drain() },
		Told:   "CONNACK: came twice",
	},
	{
		Name: "refuses", Does: "refuses every CONNECT, with each code in turn",
		Script: func(c *Conn) { c.Receive(); c.Write([]byte{0x20, 2, 0, byte(1 + c.N%5)}) },
		Told:   "server refused the connection",
	},
	{
		Name: "refuses with a code that is none", Does: "refuses every CONNECT with code 77",
		Script: func(c *Conn) { c.Receive(); c.Write([]byte{0x20, 2, 0, 77}); c.Drain() },
		Told:   "code 77",
	},
	{
		Name: "reserved flags", Does: "sends CONNACK with reserved flags set",
		Script: func(c *Conn) { c.Receive(); c.Write([]byte{0x20, 2, 0xfe, 0}); c.Drain() },
		Told:   "reserved acknowledge flags",
	},
	{
		Name: "a session that is not there", Does: "says Session Present 1 and 0 in turn, whatever it has, and closes after a moment",
		Script: func(c *Conn) { c.Accept(c.N%2 == 0); c.Pause(100 * time.Millisecond) },
		Told:   "connection lost",
	},
	{
		Name: "closes after CONNACK", Does: "accepts CONNECT and closes",
		Script: func(c *Conn) { c.Accept(false) },
		Told:   "takeover suspected",
	},
	{
		Name: "closes after SUBSCRIBE", Does: "closes whenever a SUBSCRIBE comes",
		Script: func(c *Conn) {
			c.Serve(func(p packets.Packet) bool {
				if p.Type() == packets.SUBSCRIBE {
					c.Close()
				}
				return false
			})
		},
		Told: "connection lost", Ends: 5,
	},
	{
		Name: "closes after PUBLISH", Does: "closes whenever a PUBLISH comes",
		Script: func(c *Conn) {
			c.Serve(func(p packets.Packet) bool {
				if p.Type() == packets.PUBLISH {
					c.Close()
				}
				return false
			})
		},
		Told: "poison",
	},
	{
		Name: "half closes", Does: "accepts CONNECT, ends its direction and goes on reading",
		Script: func(c *Conn) { c.Accept(false); c.Under.(*net.TCPConn).CloseWrite(); c.Drain() },
		Told:   "connection lost",
	},
	{
		Name: "resets in a packet", Does: "resets the connection in the middle of a PUBLISH",
		Script: func(c *Conn) {
			c.Accept(false)
			c.Write(publish(0x30, 0, "in/a", make([]byte, 1000))[:500])
			c.Pause(50 * time.Millisecond)
			c.Under.(*net.TCPConn).SetLinger(0)
		},
		Told: "connection lost",
	},
	{
		Name: "falls silent", Does: "accepts CONNECT, reads everything and answers nothing",
		Script: func(c *Conn) { c.Accept(false); c.Drain() },
		Told:   "no sign of life",
	},
	{
		Name: "never reads", Does: "accepts CONNECT and reads nothing further",
		Script: func(c *Conn) { c.Accept(false); c.Hold() },
		Told:   "no sign of life",
	},
	{
		Name: "a byte a second", Does: "reads a byte a second",
		Script: func(c *Conn) { c.Accept(false); c.Sip(1, time.Second) },
		Told:   "no sign of life",
	},
	{
		Name: "speaks HTTP", Does: "answers CONNECT in HTTP",
		Script: func(c *Conn) {
			c.Receive()
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>"))
		},
		Told: "answered in HTTP",
	},
	{
		Name: "speaks nonsense", Does: "sends bytes without end that mean nothing",
		Script: func(c *Conn) {
			i := uint32(c.N)
			c.Stream(func(int) []byte { i = i*1664525 + 1013904223; return []byte{byte(i >> 24), byte(i >> 16)} })
		},
		Told: "not MQTT 3.1.1",
	},
}

// publish returns a PUBLISH without checking it. first is the first byte of its fixed header.
func publish(first byte, id uint16, topic string, payload []byte) []byte {
	b := append([]byte{byte(len(topic) >> 8), byte(len(topic))}, topic...)
	if first&6 != 0 {
		b = append(b, byte(id>>8), byte(id))
	}
	return append(header(first, len(b)+len(payload)), append(b, payload...)...)
}

// header returns a fixed header, section 2.2.
func header(first byte, remaining int) []byte {
	b := []byte{first}
	for {
		digit := byte(remaining % 128)
		if remaining /= 128; remaining == 0 {
			return append(b, digit)
		}
		b = append(b, digit|128)
	}
}
