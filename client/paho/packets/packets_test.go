package packets_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/client/paho/packets"
	"github.com/stretchr/testify/require"
)

func every() []packets.ControlPacket {
	var all []packets.ControlPacket
	for t := byte(packets.Connect); t <= packets.Disconnect; t++ {
		p := packets.NewControlPacket(t)
		switch p := p.(type) {
		case *packets.ConnectPacket:
			p.ProtocolName, p.ProtocolVersion, p.ClientIdentifier, p.CleanSession, p.Keepalive = "MQTT", 4, "c", true, 30
			p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos, p.WillRetain = true, "w", []byte("m"), 1, true
			p.UsernameFlag, p.Username, p.PasswordFlag, p.Password = true, "secret", true, []byte("secret")
		case *packets.ConnackPacket:
			p.ReturnCode = packets.ErrRefusedNotAuthorised
		case *packets.PublishPacket:
			p.Dup, p.Qos, p.Retain, p.TopicName, p.MessageID, p.Payload = true, 2, true, "t", 7, []byte("secret")
		case *packets.PubackPacket:
			p.MessageID = 7
		case *packets.PubrecPacket:
			p.MessageID = 7
		case *packets.PubrelPacket:
			p.MessageID = 7
		case *packets.PubcompPacket:
			p.MessageID = 7
		case *packets.SubscribePacket:
			p.MessageID, p.Topics, p.Qoss = 7, []string{"a", "b/#"}, []byte{1, 2}
		case *packets.SubackPacket:
			p.MessageID, p.ReturnCodes = 7, []byte{1, 0x80}
		case *packets.UnsubscribePacket:
			p.MessageID, p.Topics = 7, []string{"a", "b/#"}
		case *packets.UnsubackPacket:
			p.MessageID = 7
		}
		all = append(all, p)
	}
	return all
}

// Every packet is read as it was written, and the bytes after it are not consumed.
func TestWriteAndRead(t *testing.T) {
	for _, p := range every() {
		var b bytes.Buffer
		require.NoError(t, p.Write(&b))
		whole := b.Len()
		b.WriteString("more")
		got, err := packets.ReadPacket(&b)
		require.NoError(t, err)
		require.Equal(t, p, got)
		require.Equal(t, p.Details(), got.Details())
		require.Equal(t, "more", b.String())
		require.NotContains(t, p.String(), "secret")
		require.NotEmpty(t, p.String())
		require.Positive(t, whole)
	}
}

// Reading a packet that is truncated at any byte returns an error.
func TestCutPackets(t *testing.T) {
	for _, p := range every() {
		var b bytes.Buffer
		require.NoError(t, p.Write(&b))
		for n := range b.Len() {
			_, err := packets.ReadPacket(bytes.NewReader(b.Bytes()[:n]))
			require.Error(t, err)
		}
	}
}

// endless is a reader without an end. It counts the bytes that were read.
type endless struct{ n int }

func (e *endless) Read(b []byte) (int, error) {
	e.n += len(b)
	if e.n > 1<<20 {
		return 0, errors.New("cut")
	}
	return len(b), nil
}

func TestBadPackets(t *testing.T) {
	for _, s := range []string{
		"\x00\x00", "\xf0\x00", "\x36\x05\x00\x01t\x00\x01", "\x40\x02\x00\x00", "\x90\x02\x00\x01", "\x20\x03\x00\x00\x00",
		"\x30\xff\xff\xff\xff\x01", "\x60\x02\x00\x01", "\x82\x02\x00\x01",
	} {
		_, err := packets.ReadPacket(strings.NewReader(s))
		require.Error(t, err, "%q", s)
	}
	_, err := packets.ReadPacket(io.MultiReader(strings.NewReader("\x30\xff\xff\xff\x7f"), new(endless)))
	require.Error(t, err)
	require.Nil(t, packets.NewControlPacket(0))
	require.Nil(t, packets.NewControlPacket(15))
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.RemainingLength = -1
	require.Error(t, p.Unpack(strings.NewReader("")))
	p.TopicName = "a/#"
	require.Error(t, p.Write(io.Discard))
	s := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	s.MessageID, s.Topics = 1, []string{"a"}
	require.Error(t, s.Write(io.Discard), "no QoS")
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	require.Error(t, c.Write(io.Discard), "no protocol name")
}

// Unpack returns an error if the fixed header belongs to another type of packet.
func TestHeaderOfAnotherType(t *testing.T) {
	other := packets.FixedHeader{MessageType: packets.Puback, RemainingLength: 2}
	for _, p := range []packets.ControlPacket{
		&packets.PublishPacket{FixedHeader: other}, &packets.PubcompPacket{FixedHeader: other}, &packets.PingreqPacket{FixedHeader: other},
		&packets.PubackPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Puback, Qos: 0x18, RemainingLength: 2}}, // the PUBCOMP flags after encoding
	} {
		require.ErrorContains(t, p.Unpack(strings.NewReader("\x00\x01")), "the fixed header is", "%T", p)
	}
}

// Validate returns the code that a Server would answer.
func TestValidate(t *testing.T) {
	good := packets.ConnectPacket{ProtocolName: "MQTT", ProtocolVersion: 4, ClientIdentifier: "c"}
	for want, change := range map[byte]func(c *packets.ConnectPacket){
		packets.Accepted:                        func(*packets.ConnectPacket) {},
		packets.ErrRefusedBadProtocolVersion:    func(c *packets.ConnectPacket) { c.ProtocolVersion = 3 },
		packets.ErrRefusedIDRejected:            func(c *packets.ConnectPacket) { c.ClientIdentifier = "" },
		packets.ErrRefusedBadUsernameOrPassword: func(c *packets.ConnectPacket) { c.PasswordFlag = true },
		packets.ErrProtocolViolation:            func(c *packets.ConnectPacket) { c.ProtocolName = "HTTP" },
	} {
		c := good
		change(&c)
		require.Equal(t, want, c.Validate(), packets.ConnackReturnCodes[want])
	}
	c := good
	c.ReservedBit = 1
	require.EqualValues(t, packets.ErrProtocolViolation, c.Validate())
	c = good
	c.Username = strings.Repeat("u", 65536)
	require.EqualValues(t, packets.ErrProtocolViolation, c.Validate())
}

// A copy has only the topic and the payload.
func TestCopy(t *testing.T) {
	p := packets.PublishPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Publish, Qos: 1, Retain: true}, TopicName: "t", MessageID: 7, Payload: []byte("x")}
	require.Equal(t, &packets.PublishPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Publish}, TopicName: "t", Payload: []byte("x")}, p.Copy())
	require.Equal(t, "PUBLISH: dup: false qos: 1 retain: true rLength: 0", p.FixedHeader.String())
	require.Equal(t, "PINGRESP", packets.PacketNames[packets.Pingresp])
	require.Len(t, packets.PacketNames, 14)
}
