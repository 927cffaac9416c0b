package hostile

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// lying are the servers that send wrong packets.
var lying = []Server{
	says("QoS 3", "sends a PUBLISH of QoS 3", "MQTT-3.3.1-4", publish(0x36, 7, "in/a", nil)),
	says("DUP at QoS 0", "sends a PUBLISH of QoS 0 with DUP", "MQTT-3.3.1-2", publish(0x38, 0, "in/a", nil)),
	says("identifier 0", "sends a PUBLISH of QoS 1 with Packet Identifier 0", "MQTT-2.3.1-1", publish(0x32, 0, "in/a", nil)),
	says("type 0", "sends a packet of the reserved type 0", "reserved type 0", []byte{0, 0}),
	says("type 15", "sends a packet of the reserved type 15", "reserved type 15", []byte{0xf0, 0}),
	says("CONNECT", "sends CONNECT", "CONNECT: is never sent by a server", encode(&packets.Connect{ClientID: "x", CleanSession: true})),
	says("SUBSCRIBE", "sends SUBSCRIBE", "SUBSCRIBE: is never sent by a server", encode(&packets.Subscribe{PacketID: 7, Subscriptions: []packets.Subscription{{Filter: "#"}}})),
	says("PINGREQ", "sends PINGREQ", "PINGREQ: is never sent by a server", []byte{0xc0, 0}),
	says("DISCONNECT", "sends DISCONNECT", "server sent DISCONNECT", []byte{0xe0, 0}),
	says("a length of five bytes", "sends a Remaining Length of five bytes", "more than four bytes", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}),
	says("a string past the end", "sends a PUBLISH whose topic is longer than the packet", "longer than the packet", []byte{0x30, 4, 0xff, 0xff, 'a', 'b'}),
	says("wildcards in a topic", "sends messages on topics with wildcards, invalid UTF-8, and without a character", "malformed", wrongTopics),
	{
		Name: "SUBACK of a wrong size", Does: "answers SUBSCRIBE with three codes for one filter",
		Script: answering(packets.SUBSCRIBE, func(p packets.Packet) []byte {
			return encode(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{0, 1, 2}})
		}),
		Told: "number of return codes",
	},
	{
		Name: "SUBACK of a wrong code", Does: "answers SUBSCRIBE with code 3",
		Script: answering(packets.SUBSCRIBE, func(p packets.Packet) []byte {
			id := p.(*packets.Subscribe).PacketID
			return []byte{0x90, 3, byte(id >> 8), byte(id), 3}
		}),
		Told: "return code 3 is reserved",
	},
	{
		Name: "SUBACK never", Does: "does not answer SUBSCRIBE",
		Script: answering(packets.SUBSCRIBE, func(packets.Packet) []byte { return nil }),
	},
	{
		Name: "PUBACK of another message", Does: "acknowledges identifiers that it was not asked about",
		Script: answering(packets.PUBLISH, func(p packets.Packet) []byte {
			return encode(&packets.Puback{PacketID: p.(*packets.Publish).PacketID ^ 0x5555})
		}),
	},
	{
		Name: "PUBCOMP never", Does: "answers PUBREL with PUBREC",
		Script: answering(packets.PUBREL, func(p packets.Packet) []byte { return encode(&packets.Pubrec{PacketID: p.(*packets.Pubrel).PacketID}) }),
		Floods: true, Budget: Budget{CPU: busy}, Why: "an answer follows each answer",
	},
	{
		Name: "acknowledges twice", Does: "sends each PUBACK and PUBREC twice",
		Script: answering(packets.PUBLISH, func(p packets.Packet) []byte {
			pub := p.(*packets.Publish)
			if pub.QoS == packets.AtLeastOnce {
				return encode(&packets.Puback{PacketID: pub.PacketID}, &packets.Puback{PacketID: pub.PacketID})
			}
			return encode(&packets.Pubrec{PacketID: pub.PacketID}, &packets.Pubrec{PacketID: pub.PacketID})
		}),
	},
	{
		Name: "everything at once", Does: "sends CONNACK and a thousand messages in one write, and an illegal packet behind them",
		Script: func(c *Conn) {
			c.Receive()
			b := encode(&packets.Connack{})
			for i := range 1000 {
				b = append(b, publish(0x32, uint16(i+1), "in/a", []byte("x"))...)
			}
			c.Write(append(b, 0xf0, 0))
			c.Drain()
		},
		Told: "reserved type 15",
	},
}

// wrongTopics are messages with malformed topics, each of which is skipped.
var wrongTopics = append(append(append(publish(0x30, 0, "in/+", nil), publish(0x32, 7, "#", nil)...),
	publish(0x34, 8, "in/\xff\xfe", nil)...), publish(0x32, 9, "", nil)...)

// says returns a server that accepts CONNECT and then sends b.
func says(name, does, told string, b []byte) Server {
	return Server{
		Name: name, Does: does, Told: told,
		Script: func(c *Conn) {
			c.Accept(c.N > 0)
			c.Pause(20 * time.Millisecond)
			c.Write(b)
			c.Serve(nil)
		},
	}
}

// answering returns the script of a good server that answers packets of type t with answer.
func answering(t packets.Type, answer func(packets.Packet) []byte) func(*Conn) {
	return func(c *Conn) {
		c.Serve(func(p packets.Packet) bool {
			if p.Type() != t {
				return false
			}
			if pub, ok := p.(*packets.Publish); !ok || pub.QoS > packets.AtMostOnce {
				c.Write(answer(p))
			}
			return true
		})
	}
}
