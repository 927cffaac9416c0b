package packets_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/packets/vectors"
)

// A test for each conformance statement that concerns a codec, named after the statement.
// AppendBinary refuses what a statement forbids to send, and Parse refuses it from a peer; package
// vectors has the exact bytes and offsets.

// refusesToSend requires AppendBinary to name the field and the statement, and to append nothing.
func refusesToSend(t *testing.T, p packets.Packet, field, spec string) {
	t.Helper()
	b, err := p.AppendBinary([]byte("kept"))
	require.Equal(t, "kept", string(b), "nothing is appended")
	var refused *packets.EncodeError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, packets.EncodeError{Type: p.Type(), Field: field, Spec: spec, Reason: refused.Reason}, *refused)
	require.NotEmpty(t, refused.Reason)
	require.Contains(t, err.Error(), "packets: "+p.Type().String()+": "+field+": ")
}

// refusesToRead requires each named refusal vector to violate the statement.
func refusesToRead(t *testing.T, spec string, names ...string) {
	t.Helper()
	for _, name := range names {
		found := false
		for _, v := range vectors.Refusals {
			if v.Name == name {
				found = true
				_, _, err := packets.Parse(v.Bytes)
				requireFault(t, err, v.Type, v.Offset, spec, v.Bytes)
			}
		}
		require.True(t, found, "no vector is called %q", name)
	}
}

// reads requires the named vector to be read and written again.
func reads(t *testing.T, name string) packets.Packet {
	t.Helper()
	for _, v := range vectors.Packets {
		if v.Name == name {
			p, _, err := packets.Parse(v.Bytes)
			require.NoError(t, err)
			requireRoundTrip(t, v.Bytes, p)
			return p
		}
	}
	require.Fail(t, "no vector is called "+name)
	return nil
}

func publish(topic string) *packets.Publish { return &packets.Publish{Topic: topic} }

func clean() *packets.Connect { return &packets.Connect{ClientID: "c", CleanSession: true} }

func withWill(w packets.Will) *packets.Connect {
	p := clean()
	p.Will = &w
	return p
}

func subscribe(filter string) *packets.Subscribe {
	return &packets.Subscribe{PacketID: 1, Subscriptions: []packets.Subscription{{Filter: filter}}}
}

func unsubscribe(filter string) *packets.Unsubscribe {
	return &packets.Unsubscribe{PacketID: 1, Filters: []string{filter}}
}

// illFormed are texts that are not well-formed UTF-8.
var illFormed = map[string]string{
	"a stray continuation byte": "a\x80",
	"an over-long NUL":          "\xC0\x80",
	"an over-long slash":        "\xE0\x80\xAF",
	"a surrogate":               "\xED\xA0\x80",
	"a surrogate pair":          "\xED\xA0\xBD\xED\xB8\x80",
	"above U+10FFFF":            "\xF4\x90\x80\x80",
	"cut in a character":        "\xE2\x82",
	"0xFF":                      "\xFF",
}

// textFields puts s into each text field, with the statement that requires it to be text.
func textFields(s string) []struct {
	field, spec string
	p           packets.Packet
} {
	id, user := clean(), clean()
	id.ClientID = s
	user.HasUserName, user.UserName = true, s
	return []struct {
		field, spec string
		p           packets.Packet
	}{
		{"ClientID", "MQTT-3.1.3-4", id},
		{"Will.Topic", "MQTT-3.1.3-10", withWill(packets.Will{Topic: s})},
		{"UserName", "MQTT-3.1.3-11", user},
		{"Topic", "MQTT-3.3.2-1", publish(s)},
		{"Subscriptions[0].Filter", "MQTT-3.8.3-1", subscribe(s)},
		{"Filters[0]", "MQTT-3.10.3-1", unsubscribe(s)},
	}
}

// "The character data in a UTF-8 encoded string MUST be well-formed UTF-8 ... In
// particular this data MUST NOT include encodings of code points between U+D800 and
// U+DFFF."
func TestMQTT_1_5_3_1(t *testing.T) {
	for name, s := range illFormed {
		t.Run(name, func(t *testing.T) {
			for _, f := range textFields(s) {
				refusesToSend(t, f.p, f.field, f.spec)
			}
		})
	}
	refusesToRead(t, "MQTT-3.3.2-1",
		"topic name with a stray continuation byte", "topic name with over-long NUL", "topic name with a surrogate",
		"topic name with a surrogate pair", "topic name above U+10FFFF", "topic name cut in a character", "topic name with 0xFF")
	require.ErrorContains(t, packets.ValidTopicName("\xff"), "[MQTT-1.5.3-1]", "the general statement is named too")
}

