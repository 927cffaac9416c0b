package vectors

import (
	"bytes"
	"strings"

	"github.com/mqtt311/mqtt311/packets"
)

// Packets are valid packets, at least one of each type, ordered by type.
var Packets = []Legal{
	{
		Name: "CONNECT, clean and anonymous",
		Bytes: wire(
			0x10, 12, // CONNECT, Remaining Length
			0, 4, "MQTT", // Protocol Name
			4,     // Protocol Level
			0x02,  // Connect Flags: Clean Session
			0, 60, // Keep Alive
			0, 0, // Client Identifier, empty
		),
		Value: &packets.Connect{CleanSession: true, KeepAlive: 60},
		Text:  `CONNECT client="" clean=true keepalive=60s`,
	},
	{
		Name: "CONNECT for a kept session",
		Bytes: wire(
			0x10, 15, // CONNECT, Remaining Length
			0, 4, "MQTT", // Protocol Name
			4,          // Protocol Level
			0,          // Connect Flags
			0xFF, 0xFF, // Keep Alive
			0, 3, "c-1", // Client Identifier
		),
		Value: &packets.Connect{ClientID: "c-1", KeepAlive: 65535},
		Text:  `CONNECT client="c-1" clean=false keepalive=65535s`,
	},
	{
		Name: "CONNECT with everything",
		Bytes: wire(
			0x10, 36, // CONNECT, Remaining Length
			0, 4, "MQTT", // Protocol Name
			4,    // Protocol Level
			0xF6, // Connect Flags: User Name, Password, Will Retain, Will QoS 2, Will, Clean Session
			0, 0, // Keep Alive
			0, 1, "c", // Client Identifier
			0, 3, "w/t", // Will Topic
			0, 4, "gone", // Will Message
			0, 4, "user", // User Name
			0, 4, "pass", // Password
		),
		Value: &packets.Connect{
			ClientID: "c", CleanSession: true,
			Will:        &packets.Will{Topic: "w/t", Payload: []byte("gone"), QoS: packets.ExactlyOnce, Retain: true},
			HasUserName: true, UserName: "user",
			HasPassword: true, Password: []byte("pass"),
		},
		Text: `CONNECT client="c" clean=true keepalive=0s will="w/t" willqos=2 willretain=true willsize=4 user=yes password=yes`,
	},
	{
		Name: "CONNECT with an empty Will Message, User Name and Password",
		Bytes: wire(
			0x10, 22, // CONNECT, Remaining Length
			0, 4, "MQTT", // Protocol Name
			4,    // Protocol Level
			0xC6, // Connect Flags: User Name, Password, Will QoS 0, Will, Clean Session
			0, 1, // Keep Alive
			0, 1, "c", // Client Identifier
			0, 1, "w", // Will Topic
			0, 0, // Will Message
			0, 0, // User Name
			0, 0, // Password
		),
		Value: &packets.Connect{
			ClientID: "c", CleanSession: true, KeepAlive: 1,
			Will:        &packets.Will{Topic: "w", Payload: []byte{}},
			HasUserName: true, HasPassword: true, Password: []byte{},
		},
		Text: `CONNECT client="c" clean=true keepalive=1s will="w" willqos=0 willretain=false willsize=0 user=yes password=yes`,
	},
	{
		Name: "CONNECT with a User Name alone",
		Bytes: wire(
			0x10, 17, // CONNECT, Remaining Length
			0, 4, "MQTT", // Protocol Name
			4,    // Protocol Level
			0x80, // Connect Flags: User Name
			0, 1, // Keep Alive
			0, 1, "c", // Client Identifier
			0, 2, "\u00e9", // User Name
		),
		Value: &packets.Connect{ClientID: "c", KeepAlive: 1, HasUserName: true, UserName: "\u00e9"},
		Text:  `CONNECT client="c" clean=false keepalive=1s user=yes`,
	},
	{
		Name: "CONNECT with a binary Password and Will Message",
		Bytes: wire(
			0x10, 27, // CONNECT, Remaining Length
			0, 4, "MQTT", // Protocol Name
			4,    // Protocol Level
			0xCC, // Connect Flags: User Name, Password, Will QoS 1, Will
			0, 1, // Keep Alive
			0, 1, "c", // Client Identifier
			0, 1, "w", // Will Topic
			0, 2, 0x00, 0xFF, // Will Message: bytes, not text
			0, 1, "u", // User Name
			0, 2, 0xC0, 0x80, // Password: bytes, not text
		),
		Value: &packets.Connect{
			ClientID: "c", KeepAlive: 1,
			Will:        &packets.Will{Topic: "w", Payload: []byte{0, 0xFF}, QoS: packets.AtLeastOnce},
			HasUserName: true, UserName: "u",
			HasPassword: true, Password: []byte{0xC0, 0x80},
		},
		Text: `CONNECT client="c" clean=false keepalive=1s will="w" willqos=1 willretain=false willsize=2 user=yes password=yes`,
	},
	{
		Name: "CONNACK, a new session",
		Bytes: wire(
			0x20, 2, // CONNACK, Remaining Length
			0, // Connect Acknowledge Flags
			0, // Connect Return code
		),
		Value: &packets.Connack{},
		Text:  "CONNACK sp=0 code=0",
	},
	{
		Name: "CONNACK, session present",
		Bytes: wire(
			0x20, 2, // CONNACK, Remaining Length
			1, // Connect Acknowledge Flags: Session Present
			0, // Connect Return code
		),
		Value: &packets.Connack{SessionPresent: true},
		Text:  "CONNACK sp=1 code=0",
	},
	{
		Name: "CONNACK, refused",
		Bytes: wire(
			0x20, 2, // CONNACK, Remaining Length
			0, // Connect Acknowledge Flags
			5, // Connect Return code: not authorized
		),
		Value: &packets.Connack{Code: packets.NotAuthorized},
		Text:  "CONNACK sp=0 code=5",
	},
	{
		Name: "PUBLISH of QoS 0",
		Bytes: wire(
			0x30, 8, // PUBLISH, Remaining Length
			0, 3, "a/b", // Topic Name; no Packet Identifier
			"hey", // payload
		),
		Value: &packets.Publish{Topic: "a/b", Payload: []byte("hey")},
		Text:  `PUBLISH "a/b" qos=0 size=3`,
	},
	{
		Name: "PUBLISH of QoS 0, retained, no payload",
		Bytes: wire(
			0x31, 3, // PUBLISH with RETAIN, Remaining Length
			0, 1, "/", // Topic Name
		),
		Value: &packets.Publish{Topic: "/", Retain: true, Payload: []byte{}},
		Text:  `PUBLISH "/" qos=0 retain=1 size=0`,
	},
	{
		Name: "PUBLISH of QoS 1",
		Bytes: wire(
			0x32, 8, // PUBLISH with QoS 1, Remaining Length
			0, 3, "a/b", // Topic Name
			0, 1, // Packet Identifier
			0x00, // payload
		),
		Value: &packets.Publish{QoS: packets.AtLeastOnce, Topic: "a/b", PacketID: 1, Payload: []byte{0}},
		Text:  `PUBLISH "a/b" qos=1 id=1 dup=0 size=1`,
	},
	{
		Name: "PUBLISH of QoS 2, again, retained",
		Bytes: wire(
			0x3D, 9, // PUBLISH with DUP, QoS 2 and RETAIN, Remaining Length
			0, 4, "$SYS", // Topic Name
			0xFF, 0xFF, // Packet Identifier
			"x", // payload
		),
		Value: &packets.Publish{Dup: true, QoS: packets.ExactlyOnce, Retain: true, Topic: "$SYS", PacketID: 65535, Payload: []byte("x")},
		Text:  `PUBLISH "$SYS" qos=2 id=65535 dup=1 retain=1 size=1`,
	},
	{
		Name: "PUBLISH to a name of every length of UTF-8",
		Bytes: wire(
			0x30, 19, // PUBLISH, Remaining Length
			0, 17, "\ufeff", // Topic Name: U+FEFF, which is no byte order mark here,
			"a\u00e9\u20ac\U0001F600\uffff\u0001", // and what is discouraged but legal
		),
		Value: &packets.Publish{Topic: "\ufeffa\u00e9\u20ac\U0001F600\uffff\u0001", Payload: []byte{}},
		Text:  `PUBLISH "\ufeffaé€😀\uffff\x01" qos=0 size=0`,
	},
	{
		Name: "PUBLISH with a Remaining Length of two bytes",
		Bytes: wire(
			0x30, 0x80, 1, // PUBLISH, Remaining Length 128
			0, 1, "t", // Topic Name
			strings.Repeat("p", 125), // payload
		),
		Value: &packets.Publish{Topic: "t", Payload: bytes.Repeat([]byte("p"), 125)},
		Text:  `PUBLISH "t" qos=0 size=125`,
	},
	{
		Name:  "PUBACK",
		Bytes: wire(0x40, 2 /* PUBACK, Remaining Length */, 0, 7 /* Packet Identifier */),
		Value: &packets.Puback{PacketID: 7},
		Text:  "PUBACK id=7",
	},
	{
		Name:  "PUBREC",
		Bytes: wire(0x50, 2 /* PUBREC, Remaining Length */, 1, 0 /* Packet Identifier */),
		Value: &packets.Pubrec{PacketID: 256},
		Text:  "PUBREC id=256",
	},
	{
		Name:  "PUBREL",
		Bytes: wire(0x62, 2 /* PUBREL with its flags, Remaining Length */, 0xFF, 0xFF /* Packet Identifier */),
		Value: &packets.Pubrel{PacketID: 65535},
		Text:  "PUBREL id=65535",
	},
	{
		Name:  "PUBCOMP",
		Bytes: wire(0x70, 2 /* PUBCOMP, Remaining Length */, 0, 1 /* Packet Identifier */),
		Value: &packets.Pubcomp{PacketID: 1},
		Text:  "PUBCOMP id=1",
	},
	{
		Name: "SUBSCRIBE",
		Bytes: wire(
			0x82, 8, // SUBSCRIBE with its flags, Remaining Length
			0, 10, // Packet Identifier
			0, 3, "a/b", // Topic Filter
			1, // Requested QoS
		),
		Value: &packets.Subscribe{PacketID: 10, Subscriptions: []packets.Subscription{{Filter: "a/b", QoS: packets.AtLeastOnce}}},
		Text:  `SUBSCRIBE id=10 "a/b":1`,
	},
	{
		Name: "SUBSCRIBE to three filters",
		Bytes: wire(
			0x82, 21, // SUBSCRIBE with its flags, Remaining Length
			0, 10, // Packet Identifier
			0, 1, "#", 2, // Topic Filter, Requested QoS
			0, 5, "+/a/#", 0, // Topic Filter, Requested QoS
			0, 4, "//+/", 1, // Topic Filter, Requested QoS
		),
		Value: &packets.Subscribe{PacketID: 10, Subscriptions: []packets.Subscription{
			{Filter: "#", QoS: packets.ExactlyOnce}, {Filter: "+/a/#"}, {Filter: "//+/", QoS: packets.AtLeastOnce},
		}},
		Text: `SUBSCRIBE id=10 "#":2 "+/a/#":0 "//+/":1`,
	},
	{
		Name: "SUBACK",
		Bytes: wire(
			0x90, 6, // SUBACK, Remaining Length
			0, 10, // Packet Identifier
			0, 1, 2, 0x80, // Return codes
		),
		Value: &packets.Suback{PacketID: 10, Codes: []packets.SubscribeCode{0, 1, 2, packets.SubscribeFailure}},
		Text:  "SUBACK id=10 codes=0,1,2,128",
	},
	{
		Name: "UNSUBSCRIBE",
		Bytes: wire(
			0xA2, 10, // UNSUBSCRIBE with its flags, Remaining Length
			0, 11, // Packet Identifier
			0, 3, "a/b", // Topic Filter
			0, 1, "+", // Topic Filter
		),
		Value: &packets.Unsubscribe{PacketID: 11, Filters: []string{"a/b", "+"}},
		Text:  `UNSUBSCRIBE id=11 "a/b" "+"`,
	},
	{
		Name:  "UNSUBACK",
		Bytes: wire(0xB0, 2 /* UNSUBACK, Remaining Length */, 0, 11 /* Packet Identifier */),
		Value: &packets.Unsuback{PacketID: 11},
		Text:  "UNSUBACK id=11",
	},
	{Name: "PINGREQ", Bytes: wire(0xC0, 0), Value: &packets.Pingreq{}, Text: "PINGREQ"},
	{Name: "PINGRESP", Bytes: wire(0xD0, 0), Value: &packets.Pingresp{}, Text: "PINGRESP"},
	{Name: "DISCONNECT", Bytes: wire(0xE0, 0), Value: &packets.Disconnect{}, Text: "DISCONNECT"},
}
