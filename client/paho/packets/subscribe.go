package packets

import (
	"errors"
	"io"

	mqtt "github.com/mqtt311/mqtt311/packets"
)

// A SubscribePacket is SUBSCRIBE: Topics and Qoss have the same length.
type SubscribePacket struct {
	FixedHeader
	MessageID uint16
	Topics    []string
	Qoss      []byte
}

func (s *SubscribePacket) packet() *mqtt.Subscribe {
	p := &mqtt.Subscribe{PacketID: s.MessageID}
	for i, topic := range s.Topics {
		if i == len(s.Qoss) {
			break
		}
		p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: topic, QoS: mqtt.QoS(s.Qoss[i])})
	}
	return p
}

// Write implements ControlPacket.
func (s *SubscribePacket) Write(w io.Writer) error {
	if len(s.Topics) != len(s.Qoss) {
		return errors.New("paho: packets: SUBSCRIBE has not a QoS for each topic")
	}
	return write(w, &s.FixedHeader, s.packet())
}

// Unpack implements ControlPacket.
func (s *SubscribePacket) Unpack(b io.Reader) error {
	p, err := parse[*mqtt.Subscribe](b, s.FixedHeader)
	if err != nil {
		return err
	}
	s.MessageID, s.Topics, s.Qoss = p.PacketID, nil, nil
	for _, sub := range p.Subscriptions {
		s.Topics = append(s.Topics, sub.Filter)
		s.Qoss = append(s.Qoss, byte(sub.QoS))
	}
	return nil
}

// String implements ControlPacket.
func (s *SubscribePacket) String() string { return s.packet().String() }

// Details implements ControlPacket.
func (s *SubscribePacket) Details() Details { return Details{Qos: 1, MessageID: s.MessageID} }

// A SubackPacket is SUBACK.
type SubackPacket struct {
	FixedHeader
	MessageID   uint16
	ReturnCodes []byte
}

func (sa *SubackPacket) packet() *mqtt.Suback {
	p := &mqtt.Suback{PacketID: sa.MessageID}
	for _, code := range sa.ReturnCodes {
		p.Codes = append(p.Codes, mqtt.SubscribeCode(code))
	}
	return p
}

// Write implements ControlPacket.
func (sa *SubackPacket) Write(w io.Writer) error { return write(w, &sa.FixedHeader, sa.packet()) }

// Unpack implements ControlPacket.
func (sa *SubackPacket) Unpack(b io.Reader) error {
	p, err := parse[*mqtt.Suback](b, sa.FixedHeader)
	if err != nil {
		return err
	}
	sa.MessageID, sa.ReturnCodes = p.PacketID, nil
	for _, code := range p.Codes {
		sa.ReturnCodes = append(sa.ReturnCodes, byte(code))
	}
	return nil
}

// String implements ControlPacket.
func (sa *SubackPacket) String() string { return sa.packet().String() }

// Details implements ControlPacket.
func (sa *SubackPacket) Details() Details { return Details{MessageID: sa.MessageID} }

// An UnsubscribePacket is UNSUBSCRIBE.
type UnsubscribePacket struct {
	FixedHeader
	MessageID uint16
	Topics    []string
}

func (u *UnsubscribePacket) packet() *mqtt.Unsubscribe {
	return &mqtt.Unsubscribe{PacketID: u.MessageID, Filters: u.Topics}
}

// Write implements ControlPacket.
func (u *UnsubscribePacket) Write(w io.Writer) error { return write(w, &u.FixedHeader, u.packet()) }

// Unpack implements ControlPacket.
func (u *UnsubscribePacket) Unpack(b io.Reader) error {
	p, err := parse[*mqtt.Unsubscribe](b, u.FixedHeader)
	if err != nil {
		return err
	}
	u.MessageID, u.Topics = p.PacketID, p.Filters
	return nil
}

// String implements ControlPacket.
func (u *UnsubscribePacket) String() string { return u.packet().String() }

// Details implements ControlPacket.
func (u *UnsubscribePacket) Details() Details { return Details{Qos: 1, MessageID: u.MessageID} }