// "A UTF-8 encoded string MUST NOT include an encoding of the null character U+0000."
func TestMQTT_1_5_3_2(t *testing.T) {
	for _, s := range []string{"\x00", "a\x00", "\u00e9\x00", "\x00\xff", "long enough for a word\x00"} {
		for _, f := range textFields(s) {
			refusesToSend(t, f.p, f.field, "MQTT-1.5.3-2")
		}
	}
	refusesToRead(t, "MQTT-1.5.3-2", "client identifier with NUL", "will topic with NUL",
		"topic name with NUL", "topic name with NUL after é", "filter with NUL")
}

// "A UTF-8 encoded sequence 0xEF 0xBB 0xBF is always to be interpreted to mean U+FEFF
// wherever it appears in a string and MUST NOT be skipped over or stripped off."
func TestMQTT_1_5_3_3(t *testing.T) {
	for _, s := range []string{"\xEF\xBB\xBF", "\xEF\xBB\xBFa", "a\xEF\xBB\xBF", "a\xEF\xBB\xBFb"} {
		for _, f := range textFields(s) {
			b, err := f.p.AppendBinary(nil)
			require.NoError(t, err)
			require.Contains(t, string(b), s)
			p, _, err := packets.Parse(b)
			require.NoError(t, err)
			again, err := p.AppendBinary(nil)
			require.NoError(t, err)
			require.Equal(t, b, again)
		}
	}
	require.False(t, packets.Match("a", "\uFEFFa"))
}

// "Where a flag bit is marked as "Reserved" in Table 2.2, it is reserved for future use
// and MUST be set to the value listed in that table."
func TestMQTT_2_2_2_1(t *testing.T) {
	want := map[packets.Type]byte{packets.PUBREL: 2, packets.SUBSCRIBE: 2, packets.UNSUBSCRIBE: 2}
	for _, v := range vectors.Packets {
		b, err := v.Value.AppendBinary(nil)
		require.NoError(t, err)
		if typ := v.Value.Type(); typ != packets.PUBLISH {
			require.Equal(t, want[typ], b[0]&0x0F, v.Name)
		}
	}
	for _, typ := range []packets.Type{packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP, packets.UNSUBACK} {
		require.Equal(t, []byte{byte(typ)<<4 | want[typ], 2, 0x12, 0x34}, packets.AppendAck(nil, typ, 0x1234))
	}
}

// "If invalid flags are received, the receiver MUST close the Network Connection": every
// value of the flags of every type, against table 2.2.
func TestMQTT_2_2_2_2(t *testing.T) {
	for _, v := range vectors.Packets {
		for flags := range byte(16) {
			b := bytes.Clone(v.Bytes)
			b[0] = b[0]&0xF0 | flags
			_, _, err := packets.Parse(b)
			if v.Value.Type() != packets.PUBLISH && flags != v.Bytes[0]&0x0F {
				var fault *packets.FormatError
				require.ErrorAs(t, err, &fault, "%s with flags %x", v.Name, flags)
				require.Zero(t, fault.Offset)
				require.NotEmpty(t, fault.Spec)
			}
		}
	}
	refusesToRead(t, "MQTT-2.2.2-2", "CONNECT with flags", "CONNACK with flags", "PUBACK with flags", "PUBREC with flags",
		"PUBCOMP with flags", "SUBACK with flags", "UNSUBACK with flags", "PINGREQ with flags", "PINGRESP with flags")
}

