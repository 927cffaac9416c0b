package paho

import "github.com/mqtt311/mqtt311/client"

// A Message is a received message. It stays valid after the handler has returned, and the handler
// may keep and modify its payload.
type Message interface {
	Duplicate() bool
	Qos() byte
	Retained() bool
	Topic() string
	MessageID() uint16
	Payload() []byte

	// Ack acknowledges the message. It is needed only with SetAutoAckDisabled. Acknowledgements are
	// sent in the order in which the messages arrived. Further calls do nothing, nor does Ack after
	// the connection on which the message arrived has ended: the Server then sends the message
	// again.
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
