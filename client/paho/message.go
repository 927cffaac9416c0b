package paho

import "github.com/mqtt311/mqtt311/client"

// A Message is one that was received. It stays valid after the handler has returned, and its payload
// belongs to the program.
type Message interface {
	Duplicate() bool
	Qos() byte
	Retained() bool
	Topic() string
	MessageID() uint16
	Payload() []byte

	// Ack acknowledges the message. Acknowledgements leave in the order of arrival. Only with
	// SetAutoAckDisabled is it needed; calling it again, or after the connection that the message
	// came on has ended, does nothing: then the Server sends the message again.
	Ack()
}

type message struct{ d *client.Delivery }

func (m message) Duplicate() bool   { return m.d.Dup }
func (m message) Qos() byte         { return byte(m.d.QoS) }
func (m message) Retained() bool    { return m.d.Retain }
func (m message) Topic() string     { return m.d.Topic }
func (m message) MessageID() uint16 { return m.d.PacketID }
func (m message) Payload() []byte   { return m.d.Payload }

func (m message) Ack() {
	if err := m.d.Ack(); err != nil {
		logf(DEBUG, ROU, "not acknowledged: %v", err)
	}
}
