package explain

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/packets/vectors"
	"github.com/stretchr/testify/require"
)

// A line describes the fault in each refusal vector, with its byte and its statement, in both
// languages.
func TestEveryRefusalIsNamed(t *testing.T) {
	for _, r := range vectors.Refusals {
		t.Run(r.Name, func(t *testing.T) {
			p, n := Take(r.Bytes, Options{})
			require.Positive(t, n)
			require.Equal(t, r.Type, p.Type)
			require.Equal(t, 1, p.Faults(), "%v", p.Findings)
			f := p.Findings[0]
			require.True(t, f.Fault)
			require.Equal(t, r.Offset, f.Offset)
			require.Equal(t, r.Spec, f.Spec)
			for _, lang := range []string{"en", "zh"} {
				line := f.Line(lang)
				require.NotContains(t, line, "\n")
				require.Contains(t, line, fmt.Sprint(r.Offset))
				require.Contains(t, line, r.Spec)
			}
			require.NotEqual(t, f.EN, f.ZH, "it has no text in Chinese")
			require.True(t, strings.ContainsFunc(f.ZH, func(c rune) bool { return unicode.Is(unicode.Han, c) }), f.ZH)
			covers(t, p, n)
		})
	}
}

// The fields of a packet cover each of its bytes once.
func TestFieldsCoverThePacket(t *testing.T) {
	for _, l := range vectors.Packets {
		t.Run(l.Name, func(t *testing.T) {
			p, n := Take(l.Bytes, Options{})
			require.Equal(t, len(l.Bytes), n)
			require.Zero(t, p.Faults(), "%v", p.Findings)
			require.Equal(t, l.Text, p.Summary)
			covers(t, p, n)
			for cut := range l.Bytes { // every prefix is valid so far
				p, n := Take(l.Bytes[:cut], Options{})
				require.Zero(t, p.Faults())
				covers(t, p, n)
			}
		})
	}
}

func covers(t *testing.T, p Packet, n int) {
	t.Helper()
	at := 0
	for _, f := range p.Fields {
		require.Equal(t, at, f.Offset, f.Name.EN)
		at += f.Length
		require.NotEmpty(t, f.Name.ZH)
		require.False(t, strings.ContainsFunc(f.Value.EN+f.Value.ZH, unicode.IsControl), "%q", f.Value)
	}
	require.Equal(t, n, at, "%v", p.Fields)
}

// User names and passwords are shown only on request.
func TestSecrets(t *testing.T) {
	b, err := (&packets.Connect{ClientID: "c", CleanSession: true, HasUserName: true, UserName: "alice", HasPassword: true, Password: []byte("hunter2")}).AppendBinary(nil)
	require.NoError(t, err)
	p, _ := Take(b, Options{})
	require.NotContains(t, fmt.Sprintf("%s %v", p.Summary, p.Fields), "hunter2")
	require.NotContains(t, fmt.Sprintf("%s %v", p.Summary, p.Fields), "alice")
	for _, f := range p.Fields {
		require.NotContains(t, string(f.Bytes), "hunter2")
		require.NotContains(t, string(f.Bytes), "alice")
	}
	p, _ = Take(b, Options{Secrets: true})
	require.Contains(t, fmt.Sprint(p.Fields), "hunter2")
	require.Contains(t, fmt.Sprint(p.Fields), "alice")
}

// Bytes of a CONNECT that belong to no field are not shown either: those after the level of another version, those
// that its flags do not announce, those after an unreadable Remaining Length.
func TestSecretsBehindTheFields(t *testing.T) {
	for _, s := range []string{
		"\x10\x1b\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x00\x00\x02me\x00\x06secret",
		"\x10\x16\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\x00\x06secret",
		"\x10\xff\xff\xff\xff\x00\x06secret",
	} {
		p, _ := Take([]byte(s), Options{})
		hidden := p.Fields[len(p.Fields)-1]
		require.Equal(t, "further bytes", hidden.Name.EN, "%q", s)
		require.Nil(t, hidden.Bytes)
		require.Regexp(t, `^\d+ bytes, not shown$`, hidden.Value.EN)
		p, _ = Take([]byte(s), Options{Secrets: true})
		require.NotNil(t, p.Fields[len(p.Fields)-1].Bytes)
	}
}

