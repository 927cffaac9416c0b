package hostile

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// busy is the CPU budget for servers that keep a client at work.
const (
	busy    = AnyCPU
	whyBusy = "all that comes has to be read"
)

// flooding are the servers that send more than a client can use.
var flooding = []Server{
	{
		Name: "PUBREC, read slowly", Does: "floods PUBREC, each of which has to be answered, and reads 64 KiB every 0.2 s",
		Script: slowly(encode(&packets.Pubrec{PacketID: 7})),
		Floods: true, Budget: Budget{CPU: 0.5}, Why: "it works as fast as the server reads",
	},
	{
		Name: "PUBREL, read slowly", Does: "floods PUBREL and reads 64 KiB every 0.2 s",
		Script: slowly(encode(&packets.Pubrel{PacketID: 7})),
		Floods: true, Budget: Budget{CPU: 0.5}, Why: "it works as fast as the server reads",
	},
	{
		Name: "copies, read slowly", Does: "floods copies of one PUBLISH of QoS 2 and reads 64 KiB every 0.2 s",
		Script: slowly(publish(0x34, 7, "in/a", []byte("x"))),
		Floods: true, Budget: Budget{CPU: 0.5}, Why: "it works as fast as the server reads",
	},
	{
		Name: "PUBREC, never read", Does: "floods PUBREC and reads nothing",
		Script: func(c *Conn) { c.Accept(false); c.Flood(encode(&packets.Pubrec{PacketID: 7})) },
		Floods: true, Budget: Budget{CPU: 0.5}, Why: "it tries again after each time-out",
		Told: "connection lost",
	},
	{
		Name: "QoS 1, never read", Does: "floods PUBLISH of QoS 1, each of another identifier, and reads nothing",
		Script: func(c *Conn) { c.Accept(false); c.Stream(numbered(0x32)) },
		Floods: true, Budget: Budget{CPU: 1}, Why: "it tries again after each time-out, and takes what comes until then",
	},
	{
		Name: "QoS 2, never released", Does: "floods PUBLISH of QoS 2, each of another identifier, and never sends PUBREL",
		Script: func(c *Conn) { c.Accept(false); go c.Drain(); c.Stream(numbered(0x34)) },
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "another message, the same identifier", Does: "floods PUBLISH of QoS 1, all of identifier 7 and of different content",
		Script: func(c *Conn) {
			c.Accept(false)
			go c.Drain()
			c.Stream(func(i int) []byte { return publish(0x32, 7, "in/a", binary.BigEndian.AppendUint64(nil, uint64(i))) })
		},
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "QoS 0", Does: "floods PUBLISH of QoS 0",
		Script: func(c *Conn) { c.Accept(false); go c.Drain(); c.Flood(publish(0x30, 0, "in/a", []byte("x"))) },
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "retained storm", Does: "answers SUBSCRIBE with a million retained messages of 1 KiB",
		Script: func(c *Conn) {
			c.Serve(func(p packets.Packet) bool {
				if s, ok := p.(*packets.Subscribe); ok {
					c.Say(granted(s))
					go c.Drain()
					c.Flood(publish(0x31, 0, "in/retained", bytes.Repeat([]byte("x"), 1024)))
				}
				return false
			})
		},
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "large messages", Does: "floods PUBLISH of QoS 0 and 15 MiB of zeros",
		Script: func(c *Conn) {
			c.Accept(false)
			go c.Drain()
			for large := publish(0x30, 0, "in/large", make([]byte, 15<<20)); ; {
				if _, err := c.Write(large); err != nil {
					return
				}
			}
		},
		Floods: true, Budget: Budget{CPU: busy, Memory: 160}, Lines: 400,
		Why: "a message of 15 MiB is legal: one is read while others wait, and the collector has to come by; the command writes lines of JSON, in which a zero takes six bytes",
	},
	{
		Name: "oversize messages", Does: "floods PUBLISH of QoS 1 and 17 MiB, which are above the limit",
		Script: func(c *Conn) {
			c.Accept(false)
			go c.Drain()
			for large := publish(0x32, 7, "in/large", make([]byte, 17<<20)); ; {
				if _, err := c.Write(large); err != nil {
					return
				}
			}
		},
		Told:   "larger than Config.MaxPacketSize|max_packet_size",
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "long topics", Does: "floods PUBLISH with topics of 65,535 bytes of control characters",
		Script: func(c *Conn) {
			c.Accept(false)
			go c.Drain()
			c.Flood(publish(0x30, 0, string(bytes.Repeat([]byte{1}, 65535)), nil))
		},
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "malformed topics", Does: "floods PUBLISH of QoS 1 with U+0000 in the topic",
		Script: func(c *Conn) {
			c.Accept(false)
			go c.Drain()
			c.Flood(publish(0x32, 7, "in/\x00", []byte("x")))
		},
		Told:   "malformed",
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "unknown acknowledgements", Does: "floods PUBACK, PUBCOMP, SUBACK and UNSUBACK for identifiers that are not in use",
		Script: func(c *Conn) {
			c.Accept(false)
			go c.Drain()
			c.Stream(func(i int) []byte {
				id := uint16(i)%30_000 + 2_000
				return encode(&packets.Puback{PacketID: id}, &packets.Pubcomp{PacketID: id}, &packets.Suback{PacketID: id, Codes: []packets.SubscribeCode{1}}, &packets.Unsuback{PacketID: id})
			})
		},
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "PINGRESP", Does: "floods PINGRESP",
		Script: func(c *Conn) { c.Accept(false); go c.Drain(); c.Flood([]byte{0xd0, 0}) },
		Floods: true, Budget: Budget{CPU: busy}, Why: whyBusy,
	},
	{
		Name: "a byte every 0.4 s", Does: "begins a PUBLISH of 16,000,000 bytes and sends a byte of it every 0.4 s",
		Script: func(c *Conn) {
			c.Accept(false)
			go c.Drain()
			c.Dribble(publish(0x30, 0, "in/a", make([]byte, 16_000_000)), 1, 400*time.Millisecond)
		},
		Told: "no sign of life",
	},
	{
		Name: "a packet that never comes", Does: "begins a PUBLISH of 16,000,000 bytes and sends nothing of it",
		Script: func(c *Conn) { c.Accept(false); c.Write(header(0x30, 16_000_000)); c.Drain() },
		Told:   "no sign of life",
	},
	{
		Name: "claims 256 MiB", Does: "begins a SUBACK of 268,435,455 bytes, and sends nothing of it",
		Script: func(c *Conn) { c.Accept(false); c.Write(header(0x90, 268_435_455)); c.Drain() },
		Told:   "SUBACK of 268435460 bytes is above the limit",
	},
}

// slowly returns a script that floods b and reads slowly.
func slowly(b []byte) func(*Conn) {
	return func(c *Conn) {
		c.Accept(false)
		go c.Sip(64<<10, 200*time.Millisecond)
		c.Flood(b)
	}
}

// numbered returns a function that makes messages with consecutive identifiers.
func numbered(first byte) func(int) []byte {
	payload := make([]byte, 100)
	return func(i int) []byte { return publish(first, uint16(1+i%65535), "in/a", payload) }
}
