package packets

import (
	"slices"
	"strconv"
)

// Publish carries an Application Message (section 3.3).
type Publish struct {
	Dup      bool   // whether it may have been sent before; false at QoS 0 [MQTT-3.3.1-2]
	QoS      QoS    // 0, 1 or 2 [MQTT-3.3.1-4]
	Retain   bool   // section 3.3.1.3
	Topic    string // Topic Name: no wildcards [MQTT-3.3.2-2], 1 to 65,535 bytes
	PacketID uint16 // nonzero when QoS > 0 [MQTT-2.3.1-1], otherwise 0 [MQTT-2.3.1-5]
	Payload  []byte // may be empty
}

const (
	dupBit    = 0x08
	qosBits   = 0x06
	retainBit = 0x01
)

func checkPublishFlags(flags byte) error {
	switch {
	case flags&qosBits == qosBits:
		return &FormatError{Type: PUBLISH, Offset: 0, Spec: "MQTT-3.3.1-4", Reason: "QoS is 3"}
	case flags&dupBit != 0 && flags&qosBits == 0:
		return &FormatError{Type: PUBLISH, Offset: 0, Spec: "MQTT-3.3.1-2", Reason: "DUP is set at QoS 0"}
	}
	return nil
}

// Type returns PUBLISH.
func (p *Publish) Type() Type { return PUBLISH }

// Check returns nil if the packet may be sent, else an [*EncodeError].
func (p *Publish) Check() error { return p.check(len(p.Payload)) }

func (p *Publish) check(payload int) error {
	switch {
	case p.QoS > ExactlyOnce:
		return &EncodeError{PUBLISH, "QoS", "MQTT-3.3.1-4", "is above 2"}
	case p.QoS == AtMostOnce && p.Dup:
		return &EncodeError{PUBLISH, "Dup", "MQTT-3.3.1-2", "is set at QoS 0"}
	case p.QoS == AtMostOnce && p.PacketID != 0:
		return &EncodeError{PUBLISH, "PacketID", "MQTT-2.3.1-5", "is set at QoS 0"}
	case p.QoS != AtMostOnce && p.PacketID == 0:
		return &EncodeError{PUBLISH, "PacketID", "MQTT-2.3.1-1", "is zero"}
	}
	if err := ValidTopicName(p.Topic); err != nil {
		return err
	}
	return checkRemaining(PUBLISH, "Payload", p.remaining(payload))
}

func (p *Publish) remaining(payload int) int64 {
	n := 2 + int64(len(p.Topic)) + int64(payload)
	if p.QoS != AtMostOnce {
		n += 2
	}
	return n
}

// Size returns the length of the encoded packet in bytes, including the fixed header.
func (p *Publish) Size() int { return sizeOf(p.remaining(len(p.Payload))) }

// AppendBinary appends the packet; see [Packet].
func (p *Publish) AppendBinary(b []byte) ([]byte, error) {
	if err := p.Check(); err != nil {
		return b, err
	}
	remaining := p.remaining(len(p.Payload))
	b = slices.Grow(b, sizeOf(remaining))
	return append(p.appendHead(b, int(remaining)), p.Payload...), nil
}

// appendHead appends everything before the payload.
func (p *Publish) appendHead(b []byte, remaining int) []byte {
	flags := byte(p.QoS) << 1
	if p.Dup {
		flags |= dupBit
	}
	if p.Retain {
		flags |= retainBit
	}
	b = appendHeader(b, PUBLISH, flags, remaining)
	b = appendText(b, p.Topic) // [MQTT-3.3.2-1]: the first field
	if p.QoS != AtMostOnce {
		b = appendUint16(b, p.PacketID)
	}
	return b
}

func (p *Publish) decode(d *decoder) {
	p.Dup = d.flags&dupBit != 0
	p.QoS = QoS(d.flags & qosBits >> 1)
	p.Retain = d.flags&retainBit != 0
	p.Topic = d.topic("topic name", "MQTT-3.3.2-1", "MQTT-3.3.2-1")
	p.PacketID = 0
	if p.QoS != AtMostOnce { // [MQTT-2.3.1-5]
		p.PacketID = d.packetID()
	}
	p.Payload = d.b[d.i:len(d.b):len(d.b)]
	d.i = len(d.b)
}

// salvage decodes what can be read of a packet whose Topic Name is malformed. It returns false if
// anything else is wrong.
func (p *Publish) salvage(d *decoder) bool {
	fault := d.err
	d.err, d.i = nil, d.length
	topic := string(d.bytes("topic name", "MQTT-3.3.2-1"))
	if d.err == nil && ValidTopicName(topic) == nil {
		d.err = fault
		return false
	}
	p.Topic, p.PacketID = topic, 0
	if p.QoS != AtMostOnce {
		p.PacketID = d.packetID() // 0 after an error
	}
	p.Payload = d.b[d.i:len(d.b):len(d.b)]
	d.err = fault
	return true
}

// Clone returns a copy that shares no memory with p.
func (p *Publish) Clone() *Publish {
	c := *p
	c.Payload = slices.Clone(p.Payload)
	return &c
}

// String returns the packet in one line, with the size of its payload instead of the payload.
func (p Publish) String() string {
	s := "PUBLISH " + strconv.Quote(p.Topic) + " qos=" + strconv.Itoa(int(p.QoS))
	if p.QoS != AtMostOnce {
		s += " id=" + strconv.Itoa(int(p.PacketID)) + " dup=" + strconv.Itoa(bit(p.Dup))
	}
	if p.Retain {
		s += " retain=1"
	}
	return s + " size=" + strconv.Itoa(len(p.Payload))
}