// "SUBSCRIBE, UNSUBSCRIBE, and PUBLISH (in cases where QoS > 0) Control Packets MUST
// contain a non-zero 16-bit Packet Identifier."
func TestMQTT_2_3_1_1(t *testing.T) {
	refusesToSend(t, &packets.Publish{Topic: "t", QoS: packets.AtLeastOnce}, "PacketID", "MQTT-2.3.1-1")
	refusesToSend(t, &packets.Publish{Topic: "t", QoS: packets.ExactlyOnce}, "PacketID", "MQTT-2.3.1-1")
	s, u := subscribe("f"), unsubscribe("f")
	s.PacketID, u.PacketID = 0, 0
	refusesToSend(t, s, "PacketID", "MQTT-2.3.1-1")
	refusesToSend(t, u, "PacketID", "MQTT-2.3.1-1")
	for _, p := range []packets.Packet{
		&packets.Puback{}, &packets.Pubrec{}, &packets.Pubrel{}, &packets.Pubcomp{}, &packets.Unsuback{},
		&packets.Suback{Codes: []packets.SubscribeCode{0}},
	} {
		refusesToSend(t, p, "PacketID", "MQTT-2.3.1-1")
	}
	refusesToRead(t, "MQTT-2.3.1-1",
		"QoS 1 without a packet identifier", "QoS 2 with half a packet identifier", "QoS 1 with packet identifier 0",
		"SUBSCRIBE with packet identifier 0", "UNSUBSCRIBE with packet identifier 0", "PUBACK with packet identifier 0",
		"PUBREC with packet identifier 0", "PUBREL with packet identifier 0", "PUBCOMP with packet identifier 0",
		"SUBACK with packet identifier 0", "UNSUBACK with packet identifier 0")
}

// "A PUBLISH Packet MUST NOT contain a Packet Identifier if its QoS value is set to 0."
func TestMQTT_2_3_1_5(t *testing.T) {
	refusesToSend(t, &packets.Publish{Topic: "t", PacketID: 1}, "PacketID", "MQTT-2.3.1-5")
	b, err := (&packets.Publish{Topic: "t", Payload: []byte("p")}).AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, "\x30\x04\x00\x01tp", string(b))
	p, _, err := packets.Parse([]byte("\x30\x05\x00\x01t\x00\x01"))
	require.NoError(t, err)
	require.Equal(t, &packets.Publish{Topic: "t", Payload: []byte{0, 1}}, p, "two bytes that look like one are payload")
}

// "The Server MUST validate that the reserved flag in the CONNECT Control Packet is set
// to zero and disconnect the Client if it is not zero."
func TestMQTT_3_1_2_3(t *testing.T) {
	refusesToRead(t, "MQTT-3.1.2-3", "reserved connect flag")
	for _, v := range vectors.Packets {
		if v.Value.Type() == packets.CONNECT {
			b, err := v.Value.AppendBinary(nil)
			require.NoError(t, err)
			require.Zero(t, b[9]&1)
		}
	}
}

// "If the Will Flag is set to 1 ... the Will Topic and Will Message fields MUST be present
// in the payload."
func TestMQTT_3_1_2_9(t *testing.T) {
	p := reads(t, "CONNECT with an empty Will Message, User Name and Password").(*packets.Connect)
	require.Equal(t, &packets.Will{Topic: "w", Payload: []byte{}}, p.Will)
	refusesToRead(t, "MQTT-3.1.2-9", "no will topic", "no will message", "will message longer than the packet")
	// A Will without a message is sent with an empty one.
	b, err := withWill(packets.Will{Topic: "w"}).AppendBinary(nil)
	require.NoError(t, err)
	require.True(t, bytes.HasSuffix(b, []byte("\x00\x01w\x00\x00")))
}

// "If the Will Flag is set to 0 the Will QoS and Will Retain fields in the Connect Flags
// MUST be set to zero and the Will Topic and Will Message fields MUST NOT be present in
// the payload."
func TestMQTT_3_1_2_11(t *testing.T) {
	b, err := clean().AppendBinary(nil)
	require.NoError(t, err)
	require.Zero(t, b[9]&0x3C)
	require.True(t, bytes.HasSuffix(b, []byte("\x00\x01c")))
	refusesToRead(t, "MQTT-3.1.2-13", "will QoS without a will")
	refusesToRead(t, "MQTT-3.1.2-15", "will retain without a will")
	refusesToRead(t, "MQTT-3.1.3-1", "will fields without the flag")
}

// "If the Will Flag is set to 0, then the Will QoS MUST be set to 0 (0x00)."
func TestMQTT_3_1_2_13(t *testing.T) {
	refusesToRead(t, "MQTT-3.1.2-13", "will QoS without a will")
}

// "If the Will Flag is set to 1, the value of Will QoS can be 0, 1, or 2. It MUST NOT be
// 3."
func TestMQTT_3_1_2_14(t *testing.T) {
	for q := range packets.QoS(3) {
		b, err := withWill(packets.Will{Topic: "w", QoS: q}).AppendBinary(nil)
		require.NoError(t, err)
		p, _, err := packets.Parse(b)
		require.NoError(t, err)
		require.Equal(t, q, p.(*packets.Connect).Will.QoS)
	}
	refusesToSend(t, withWill(packets.Will{Topic: "w", QoS: 3}), "Will.QoS", "MQTT-3.1.2-14")
	refusesToRead(t, "MQTT-3.1.2-14", "will QoS 3")
}