// A conversation does not hold packets: a CONNECT may have up to 320 KiB, and a capture thousands of
// connections.
func TestConversationHoldsNoPacket(t *testing.T) {
	long := strings.Repeat("x", 65535)
	b, err := (&packets.Connect{
		ClientID: long, CleanSession: true, Will: &packets.Will{Topic: long, Payload: []byte(long)},
		HasUserName: true, UserName: long, HasPassword: true, Password: []byte(long),
	}).AppendBinary(nil)
	require.NoError(t, err)
	inUse := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := inUse()
	var all [100]Conversation
	for i := range all {
		p, _ := Take(b, Options{})
		all[i].Judge(Client, &p)
	}
	require.Less(t, inUse()-before, 10*len(b), "of %d packets", len(all))
	runtime.KeepAlive(&all)
}

// The packets are the same however the stream is divided.
func TestStreamOfChunks(t *testing.T) {
	var all []byte
	for _, l := range vectors.Packets {
		all = append(all, l.Bytes...)
	}
	for _, size := range []int{1, 2, 7, 1000, len(all)} {
		var got []string
		s := NewStream(Options{}, func(p Packet) { got = append(got, p.Summary) })
		for rest := all; len(rest) > 0; {
			n := min(size, len(rest))
			s.Write(rest[:n])
			rest = rest[n:]
		}
		s.Close()
		require.Len(t, got, len(vectors.Packets))
		for i, l := range vectors.Packets {
			require.Equal(t, l.Text, got[i])
		}
	}
}

