package packets_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
)

// A two-byte length counts to 65,535. If a field is one byte longer and the encoder truncates its
// length to 16 bits, the rest of the field is read as further packets: CVE-2025-10543.
func TestFieldsOfTheLargestLength(t *testing.T) {
	fields := []struct {
		name string
		spec string
		with func(n int) packets.Packet
	}{
		{"ClientID", "MQTT-1.5.3-1", func(n int) packets.Packet {
			return &packets.Connect{ClientID: strings.Repeat("c", n)}
		}},
		{"Will.Topic", "MQTT-4.7.3-3", func(n int) packets.Packet {
			return withWill(packets.Will{Topic: strings.Repeat("t", n), Payload: []byte{}})
		}},
		{"Will.Payload", "", func(n int) packets.Packet {
			return withWill(packets.Will{Topic: "t", Payload: bytes.Repeat([]byte{0}, n)})
		}},
		{"UserName", "MQTT-1.5.3-1", func(n int) packets.Packet {
			return &packets.Connect{ClientID: "c", HasUserName: true, UserName: strings.Repeat("u", n)}
		}},
		{"Password", "", func(n int) packets.Packet {
			return &packets.Connect{ClientID: "c", HasUserName: true, HasPassword: true, Password: bytes.Repeat([]byte{0xFF}, n)}
		}},
		{"Topic", "MQTT-4.7.3-3", func(n int) packets.Packet {
			return &packets.Publish{Topic: strings.Repeat("t", n), Payload: []byte("payload")}
		}},
		{"Subscriptions[0].Filter", "MQTT-4.7.3-3", func(n int) packets.Packet {
			return subscribe(strings.Repeat("f", n))
		}},
		{"Filters[0]", "MQTT-4.7.3-3", func(n int) packets.Packet {
			return unsubscribe(strings.Repeat("f", n))
		}},
	}
	for _, f := range fields {
		t.Run(f.name, func(t *testing.T) {
			most := f.with(65535)
			b, err := most.AppendBinary(nil)
			require.NoError(t, err)
			p, n, err := packets.Parse(b)
			require.NoError(t, err)
			require.Equal(t, len(b), n)
			require.Equal(t, most, p)
			for _, n := range []int{65536, 65537, 131072} {
				refusesToSend(t, f.with(n), f.name, f.spec)
			}
		})
	}
}

// Section 2.2.3, table 2.4: the limits of each size of a Remaining Length, and both forms of the
// largest one.
func TestRemainingLength(t *testing.T) {
	for _, c := range []struct {
		remaining int
		header    []byte
	}{
		{3, []byte{0x30, 0x03}},
		{127, []byte{0x30, 0x7F}},
		{128, []byte{0x30, 0x80, 0x01}},
		{16_383, []byte{0x30, 0xFF, 0x7F}},
		{16_384, []byte{0x30, 0x80, 0x80, 0x01}},
		{2_097_151, []byte{0x30, 0xFF, 0xFF, 0x7F}},
		{2_097_152, []byte{0x30, 0x80, 0x80, 0x80, 0x01}},
	} {
		want := &packets.Publish{Topic: "t", Payload: make([]byte, c.remaining-3)}
		b, err := want.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, c.header, b[:len(c.header)])
		require.Len(t, b, len(c.header)+c.remaining)
		require.Equal(t, len(b), want.Size())
		p, n, err := packets.Parse(b)
		require.NoError(t, err)
		require.Equal(t, len(b), n)
		require.True(t, bytes.Equal(want.Payload, p.(*packets.Publish).Payload))
	}
	_, _, err := packets.Parse([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F})
	require.Equal(t, packets.ErrShort, err, "268,435,455 is legal")
}

// The total size of a list's fields can exceed the protocol's limit, and a 32-bit int, though the
// memory behind it is small.
func TestListsLongerThanAPacket(t *testing.T) {
	long := strings.Repeat("f", 65535)
	for _, n := range []int{4096, 40_000, 70_000} { // just too long, and above 2 and 4 GiB
		s, u := &packets.Subscribe{PacketID: 1}, &packets.Unsubscribe{PacketID: 1}
		for range n {
			s.Subscriptions = append(s.Subscriptions, packets.Subscription{Filter: long})
			u.Filters = append(u.Filters, long)
		}
		refusesToSend(t, s, "Subscriptions", "")
		refusesToSend(t, u, "Filters", "")
	}
}

func TestPublishLongerThanAPacket(t *testing.T) {
	p := &packets.Publish{Topic: "t", Payload: make([]byte, packets.MaxRemainingLength-3)}
	require.NoError(t, p.Check())
	require.Equal(t, packets.MaxRemainingLength+5, p.Size())
	p.Payload = make([]byte, packets.MaxRemainingLength-2)
	refusesToSend(t, p, "Payload", "")
	refusesToSend(t, &packets.Suback{PacketID: 1, Codes: make([]packets.SubscribeCode, packets.MaxRemainingLength)}, "Codes", "")
}

// With room for the packet nothing is allocated, and the bytes before it are kept.
func TestAppendKeepsWhatIsThere(t *testing.T) {
	p := &packets.Publish{Topic: "t", Payload: []byte("payload")}
	b := append(make([]byte, 0, 100), "before"...)
	out, err := p.AppendBinary(b)
	require.NoError(t, err)
	require.Equal(t, "before", string(out[:6]))
	require.Same(t, &b[0], &out[0])
	exact := make([]byte, 0, p.Size())
	out, err = p.AppendBinary(exact)
	require.NoError(t, err)
	require.Same(t, &exact[:1][0], &out[0], "Size is enough")
}

func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 0, 512)
	for _, p := range []packets.Packet{
		publishOf(256), &packets.Puback{PacketID: 1}, &packets.Pubrec{PacketID: 1}, &packets.Pubrel{PacketID: 1},
		&packets.Pubcomp{PacketID: 1}, &packets.Pingreq{}, subscribe8(), clean(), withWill(packets.Will{Topic: "w"}),
	} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			var err error
			if buf, err = p.AppendBinary(buf[:0]); err != nil {
				t.Error(err)
			}
		}), "encode %v", p)
	}
	for _, p := range []packets.Packet{
		publishOf(256), publishOf(64 << 10), &packets.Publish{Topic: "q", QoS: 1, PacketID: 7},
		&packets.Puback{PacketID: 1}, &packets.Pubrec{PacketID: 1}, &packets.Pubrel{PacketID: 1}, &packets.Pubcomp{PacketID: 1},
		&packets.Suback{PacketID: 1, Codes: []packets.SubscribeCode{0, 1, 2, 0x80}}, &packets.Pingresp{}, &packets.Connack{},
	} {
		r := packets.NewReader(packed(t, p), packets.ReaderOptions{})
		for range 1000 { // until the buffer has its size
			_, err := r.ReadPacket()
			require.NoError(t, err)
		}
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			if _, err := r.ReadPacket(); err != nil {
				t.Error(err)
			}
		}), "decode %v", p)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if packets.Match("plant/-/line/#", benchTopic) {
			t.Error("matches")
		}
		packets.ParseShared("$share/group/plant/+")
		if packets.ValidTopicName(benchTopic) != nil || packets.ValidTopicFilter("plant/+/#") != nil {
			t.Error("not valid")
		}
	}))
}