// "If the Will Flag is set to 0, then the Will Retain Flag MUST be set to 0."
func TestMQTT_3_1_2_15(t *testing.T) {
	refusesToRead(t, "MQTT-3.1.2-15", "will retain without a will")
}

// "If the User Name Flag is set to 0, a user name MUST NOT be present in the payload."
func TestMQTT_3_1_2_18(t *testing.T) {
	p := clean()
	p.UserName = "u"
	refusesToSend(t, p, "UserName", "MQTT-3.1.2-18")
	refusesToRead(t, "MQTT-3.1.3-1", "user name without the flag")
}

// "If the User Name Flag is set to 1, a user name MUST be present in the payload", be it
// empty.
func TestMQTT_3_1_2_19(t *testing.T) {
	p := clean()
	p.HasUserName = true
	b, err := p.AppendBinary(nil)
	require.NoError(t, err)
	require.True(t, bytes.HasSuffix(b, []byte("\x00\x01c\x00\x00")))
	require.True(t, reads(t, "CONNECT with an empty Will Message, User Name and Password").(*packets.Connect).HasUserName)
	refusesToRead(t, "MQTT-3.1.2-19", "no user name")
}

// "If the Password Flag is set to 0, a password MUST NOT be present in the payload."
func TestMQTT_3_1_2_20(t *testing.T) {
	p := clean()
	p.HasUserName, p.Password = true, []byte("p")
	refusesToSend(t, p, "Password", "MQTT-3.1.2-20")
	refusesToRead(t, "MQTT-3.1.3-1", "password without the flag")
}

// "If the Password Flag is set to 1, a password MUST be present in the payload", be it
// empty.
func TestMQTT_3_1_2_21(t *testing.T) {
	p := clean()
	p.HasUserName, p.HasPassword = true, true
	b, err := p.AppendBinary(nil)
	require.NoError(t, err)
	require.True(t, bytes.HasSuffix(b, []byte("\x00\x01c\x00\x00\x00\x00")))
	refusesToRead(t, "MQTT-3.1.2-21", "no password", "password longer than the packet")
}

// "If the User Name Flag is set to 0, the Password Flag MUST be set to 0."
func TestMQTT_3_1_2_22(t *testing.T) {
	p := clean()
	p.HasPassword, p.Password = true, []byte("p")
	refusesToSend(t, p, "Password", "MQTT-3.1.2-22")
	refusesToRead(t, "MQTT-3.1.2-22", "password without a user name")
}

// "These fields, if present, MUST appear in the order Client Identifier, Will Topic, Will
// Message, User Name, Password."
func TestMQTT_3_1_3_1(t *testing.T) {
	p := &packets.Connect{
		ClientID: "1", Will: &packets.Will{Topic: "2", Payload: []byte("3")},
		HasUserName: true, UserName: "4", HasPassword: true, Password: []byte("5"),
	}
	b, err := p.AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, "\x00\x011\x00\x012\x00\x013\x00\x014\x00\x015", string(b[12:]))
	again, _, err := packets.Parse(b)
	require.NoError(t, err)
	require.Equal(t, p, again)
	refusesToRead(t, "MQTT-3.1.3-1", "byte after the password")
}

// "The Client Identifier (ClientId) MUST be present and MUST be the first field in the
// CONNECT packet payload."
func TestMQTT_3_1_3_3(t *testing.T) {
	require.Empty(t, reads(t, "CONNECT, clean and anonymous").(*packets.Connect).ClientID)
	refusesToRead(t, "MQTT-3.1.3-3", "no client identifier", "client identifier longer than the packet")
}

// "The ClientId MUST be a UTF-8 encoded string"; how long and of what characters is for
// the Server to judge.
func TestMQTT_3_1_3_4(t *testing.T) {
	p := clean()
	p.ClientID = strings.Repeat("\u00e9 #+", 1000)
	b, err := p.AppendBinary(nil)
	require.NoError(t, err)
	again, _, err := packets.Parse(b)
	require.NoError(t, err)
	require.Equal(t, p, again)
	p.ClientID = "\xff"
	refusesToSend(t, p, "ClientID", "MQTT-3.1.3-4")
	refusesToRead(t, "MQTT-3.1.3-4", "client identifier that is no text")
}

