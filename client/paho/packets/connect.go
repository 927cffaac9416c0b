package packets

import (
	"errors"
	"io"

	mqtt "github.com/mqtt311/mqtt311/packets"
)

// A ConnectPacket is CONNECT.
type ConnectPacket struct {
	FixedHeader
	ProtocolName    string
	ProtocolVersion byte
	CleanSession    bool
	WillFlag        bool
	WillQos         byte
	WillRetain      bool
	UsernameFlag    bool
	PasswordFlag    bool
	ReservedBit     byte
	Keepalive       uint16

	ClientIdentifier string
	WillTopic        string
	WillMessage      []byte
	Username         string
	Password         []byte
}

func (c *ConnectPacket) packet() *mqtt.Connect {
	p := &mqtt.Connect{
		ClientID: c.ClientIdentifier, CleanSession: c.CleanSession, KeepAlive: c.Keepalive,
		HasUserName: c.UsernameFlag, HasPassword: c.PasswordFlag,
	}
	if c.UsernameFlag {
		p.UserName = c.Username
	}
	if c.PasswordFlag {
		p.Password = c.Password
	}
	if c.WillFlag {
		p.Will = &mqtt.Will{Topic: c.WillTopic, Payload: c.WillMessage, QoS: mqtt.QoS(c.WillQos), Retain: c.WillRetain}
	}
	return p
}

// Write implements ControlPacket. It writes only MQTT 3.1.1.
func (c *ConnectPacket) Write(w io.Writer) error {
	if c.ProtocolName != "MQTT" || c.ProtocolVersion != 4 || c.ReservedBit != 0 {
		return errors.New(`paho: packets: CONNECT is sent with protocol name "MQTT" and version 4 only`)
	}
	return write(w, &c.FixedHeader, c.packet())
}

// Unpack implements ControlPacket.
func (c *ConnectPacket) Unpack(b io.Reader) error {
	p, err := parse[*mqtt.Connect](b, c.FixedHeader)
	if err != nil {
		return err
	}
	*c = ConnectPacket{
		FixedHeader: c.FixedHeader, ProtocolName: "MQTT", ProtocolVersion: 4,
		CleanSession: p.CleanSession, Keepalive: p.KeepAlive, ClientIdentifier: p.ClientID,
		UsernameFlag: p.HasUserName, Username: p.UserName, PasswordFlag: p.HasPassword, Password: p.Password,
	}
	if w := p.Will; w != nil {
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillQos, c.WillRetain = true, w.Topic, w.Payload, byte(w.QoS), w.Retain
	}
	return nil
}

// String implements ControlPacket.
func (c *ConnectPacket) String() string { return c.packet().String() }

// Details implements ControlPacket.
func (c *ConnectPacket) Details() Details { return Details{} }

// Validate returns the return code with which a Server refuses the packet, or Accepted if it is
// valid.
func (c *ConnectPacket) Validate() byte {
	version, known := map[string]byte{"MQTT": 4, "MQIsdp": 3}[c.ProtocolName]
	tooLong := max(len(c.ClientIdentifier), len(c.Username), len(c.Password)) > 65535
	switch {
	case c.PasswordFlag && !c.UsernameFlag: // [MQTT-3.1.2-22]
		return ErrRefusedBadUsernameOrPassword
	case c.ReservedBit != 0: // [MQTT-3.1.2-3]
		return ErrProtocolViolation
	case known && c.ProtocolVersion != version: // [MQTT-3.1.2-2]
		return ErrRefusedBadProtocolVersion
	case !known, tooLong:
		return ErrProtocolViolation
	case c.ClientIdentifier == "" && !c.CleanSession: // [MQTT-3.1.3-8]
		return ErrRefusedIDRejected
	}
	return Accepted
}

// A ConnackPacket is CONNACK.
type ConnackPacket struct {
	FixedHeader
	SessionPresent bool
	ReturnCode     byte
}

func (ca *ConnackPacket) packet() *mqtt.Connack {
	return &mqtt.Connack{SessionPresent: ca.SessionPresent, Code: mqtt.ConnectCode(ca.ReturnCode)}
}

// Write implements ControlPacket.
func (ca *ConnackPacket) Write(w io.Writer) error { return write(w, &ca.FixedHeader, ca.packet()) }

// Unpack implements ControlPacket.
func (ca *ConnackPacket) Unpack(b io.Reader) error {
	p, err := parse[*mqtt.Connack](b, ca.FixedHeader)
	if err != nil {
		return err
	}
	ca.SessionPresent, ca.ReturnCode = p.SessionPresent, byte(p.Code)
	return nil
}

// String implements ControlPacket.
func (ca *ConnackPacket) String() string { return ca.packet().String() }

// Details implements ControlPacket.
func (ca *ConnackPacket) Details() Details { return Details{} }
