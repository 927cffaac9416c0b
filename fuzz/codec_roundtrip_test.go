package fuzz

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/packets/vectors"
)

// packetOf makes a packet of any type from parts, legal or not.
func packetOf(kind, flags, level byte, id uint16, s, more string, b []byte) packets.Packet {
	bit := func(n int) bool { return flags>>n&1 == 1 }
	if b == nil {
		b = []byte{} // as Parse gives it
	}
	switch packets.Type(kind%14 + 1) {
	case packets.CONNECT:
		p := &packets.Connect{ClientID: s, CleanSession: bit(0), KeepAlive: id}
		if bit(1) {
			p.Will = &packets.Will{Topic: more, Payload: b, QoS: packets.QoS(level), Retain: bit(2)}
		}
		if p.HasUserName = bit(3); p.HasUserName || bit(6) {
			p.UserName = more
		}
		if p.HasPassword = bit(4); p.HasPassword || bit(7) && len(b) > 0 {
			p.Password = b
		}
		return p
	case packets.CONNACK:
		return &packets.Connack{SessionPresent: bit(0), Code: packets.ConnectCode(level)}
	case packets.PUBLISH:
		return &packets.Publish{Dup: bit(0), QoS: packets.QoS(level), Retain: bit(1), Topic: s, PacketID: id, Payload: b}
	case packets.PUBACK:
		return &packets.Puback{PacketID: id}
	case packets.PUBREC:
		return &packets.Pubrec{PacketID: id}
	case packets.PUBREL:
		return &packets.Pubrel{PacketID: id}
	case packets.PUBCOMP:
		return &packets.Pubcomp{PacketID: id}
	case packets.SUBSCRIBE:
		p := &packets.Subscribe{PacketID: id}
		for i := range flags % 4 {
			p.Subscriptions = append(p.Subscriptions, packets.Subscription{Filter: []string{s, more}[i%2], QoS: packets.QoS(level)})
		}
		return p
	case packets.SUBACK:
		p := &packets.Suback{PacketID: id}
		for _, c := range b {
			p.Codes = append(p.Codes, packets.SubscribeCode(c))
		}
		return p
	case packets.UNSUBSCRIBE:
		p := &packets.Unsubscribe{PacketID: id}
		for i := range flags % 4 {
			p.Filters = append(p.Filters, []string{s, more}[i%2])
		}
		return p
	case packets.UNSUBACK:
		return &packets.Unsuback{PacketID: id}
	case packets.PINGREQ:
		return &packets.Pingreq{}
	case packets.PINGRESP:
		return &packets.Pingresp{}
	}
	return &packets.Disconnect{}
}

// FuzzRoundTrip encodes values. What a value encodes to is legal to the judge and decodes to the
// same value. A value that may not be sent is refused with the name of a field, and nothing is
// appended.
func FuzzRoundTrip(f *testing.F) {
	for kind := range byte(14) {
		f.Add(kind, byte(0x1F), byte(1), uint16(7), "client/or/topic", "more/+", []byte("payload"))
		f.Add(kind, byte(0x01), byte(0), uint16(0), "t", "", []byte(nil))
		f.Add(kind, byte(0xFF), byte(3), uint16(65535), "\xff", "a#", []byte{0, 1, 2, 0x80})
	}
	f.Fuzz(func(t *testing.T, kind, flags, level byte, id uint16, s, more string, b []byte) {
		p := packetOf(kind, flags, level, id, s, more, b)
		out, err := p.AppendBinary([]byte("before"))
		require.Equal(t, "before", string(out[:6]))
		if err != nil {
			var refused *packets.EncodeError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, p.Type(), refused.Type)
			require.NotEmpty(t, refused.Field)
			require.NotEmpty(t, refused.Reason)
			require.Len(t, out, 6)
			return
		}
		wire := out[6:]
		require.Equal(t, vectors.Judgement{Length: len(wire)}, vectors.Judge(wire))
		again, n, err := packets.Parse(wire)
		require.NoError(t, err)
		require.Equal(t, len(wire), n)
		require.Equal(t, p, again)
	})
}