// "If the Client supplies a zero-byte ClientId, the Client MUST also set CleanSession
// to 1."
func TestMQTT_3_1_3_7(t *testing.T) {
	refusesToSend(t, &packets.Connect{}, "ClientID", "MQTT-3.1.3-7")
	refusesToRead(t, "MQTT-3.1.3-7", "no client identifier for a kept session")
}

// "The Will Topic MUST be a UTF-8 encoded string."
func TestMQTT_3_1_3_10(t *testing.T) {
	refusesToSend(t, withWill(packets.Will{Topic: "\xff"}), "Will.Topic", "MQTT-3.1.3-10")
	refusesToRead(t, "MQTT-3.1.3-10", "will topic that is no text")
}

// "The User Name MUST be a UTF-8 encoded string", the password and the Will Message are
// bytes.
func TestMQTT_3_1_3_11(t *testing.T) {
	p := clean()
	p.HasUserName, p.UserName = true, "\xff"
	refusesToSend(t, p, "UserName", "MQTT-3.1.3-11")
	refusesToRead(t, "MQTT-3.1.3-11", "user name that is no text")
	reads(t, "CONNECT with a binary Password and Will Message")
}

// "If a server sends a CONNACK packet containing a non-zero return code it MUST set
// Session Present to 0." A refusal that says otherwise is read as the refusal it is.
func TestMQTT_3_2_2_4(t *testing.T) {
	refusesToSend(t, &packets.Connack{SessionPresent: true, Code: packets.ServerUnavailable}, "SessionPresent", "MQTT-3.2.2-4")
	p, _, err := packets.Parse([]byte{0x20, 2, 1, 3})
	require.NoError(t, err)
	require.Equal(t, &packets.Connack{Code: packets.ServerUnavailable}, p)
}

// "If none of the return codes listed in Table 3.1 are deemed applicable, then the Server
// MUST close the Network Connection without sending a CONNACK." The codes that the table
// reserves are not sent, but read, so that a Client can report them.
func TestMQTT_3_2_2_6(t *testing.T) {
	for code := range 256 {
		p := &packets.Connack{Code: packets.ConnectCode(code)}
		if code > 5 {
			refusesToSend(t, p, "Code", "MQTT-3.2.2-6")
		}
		read, _, err := packets.Parse([]byte{0x20, 2, 0, byte(code)})
		require.NoError(t, err)
		require.Equal(t, p, read)
	}
}

// "The DUP flag MUST be set to 0 for all QoS 0 messages."
func TestMQTT_3_3_1_2(t *testing.T) {
	refusesToSend(t, &packets.Publish{Topic: "t", Dup: true}, "Dup", "MQTT-3.3.1-2")
	refusesToRead(t, "MQTT-3.3.1-2", "DUP at QoS 0")
}

// "A PUBLISH Packet MUST NOT have both QoS bits set to 1."
func TestMQTT_3_3_1_4(t *testing.T) {
	for _, q := range []packets.QoS{3, 4, 255} {
		refusesToSend(t, &packets.Publish{Topic: "t", QoS: q, PacketID: 1}, "QoS", "MQTT-3.3.1-4")
	}
	refusesToRead(t, "MQTT-3.3.1-4", "QoS 3")
	for _, first := range []byte{0x36, 0x37, 0x3E, 0x3F} {
		_, _, err := packets.Parse([]byte{first})
		requireFault(t, err, packets.PUBLISH, 0, "MQTT-3.3.1-4", []byte{first})
	}
}

// "When sending a PUBLISH Packet to a Client the Server MUST set the RETAIN flag to 1 if a
// message is sent as a result of a new subscription being made": the flag passes through
// untouched, at each QoS.
func TestMQTT_3_3_1_8(t *testing.T) {
	for q := range packets.QoS(3) {
		for _, retain := range []bool{false, true} {
			p := &packets.Publish{Topic: "t", QoS: q, Retain: retain, PacketID: uint16(q), Payload: []byte{}}
			b, err := p.AppendBinary(nil)
			require.NoError(t, err)
			require.Equal(t, retain, b[0]&1 == 1)
			again, _, err := packets.Parse(b)
			require.NoError(t, err)
			require.Equal(t, p, again)
		}
	}
}

// "The Topic Name MUST be present as the first field in the PUBLISH Packet Variable
// header. It MUST be a UTF-8 encoded string."
func TestMQTT_3_3_2_1(t *testing.T) {
	refusesToSend(t, publish("\xff"), "Topic", "MQTT-3.3.2-1")
	refusesToRead(t, "MQTT-3.3.2-1", "PUBLISH without a body", "topic name with half a length",
		"topic name longer than the packet", "topic name of 65,535 bytes that are not there", "topic name with 0xFF")
}

