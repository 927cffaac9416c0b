package packets_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
)

// The text of a packet contains no secret and no payload, however it is formatted.
func TestNoSecretInText(t *testing.T) {
	const canary = "canary"
	connect := &packets.Connect{
		ClientID: "c", Will: &packets.Will{Topic: "w", Payload: []byte(canary)},
		HasUserName: true, UserName: canary, HasPassword: true, Password: []byte(canary),
	}
	publish := &packets.Publish{Topic: "t", Payload: []byte(canary)}
	for _, v := range []any{connect, *connect, connect.Will, *connect.Will, publish, *publish, []any{*connect}} {
		for _, verb := range []string{"%v", "%+v", "%s", "%q"} {
			text := fmt.Sprintf(verb, v)
			require.NotContains(t, text, canary)
			require.NotContains(t, text, fmt.Sprint([]byte(canary)))
		}
	}
	for _, v := range []any{connect, *connect, *connect.Will} {
		require.NotContains(t, fmt.Sprintf("%#v", v), canary)
	}
	b, err := json.Marshal(connect)
	require.NoError(t, err)
	require.Equal(t, `{"ClientID":"c","CleanSession":false,"KeepAlive":0,"Will":{"Topic":"w","QoS":0,"Retain":false},"HasUserName":true,"HasPassword":true}`, string(b))

	// Nor does an error.
	for _, p := range []packets.Packet{
		&packets.Connect{ClientID: "c", HasUserName: true, UserName: canary + "\x00", HasPassword: true, Password: []byte(canary)},
		&packets.Connect{ClientID: "c", UserName: canary, HasPassword: true, Password: []byte(canary)},
		&packets.Connect{ClientID: "c", HasPassword: true, Password: []byte(canary)},
		&packets.Connect{ClientID: "c", HasUserName: true, HasPassword: true, Password: make([]byte, 65536)},
	} {
		_, err := p.AppendBinary(nil)
		require.Error(t, err)
		require.NotContains(t, err.Error(), canary)
	}
	_, _, err = packets.Parse([]byte("\x10\x19\x00\x04MQTT\x04\xC2\x00\x00\x00\x01c\x00\x07canary\x00\x00\x01p"))
	require.ErrorContains(t, err, "user name holds a NUL character")
	require.NotContains(t, err.Error(), canary)
}

// A name from a peer cannot break the line or the terminal.
func TestTextStaysOnItsLine(t *testing.T) {
	for _, p := range []packets.Packet{
		publish("a\nPUBLISH b\x1b[31m"), subscribe("a\r\n\x07"), unsubscribe("\u2028\n"),
		&packets.Connect{ClientID: "\n\t", Will: &packets.Will{Topic: "\n"}},
	} {
		for _, c := range p.String() {
			require.GreaterOrEqual(t, c, ' ')
			require.NotEqual(t, '\u2028', c)
		}
	}
}

func TestNames(t *testing.T) {
	for want, v := range map[string]fmt.Stringer{
		"PUBLISH":                       packets.PUBLISH,
		"DISCONNECT":                    packets.DISCONNECT,
		"reserved type 0":               packets.Type(0),
		"reserved type 15":              packets.Type(15),
		"type 16":                       packets.Type(16),
		"at most once":                  packets.AtMostOnce,
		"at least once":                 packets.AtLeastOnce,
		"exactly once":                  packets.ExactlyOnce,
		"QoS 3":                         packets.QoS(3),
		"connection accepted":           packets.Accepted,
		"unacceptable protocol version": packets.UnacceptableProtocolVersion,
		"client identifier rejected":    packets.IdentifierRejected,
		"server unavailable":            packets.ServerUnavailable,
		"bad user name or password":     packets.BadUserNameOrPassword,
		"not authorized":                packets.NotAuthorized,
		"reserved code 6":               packets.ConnectCode(6),
		"granted at most once":          packets.SubscribeCode(0),
		"granted exactly once":          packets.SubscribeCode(2),
		"failure 0x80":                  packets.SubscribeFailure,
		"failure 0x87":                  packets.SubscribeCode(0x87),
		"reserved code 0x3":             packets.SubscribeCode(3),
	} {
		require.Equal(t, want, v.String())
	}
	for typ := packets.CONNECT; typ <= packets.DISCONNECT; typ++ {
		require.Regexp(t, "^[A-Z]+$", typ.String())
	}
}

// Section 1.5.3, without an id: control characters and noncharacters should not be sent, and a
// receiver may close because of them. We read, write and report them.
func TestDuty_1_5_3_discouraged(t *testing.T) {
	for s, at := range map[string]int{
		"a\x01": 1, "\x1f": 0, "ab\x7f": 2, "\u0080": 0, "é\u009f": 2, "\ufdd0": 0, "\ufdef": 0,
		"\ufffe": 0, "\uffff": 0, "a\U0001fffe": 1, "\U0010ffff": 0, "\n": 0,
	} {
		require.Equal(t, at, packets.Discouraged(s), "%q", s)
		b, err := publish(s).AppendBinary(nil)
		require.NoError(t, err)
		p, _, err := packets.Parse(b)
		require.NoError(t, err)
		require.Equal(t, s, p.(*packets.Publish).Topic)
	}
	for _, s := range []string{"", "a b~", "\u00a0", "\ufdcf\ufdf0\ufffd", "\ufeff", "\U0001f600"} {
		require.Equal(t, -1, packets.Discouraged(s), "%q", s)
	}
}

// Section 3.2.2.1, without an id: bits 7 to 1 of the Connect Acknowledge Flags are 0.
func TestDuty_3_2_2_1_reserved_flags(t *testing.T) {
	for flags := 2; flags < 256; flags++ {
		b := []byte{0x20, 2, byte(flags), 0}
		_, _, err := packets.Parse(b)
		requireFault(t, err, packets.CONNACK, 2, "", b)
	}
}

// Section 2.2.3, without an id: a Remaining Length has at most four bytes.
func TestDuty_2_2_3_four_bytes(t *testing.T) {
	refusesToRead(t, "", "Remaining Length of five bytes", "Remaining Length of four bytes that go on")
	_, _, err := packets.Parse([]byte{0x30, 0x80, 0x80, 0x80, 0x01})
	require.Equal(t, packets.ErrShort, err, "2,097,152, the smallest of four bytes")
}
