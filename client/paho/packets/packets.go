// Package packets implements the API of github.com/eclipse/paho.mqtt.golang/packets v1.5.1 with the
// codec of this module, because functions of package paho use its types. It is for programs that
// were written for paho.mqtt.golang; new ones should use github.com/mqtt311/mqtt311/packets.
package packets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	mqtt "github.com/mqtt311/mqtt311/packets"
)

// The Control Packet types (table 2.1).
const (
	Connect     = 1
	Connack     = 2
	Publish     = 3
	Puback      = 4
	Pubrec      = 5
	Pubrel      = 6
	Pubcomp     = 7
	Subscribe   = 8
	Suback      = 9
	Unsubscribe = 10
	Unsuback    = 11
	Pingreq     = 12
	Pingresp    = 13
	Disconnect  = 14
)

// The return codes of CONNACK (section 3.2.2.3), and two that this package adds.
const (
	Accepted                        = 0x00
	ErrRefusedBadProtocolVersion    = 0x01
	ErrRefusedIDRejected            = 0x02
	ErrRefusedServerUnavailable     = 0x03
	ErrRefusedBadUsernameOrPassword = 0x04
	ErrRefusedNotAuthorised         = 0x05
	ErrNetworkError                 = 0xFE
	ErrProtocolViolation            = 0xFF
)

// The errors for the return codes.
var (
	ErrorRefusedBadProtocolVersion    = errors.New("unacceptable protocol version")
	ErrorRefusedIDRejected            = errors.New("identifier rejected")
	ErrorRefusedServerUnavailable     = errors.New("server Unavailable")
	ErrorRefusedBadUsernameOrPassword = errors.New("bad user name or password")
	ErrorRefusedNotAuthorised         = errors.New("not Authorized")
	ErrorNetworkError                 = errors.New("network Error")
	ErrorProtocolViolation            = errors.New("protocol Violation")
)

// ConnErrors maps each return code to its error.
var ConnErrors = map[byte]error{
	Accepted:                        nil,
	ErrRefusedBadProtocolVersion:    ErrorRefusedBadProtocolVersion,
	ErrRefusedIDRejected:            ErrorRefusedIDRejected,
	ErrRefusedServerUnavailable:     ErrorRefusedServerUnavailable,
	ErrRefusedBadUsernameOrPassword: ErrorRefusedBadUsernameOrPassword,
	ErrRefusedNotAuthorised:         ErrorRefusedNotAuthorised,
	ErrNetworkError:                 ErrorNetworkError,
	ErrProtocolViolation:            ErrorProtocolViolation,
}

// ConnackReturnCodes maps each return code to a description.
var ConnackReturnCodes = map[uint8]string{
	Accepted:                        "Connection Accepted",
	ErrRefusedBadProtocolVersion:    "Connection Refused: Bad Protocol Version",
	ErrRefusedIDRejected:            "Connection Refused: Client Identifier Rejected",
	ErrRefusedServerUnavailable:     "Connection Refused: Server Unavailable",
	ErrRefusedBadUsernameOrPassword: "Connection Refused: Username or Password in unknown format",
	ErrRefusedNotAuthorised:         "Connection Refused: Not Authorised",
	ErrNetworkError:                 "Connection Error",
	ErrProtocolViolation:            "Connection Refused: Protocol Violation",
}

// PacketNames maps each packet type to its name.
var PacketNames = func() map[uint8]string {
	names := make(map[uint8]string)
	for t := mqtt.CONNECT; t <= mqtt.DISCONNECT; t++ {
		names[uint8(t)] = t.String()
	}
	return names
}()

// A ControlPacket is a packet. The fourteen packet types of this package implement it.
type ControlPacket interface {
	// Write writes the packet. It returns an error if the specification does not allow it to be
	// sent.
	Write(io.Writer) error

	// Unpack reads the part after the fixed header, which must already be set.
	Unpack(io.Reader) error

	// String returns the packet in one line, without payload, user name and password.
	String() string

	// Details returns the QoS and the Packet Identifier, each 0 if the packet has none.
	Details() Details
}

// Details are the QoS and Packet Identifier of a ControlPacket.
type Details struct {
	Qos       byte
	MessageID uint16
}

// A FixedHeader is the fixed header of a packet (section 2.2). RemainingLength is used only for
// reading.
type FixedHeader struct {
	MessageType     byte
	Dup             bool
	Qos             byte
	Retain          bool
	RemainingLength int
}

// String returns the fields in one line.
func (fh FixedHeader) String() string {
	return fmt.Sprintf("%s: dup: %t qos: %d retain: %t rLength: %d", PacketNames[fh.MessageType], fh.Dup, fh.Qos, fh.Retain, fh.RemainingLength)
}