// "The Topic Name in the PUBLISH Packet MUST NOT contain wildcard characters."
func TestMQTT_3_3_2_2(t *testing.T) {
	for _, s := range []string{"#", "+", "a/#", "a/+/b", "a+", "#a", "sixteen bytes ..+", "seven.#", "eight..+", "\u00e9+"} {
		refusesToSend(t, publish(s), "Topic", "MQTT-3.3.2-2")
	}
	refusesToRead(t, "MQTT-3.3.2-2", "topic name with '+'", "topic name with '#'", "topic name with '#' inside")
}

// "Bits 3,2,1 and 0 of the fixed header in the PUBREL Control Packet are reserved and MUST
// be set to 0,0,1 and 0 respectively." MQTT 3.1 had DUP there.
func TestMQTT_3_6_1_1(t *testing.T) {
	b, err := (&packets.Pubrel{PacketID: 1}).AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, byte(0x62), b[0])
	refusesToRead(t, "MQTT-3.6.1-1", "PUBREL without flags", "PUBREL with DUP, as in MQTT 3.1")
}

// "Bits 3,2,1 and 0 of the fixed header of the SUBSCRIBE Control Packet are reserved and
// MUST be set to 0,0,1 and 0 respectively."
func TestMQTT_3_8_1_1(t *testing.T) {
	b, err := subscribe("f").AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, byte(0x82), b[0])
	refusesToRead(t, "MQTT-3.8.1-1", "SUBSCRIBE without flags", "SUBSCRIBE with DUP, as in MQTT 3.1")
}

// "The Topic Filters in a SUBSCRIBE packet payload MUST be UTF-8 encoded strings."
func TestMQTT_3_8_3_1(t *testing.T) {
	refusesToSend(t, subscribe("\xff"), "Subscriptions[0].Filter", "MQTT-3.8.3-1")
	two := subscribe("f")
	two.Subscriptions = append(two.Subscriptions, packets.Subscription{Filter: "\xff"})
	refusesToSend(t, two, "Subscriptions[1].Filter", "MQTT-3.8.3-1")
	refusesToRead(t, "MQTT-3.8.3-1", "SUBSCRIBE with half a length", "filter longer than the packet", "filter that is no text")
}

// "The payload of a SUBSCRIBE packet MUST contain at least one Topic Filter / QoS pair."
func TestMQTT_3_8_3_3(t *testing.T) {
	refusesToSend(t, &packets.Subscribe{PacketID: 1}, "Subscriptions", "MQTT-3.8.3-3")
	refusesToRead(t, "MQTT-3.8.3-3", "SUBSCRIBE without a filter")
}

// "The Server MUST treat a SUBSCRIBE packet as malformed and close the Network Connection
// if any of Reserved bits in the payload are non-zero, or QoS is not 0,1 or 2."
func TestMQTT_3_8_3_4(t *testing.T) {
	p := subscribe("f")
	p.Subscriptions[0].QoS = 3
	refusesToSend(t, p, "Subscriptions[0].QoS", "MQTT-3.8.3-4")
	for c := 3; c < 256; c++ {
		b := []byte{0x82, 6, 0, 1, 0, 1, 'f', byte(c)}
		_, _, err := packets.Parse(b)
		requireFault(t, err, packets.SUBSCRIBE, 7, "MQTT-3.8.3-4", b)
	}
	refusesToRead(t, "MQTT-3.8.3-4", "filter without its QoS", "requested QoS 3",
		"reserved bits beside a requested QoS", "fault in the second filter")
}