func one(t *testing.T, p packets.Packet) []byte {
	t.Helper()
	b, err := p.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// A fault in a packet with a known end does not hide what follows; one in a packet without a known
// end does.
func TestStreamAfterAFault(t *testing.T) {
	var got []Packet
	s := NewStream(Options{}, func(p Packet) { got = append(got, p) })
	s.Write([]byte{0x30, 5, 0, 3, 'a', '/', '+'})
	s.Write(one(t, &packets.Pingreq{}))
	s.Write([]byte{0xF0, 1, 2, 3})
	s.Close()
	require.Len(t, got, 3)
	require.Equal(t, "MQTT-3.3.2-2", got[0].Findings[0].Spec)
	require.Equal(t, "PINGREQ", got[1].Summary)
	require.EqualValues(t, 7, got[1].Offset)
	require.Equal(t, 1, got[2].Faults())
	require.EqualValues(t, 3, s.Unread())
}

// A packet larger than the limit is decoded, and its payload skipped; a stream that ends or has a gap within
// a packet reports that.
func TestStreamOfLargePackets(t *testing.T) {
	large := one(t, &packets.Publish{Topic: "a", Payload: make([]byte, 10<<20)})
	var got []Packet
	s := NewStream(Options{}, func(p Packet) { got = append(got, p) })
	s.Write(large)
	require.LessOrEqual(t, cap(s.held), 4096)
	s.Write(one(t, &packets.Pingreq{}))
	require.Len(t, got, 2)
	require.Equal(t, fmt.Sprintf(`PUBLISH "a" qos=0 size=%d`, 10<<20), got[0].Summary)
	require.Zero(t, got[0].Faults())
	require.EqualValues(t, len(large), got[1].Offset)

	s.Write(large[:1<<20])
	s.Gap(8 << 20)
	s.Write(large[9<<20:])
	s.Write(one(t, &packets.Pingreq{}))
	require.Len(t, got, 4)
	require.EqualValues(t, 8<<20, got[2].Missing)
	require.Equal(t, "PINGREQ", got[3].Summary)

	s.Write(large[:1<<20])
	s.Gap(1 << 30)
	require.Len(t, got, 5)
	require.Contains(t, got[4].Findings[0].EN, "cut short: 1048576 of its")
	require.True(t, s.Lost())
	s.Write([]byte("nothing"))
	s.Write(one(t, &packets.Pingresp{}))
	require.False(t, s.Lost())
	require.Equal(t, "PINGRESP", got[5].Summary)
	require.EqualValues(t, int64(2*len(large)+4)+(1<<20)+(1<<30)+7, got[5].Offset)

	s.Write(large[:100])
	s.Close()
	require.Contains(t, got[6].Findings[0].EN, "cut short: 100 of its")
}

// Bytes are read in the usual notations.
func TestHex(t *testing.T) {
	want := []byte{0x30, 0x0f, 0x00, 0x03, 'a', '/', 'b', 'h', 'e', 'l', 'l', 'o', ' ', 'y', 'o', 'u', '!'}
	for name, text := range map[string]string{
		"plain":     "300f0003612f6268656c6c6f20796f7521",
		"blanks":    "30 0F 00 03 61 2f 62 68 65 6c 6c 6f 20 79 6f 75 21",
		"0x":        "0x30, 0x0f, 0x0, 0x3, 0x61, 0x2f, 0x62, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x79, 0x6f, 0x75, 0x21",
		"Go":        "[]byte{0x30, 0xf, 0x0, 0x3, 0x61, 0x2f, 0x62, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x79, 0x6f, 0x75, 0x21}",
		"escapes":   `"\x30\x0f\x00\x03\x61\x2f\x62\x68\x65\x6c\x6c\x6f\x20\x79\x6f\x75\x21"`,
		"colons":    "30:0f:00:03:61:2f:62:68\n65:6c:6c:6f:20:79:6f:75:21\n",
		"hexdump":   "00000000  30 0f 00 03 61 2f 62 68  65 6c 6c 6f 20 79 6f 75  |0...a/bhello you|\n00000010  21                                                |!|\n00000011\n",
		"xxd":       "00000000: 300f 0003 612f 6268 656c 6c6f 2079 6f75  0...a/bhello you\n00000010: 21                                       !\n",
		"Wireshark": "0000   30 0f 00 03 61 2f 62 68 65 6c 6c 6f 20 79 6f 75   0...a/bhello you\r\n0010   21   !\r\n",
	} {
		b, err := Hex(text)
		require.NoError(t, err, name)
		require.Equal(t, want, b, name)
	}
	_, err := Hex("30 00\nhello")
	require.EqualError(t, err, `explain: line 2: "hello" is not a hexadecimal byte`)
	_, err = Hex("300")
	require.Error(t, err, "half a byte")
	b, err := Hex("00000000")
	require.NoError(t, err)
	require.Len(t, b, 4, "not an offset")
	// The text column of a short last line of xxd may look like bytes.
	b, err = Hex("00000000: 6162                                     ab\n")
	require.NoError(t, err)
	require.Equal(t, []byte("ab"), b)
}

// The meaning of a packet depends on earlier ones.
func TestConversation(t *testing.T) {
	connect := &packets.Connect{ClientID: "c", CleanSession: true}
	type step struct {
		from Side
		p    packets.Packet
		spec string // the statement that is violated, or ""
	}
	for name, steps := range map[string][]step{
		"in order": {
			{Client, connect, ""},
			{Server, &packets.Connack{}, ""},
			{Client, &packets.Subscribe{PacketID: 1, Subscriptions: []packets.Subscription{{Filter: "a"}}}, ""},
			{Server, &packets.Publish{Topic: "a", QoS: 1, PacketID: 1}, ""},
			{Server, &packets.Suback{PacketID: 1, Codes: []packets.SubscribeCode{0}}, ""},
			{Client, &packets.Puback{PacketID: 1}, ""},
			{Client, &packets.Publish{Topic: "a", QoS: 2, PacketID: 1}, ""},
			{Server, &packets.Pubrec{PacketID: 1}, ""},
			{Client, &packets.Pubrel{PacketID: 1}, ""},
			{Client, &packets.Pubrel{PacketID: 1}, ""},
			{Server, &packets.Pubcomp{PacketID: 1}, ""},
			{Server, &packets.Pubcomp{PacketID: 1}, ""},
			{Client, &packets.Pubrel{PacketID: 9}, ""}, // from an earlier connection
			{Server, &packets.Pubcomp{PacketID: 9}, ""},
			{Client, &packets.Unsubscribe{PacketID: 2, Filters: []string{"a"}}, ""},
			{Server, &packets.Unsuback{PacketID: 2}, ""},
			{Client, &packets.Disconnect{}, ""},
			{Client, &packets.Pingreq{}, "MQTT-3.14.4-2"},
		},
		"no CONNECT":       {{Client, &packets.Pingreq{}, "MQTT-3.1.0-1"}},
		"no CONNACK":       {{Client, connect, ""}, {Server, &packets.Pingresp{}, "MQTT-3.2.0-1"}},
		"two CONNECT":      {{Client, connect, ""}, {Server, &packets.Connack{}, ""}, {Client, connect, "MQTT-3.1.0-2"}},
		"a session kept":   {{Client, connect, ""}, {Server, &packets.Connack{SessionPresent: true}, "MQTT-3.2.2-1"}},
		"codes":            {{Client, connect, ""}, {Server, &packets.Connack{}, ""}, {Client, &packets.Subscribe{PacketID: 1, Subscriptions: []packets.Subscription{{Filter: "a"}}}, ""}, {Server, &packets.Suback{PacketID: 1, Codes: []packets.SubscribeCode{0, 0}}, "MQTT-3.8.4-5"}},
		"SUBACK unasked":   {{Client, connect, ""}, {Server, &packets.Connack{}, ""}, {Server, &packets.Suback{PacketID: 1, Codes: []packets.SubscribeCode{0}}, "MQTT-3.8.4-2"}},
		"UNSUBACK unasked": {{Client, connect, ""}, {Server, &packets.Connack{}, ""}, {Server, &packets.Unsuback{PacketID: 1}, "MQTT-3.10.4-4"}},
		"PUBACK unasked":   {{Client, connect, ""}, {Server, &packets.Connack{}, ""}, {Server, &packets.Puback{PacketID: 1}, "MQTT-2.3.1-6"}},
		"PUBACK for QoS 2": {{Client, connect, ""}, {Server, &packets.Connack{}, ""}, {Client, &packets.Publish{Topic: "a", QoS: 2, PacketID: 1}, ""}, {Server, &packets.Puback{PacketID: 1}, "MQTT-4.3.3-1"}},
		"PUBLISH again": {{Client, connect, ""}, {Server, &packets.Connack{}, ""}, {Client, &packets.Publish{Topic: "a", QoS: 2, PacketID: 1}, ""}, {Server, &packets.Pubrec{PacketID: 1}, ""},
			{Client, &packets.Publish{Topic: "a", QoS: 2, PacketID: 1, Dup: true}, "MQTT-4.3.3-1"}},
		"identifier in use": {{Client, connect, ""}, {Server, &packets.Connack{}, ""}, {Server, &packets.Publish{Topic: "a", QoS: 1, PacketID: 1}, ""}, {Server, &packets.Publish{Topic: "a", QoS: 1, PacketID: 1}, "MQTT-2.3.1-2"}},
	} {
		t.Run(name, func(t *testing.T) {
			var c Conversation
			for i, s := range steps {
				p, _ := Take(one(t, s.p), Options{})
				c.Judge(s.from, &p)
				var specs []string
				for _, f := range p.Findings {
					require.NotEmpty(t, f.ZH)
					if f.Fault {
						specs = append(specs, f.Spec)
					}
				}
				require.Equal(t, s.spec, strings.Join(specs, " "), "step %d, %s", i, p.Summary)
			}
		})
	}
	// Without the beginning of a connection, an acknowledgement for an unknown packet is no fault.
	c := Conversation{Partial: true}
	for _, s := range []step{{Server, &packets.Puback{PacketID: 1}, ""}, {Server, &packets.Suback{PacketID: 1, Codes: []packets.SubscribeCode{0}}, ""}} {
		p, _ := Take(one(t, s.p), Options{})
		c.Judge(s.from, &p)
		require.Zero(t, p.Faults())
	}
}

// A CONNECT with wrong flags or lengths shows no password as another field, complete or truncated.
func TestConnectThatLiesHidesSecrets(t *testing.T) {
	body := "\x00\x06user-7\x00\x06geheim"
	for name, c := range map[string]string{
		"a will that is not there":       "\x00\x04MQTT\x04\xC6\x00\x3c\x00\x01c" + body,
		"a length of the client id":      "\x00\x04MQTT\x04\xC2\x00\x3c\x00\x7fc" + body,
		"a shorter client id":            "\x00\x04MQTT\x04\xC2\x00\x3c\x00\x00c" + body,
		"a length of the protocol name":  "\x00\x60MQTT\x04\xC2\x00\x3c\x00\x01c" + body,
		"no password in the flags":       "\x00\x04MQTT\x04\x82\x00\x3c\x00\x01c" + body,
		"no keep alive":                  "\x00\x04MQTT\x04\xC2\x00\x01c" + body,
		"reserved bit, and a false will": "\x00\x04MQTT\x04\xC7\x00\x3c\x00\x01c" + body + "\x00\x00\x00\x00",
	} {
		for whole, b := range map[bool][]byte{
			true:  append([]byte{0x10, byte(len(c))}, c...),
			false: append([]byte{0x10, byte(len(c)) + 40}, c...),
		} {
			p, _ := Take(b, Options{})
			text := fmt.Sprintf("%+v", p)
			for _, f := range p.Fields {
				text += string(f.Bytes)
			}
			require.NotContains(t, text, "geheim", "%s, whole: %t", name, whole)
			require.NotContains(t, text, "67 65 68", "%s, whole: %t", name, whole)
			p, _ = Take(b, Options{Secrets: true})
			require.NotEmpty(t, p.Fields)
		}
	}
}