// NewControlPacket returns an empty packet of the type, or nil if the type is invalid.
func NewControlPacket(packetType byte) ControlPacket {
	fh := FixedHeader{MessageType: packetType}
	if packetType == Pubrel || packetType == Subscribe || packetType == Unsubscribe {
		fh.Qos = 1 // the flags of these three, 0010 [MQTT-2.2.2-1]
	}
	p, err := NewControlPacketWithHeader(fh)
	if err != nil {
		return nil
	}
	return p
}

// NewControlPacketWithHeader returns an empty packet with the fixed header fh.
func NewControlPacketWithHeader(fh FixedHeader) (ControlPacket, error) {
	switch fh.MessageType {
	case Connect:
		return &ConnectPacket{FixedHeader: fh}, nil
	case Connack:
		return &ConnackPacket{FixedHeader: fh}, nil
	case Publish:
		return &PublishPacket{FixedHeader: fh}, nil
	case Puback:
		return &PubackPacket{FixedHeader: fh}, nil
	case Pubrec:
		return &PubrecPacket{FixedHeader: fh}, nil
	case Pubrel:
		return &PubrelPacket{FixedHeader: fh}, nil
	case Pubcomp:
		return &PubcompPacket{FixedHeader: fh}, nil
	case Subscribe:
		return &SubscribePacket{FixedHeader: fh}, nil
	case Suback:
		return &SubackPacket{FixedHeader: fh}, nil
	case Unsubscribe:
		return &UnsubscribePacket{FixedHeader: fh}, nil
	case Unsuback:
		return &UnsubackPacket{FixedHeader: fh}, nil
	case Pingreq:
		return &PingreqPacket{FixedHeader: fh}, nil
	case Pingresp:
		return &PingrespPacket{FixedHeader: fh}, nil
	case Disconnect:
		return &DisconnectPacket{FixedHeader: fh}, nil
	}
	return nil, fmt.Errorf("paho: packets: no packet has the type %d", fh.MessageType)
}

// ReadPacket reads one packet and nothing after it.
func ReadPacket(r io.Reader) (ControlPacket, error) {
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return nil, err
	}
	fh := FixedHeader{
		MessageType: first[0] >> 4,
		Dup:         first[0]&8 != 0,
		Qos:         first[0] >> 1 & 3,
		Retain:      first[0]&1 != 0,
	}
	var err error
	if fh.RemainingLength, err = readLength(r); err != nil {
		return nil, err
	}
	p, err := NewControlPacketWithHeader(fh)
	if err != nil {
		return nil, err
	}
	return p, p.Unpack(r)
}

// readLength reads a Remaining Length (section 2.2.3).
func readLength(r io.Reader) (n int, err error) {
	var b [1]byte
	for shift := 0; shift < 28; shift += 7 {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, err
		}
		n |= int(b[0]&0x7f) << shift
		if b[0]&0x80 == 0 {
			return n, nil
		}
	}
	return 0, errors.New("paho: packets: the Remaining Length has more than four bytes")
}

// parse reads the part of a packet of type P after the fixed header. It allocates memory for bytes
// that arrive, not for the claimed length.
func parse[P mqtt.Packet](r io.Reader, fh FixedHeader) (p P, err error) {
	if fh.RemainingLength < 0 || fh.RemainingLength > mqtt.MaxRemainingLength {
		return p, fmt.Errorf("paho: packets: a Remaining Length of %d", fh.RemainingLength)
	}
	flags := fh.Qos << 1
	if fh.Dup {
		flags |= 8
	}
	if fh.Retain {
		flags |= 1
	}
	head := binary.AppendUvarint([]byte{fh.MessageType<<4 | flags}, uint64(fh.RemainingLength))
	body, err := io.ReadAll(io.LimitReader(r, int64(fh.RemainingLength)))
	if err != nil {
		return p, err
	}
	if len(body) < fh.RemainingLength {
		return p, io.ErrUnexpectedEOF
	}
	read, _, err := mqtt.Parse(append(head, body...))
	if err != nil {
		return p, err
	}
	p, ok := read.(P)
	if !ok {
		return p, fmt.Errorf("paho: packets: the fixed header is that of %s", read.Type())
	}
	return p, nil
}

// write writes a packet and sets its length in fh.
func write(w io.Writer, fh *FixedHeader, p mqtt.Packet) error {
	b, err := p.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, size := binary.Uvarint(b[1:])
	fh.RemainingLength = len(b) - 1 - size
	_, err = w.Write(b)
	return err
}