// "SUBACK return codes other than 0x00, 0x01, 0x02 and 0x80 are reserved and MUST NOT be
// used." A tolerance reads those above 0x80.
func TestMQTT_3_9_3_2(t *testing.T) {
	for c := range 256 {
		p := &packets.Suback{PacketID: 1, Codes: []packets.SubscribeCode{0, packets.SubscribeCode(c)}}
		b := []byte{0x90, 4, 0, 1, 0, byte(c)}
		read, _, err := packets.Parse(b)
		tolerant := packets.NewReader(bytes.NewReader(b), packets.ReaderOptions{Tolerate: packets.TolerateSubackCodes})
		tolerated, tolerantErr := tolerant.ReadPacket()
		if c <= 2 || c == 0x80 {
			require.NoError(t, err)
			require.Equal(t, p, read)
			require.Zero(t, tolerant.Tolerated())
			continue
		}
		refusesToSend(t, p, "Codes[1]", "MQTT-3.9.3-2")
		requireFault(t, err, packets.SUBACK, 5, "MQTT-3.9.3-2", b)
		if c > 0x80 {
			require.NoError(t, tolerantErr)
			require.Equal(t, p, tolerated)
			require.Equal(t, packets.Tolerated{SubackCodes: 1}, tolerant.Tolerated())
		} else {
			requireFault(t, tolerantErr, packets.SUBACK, 5, "MQTT-3.9.3-2", b)
		}
	}
	refusesToSend(t, &packets.Suback{PacketID: 1}, "Codes", "MQTT-3.8.4-5")
}

// "Bits 3,2,1 and 0 of the fixed header of the UNSUBSCRIBE Control Packet are reserved and
// MUST be set to 0,0,1 and 0 respectively."
func TestMQTT_3_10_1_1(t *testing.T) {
	b, err := unsubscribe("f").AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, byte(0xA2), b[0])
	refusesToRead(t, "MQTT-3.10.1-1", "UNSUBSCRIBE without flags")
}

// "The Topic Filters in an UNSUBSCRIBE packet MUST be UTF-8 encoded strings ... packed
// contiguously."
func TestMQTT_3_10_3_1(t *testing.T) {
	refusesToSend(t, unsubscribe("\xff"), "Filters[0]", "MQTT-3.10.3-1")
	refusesToRead(t, "MQTT-3.10.3-1", "UNSUBSCRIBE with a filter that is cut short",
		"UNSUBSCRIBE with a filter that is no text", "UNSUBSCRIBE with a byte left")
}

// "The Payload of an UNSUBSCRIBE packet MUST contain at least one Topic Filter."
func TestMQTT_3_10_3_2(t *testing.T) {
	refusesToSend(t, &packets.Unsubscribe{PacketID: 1}, "Filters", "MQTT-3.10.3-2")
	refusesToRead(t, "MQTT-3.10.3-2", "UNSUBSCRIBE without a filter")
}

// "The Server MUST validate that reserved bits are set to zero and disconnect the Client
// if they are not zero."
func TestMQTT_3_14_1_1(t *testing.T) {
	refusesToRead(t, "MQTT-3.14.1-1", "DISCONNECT with flags")
}

// "The wildcard characters can be used in Topic Filters, but MUST NOT be used within a
// Topic Name."
func TestMQTT_4_7_1_1(t *testing.T) {
	for _, s := range []string{"+", "#", "a/+", "a/#"} {
		require.NoError(t, packets.ValidTopicFilter(s))
		require.ErrorContains(t, packets.ValidTopicName(s), "[MQTT-4.7.1-1]")
		refusesToSend(t, withWill(packets.Will{Topic: s}), "Will.Topic", "MQTT-3.3.2-2")
	}
	refusesToRead(t, "MQTT-3.3.2-2", "will topic with a wildcard")
}

// "The multi-level wildcard character MUST be specified either on its own or following a
// topic level separator. In either case it MUST be the last character."
func TestMQTT_4_7_1_2(t *testing.T) {
	for _, s := range []string{"a#", "a/#/b", "#/", "##", "#/#", "a/b#", "/#/", "+#", "#+"} {
		refuses(t, s)
	}
	for _, s := range []string{"#", "/#", "//#", "a/#", "+/#", "a/b/c/#"} {
		require.NoError(t, packets.ValidTopicFilter(s), s)
	}
	refusesToRead(t, "MQTT-4.7.1-2", "filter a#", "filter a/#/b")
}

// "The single-level wildcard can be used at any level in the Topic Filter ... Where it is
// used it MUST occupy an entire level of the filter."
func TestMQTT_4_7_1_3(t *testing.T) {
	for _, s := range []string{"a+", "+a", "a/+b/c", "++", "a/b+", "+a/#"} {
		refuses(t, s)
	}
	for _, s := range []string{"+", "+/", "/+", "+/+", "a/+/b", "+/a/#", "/+/", "a//+"} {
		require.NoError(t, packets.ValidTopicFilter(s), s)
	}
	refusesToRead(t, "MQTT-4.7.1-3", "filter a+", "filter +a")
}

func refuses(t *testing.T, filter string) {
	t.Helper()
	err := packets.ValidTopicFilter(filter)
	var refused *packets.EncodeError
	require.ErrorAs(t, err, &refused, filter)
	require.Contains(t, []string{"MQTT-4.7.1-2", "MQTT-4.7.1-3"}, refused.Spec)
	refusesToSend(t, subscribe(filter), "Subscriptions[0].Filter", refused.Spec)
	refusesToSend(t, unsubscribe(filter), "Filters[0]", refused.Spec)
}

// "The Server MUST NOT match Topic Filters starting with a wildcard character (# or +)
// with Topic Names beginning with a $ character."
func TestMQTT_4_7_2_1(t *testing.T) {
	for _, filter := range []string{"#", "+", "+/#", "+/monitor/Clients", "+/+/+"} {
		require.False(t, packets.Match(filter, "$SYS/monitor/Clients"), filter)
		require.False(t, packets.Match(filter, "$"), filter)
	}
	for _, filter := range []string{"$SYS/#", "$SYS/monitor/+", "$SYS/+/Clients", "$SYS/monitor/Clients"} {
		require.True(t, packets.Match(filter, "$SYS/monitor/Clients"), filter)
	}
	require.True(t, packets.Match("+/$SYS", "a/$SYS"), "only the first character counts")
	require.True(t, packets.Match("/#", "/$SYS"))
}

// "All Topic Names and Topic Filters MUST be at least one character long."
func TestMQTT_4_7_3_1(t *testing.T) {
	refusesToSend(t, publish(""), "Topic", "MQTT-4.7.3-1")
	refusesToSend(t, withWill(packets.Will{}), "Will.Topic", "MQTT-4.7.3-1")
	refusesToSend(t, subscribe(""), "Subscriptions[0].Filter", "MQTT-4.7.3-1")
	refusesToSend(t, unsubscribe(""), "Filters[0]", "MQTT-4.7.3-1")
	refusesToRead(t, "MQTT-4.7.3-1", "empty topic name", "empty will topic", "empty filter")
	for _, s := range []string{"/", "//", " ", "a//b", "/a"} {
		require.NoError(t, packets.ValidTopicName(s))
		require.NoError(t, packets.ValidTopicFilter(s))
	}
}

// "Topic Names and Topic Filters MUST NOT include the null character (Unicode U+0000)."
func TestMQTT_4_7_3_2(t *testing.T) {
	for _, s := range []string{"\x00", "a/\x00", "longer than eight\x00", "\u00e9\x00", "+/\x00"} {
		require.ErrorContains(t, packets.ValidTopicName(s), "[MQTT-1.5.3-2]")
		require.ErrorContains(t, packets.ValidTopicFilter(s), "[MQTT-1.5.3-2]")
	}
}

// "Topic Names and Topic Filters are UTF-8 encoded strings, they MUST NOT encode to more
// than 65535 bytes": bytes, not characters.
func TestMQTT_4_7_3_3(t *testing.T) {
	for _, unit := range []string{"a", "\u20ac"} {
		most := strings.Repeat(unit, 65535/len(unit))
		require.NoError(t, packets.ValidTopicName(most))
		require.NoError(t, packets.ValidTopicFilter(most))
		for _, s := range []string{most + "a", most + "ab", most + most} {
			require.ErrorContains(t, packets.ValidTopicName(s), "[MQTT-4.7.3-3]")
			require.ErrorContains(t, packets.ValidTopicFilter(s), "[MQTT-4.7.3-3]")
			refusesToSend(t, publish(s), "Topic", "MQTT-4.7.3-3")
		}
	}
}

// "When it performs subscription matching the Server MUST NOT perform any normalization of
// Topic Names or Topic Filters, or any modification or substitution of unrecognized
// characters."
func TestMQTT_4_7_3_4(t *testing.T) {
	for _, pair := range [][2]string{
		{"ACCOUNTS", "Accounts"}, // case
		{"\u00e9", "e\u0301"},    // composed and decomposed
		{"a/b", "a//b"}, {"a", "a/"}, {"a", "/a"}, {"a", " a"}, {"a", "a "},
		{"\uFFFD", "\uFFFE"}, {"\u2126", "\u03a9"}, // ohm and omega
	} {
		require.False(t, packets.Match(pair[0], pair[1]), "%q", pair)
		require.False(t, packets.Match(pair[1], pair[0]), "%q", pair)
		require.True(t, packets.Match(pair[0], pair[0]))
		require.True(t, packets.Match(pair[1], pair[1]))
	}
}
