package packets

import (
	"slices"
	"strconv"
)

// Subscribe requests messages whose Topic Names match Topic Filters (section 3.8).
type Subscribe struct {
	PacketID      uint16
	Subscriptions []Subscription // at least one [MQTT-3.8.3-3]
}

// Subscription is a Topic Filter and the maximum QoS requested for it.
type Subscription struct {
	Filter string
	QoS    QoS
}

// Type returns SUBSCRIBE.
func (p *Subscribe) Type() Type { return SUBSCRIBE }

// Check returns nil if the packet may be sent, else an [*EncodeError].
func (p *Subscribe) Check() error {
	if err := checkID(SUBSCRIBE, p.PacketID); err != nil {
		return err
	}
	if len(p.Subscriptions) == 0 {
		return &EncodeError{SUBSCRIBE, "Subscriptions", "MQTT-3.8.3-3", "is empty"}
	}
	// Check the length first: that is cheap even for absurdly many filters.
	if err := checkRemaining(SUBSCRIBE, "Subscriptions", p.remaining()); err != nil {
		return err
	}
	for i := range p.Subscriptions {
		s := &p.Subscriptions[i]
		if err := checkFilter(SUBSCRIBE, "Filter", s.Filter, "MQTT-3.8.3-1"); err != nil {
			return inList(err, "Subscriptions", i, ".Filter")
		}
		if s.QoS > ExactlyOnce {
			return inList(&EncodeError{SUBSCRIBE, "QoS", "MQTT-3.8.3-4", "is above 2"}, "Subscriptions", i, ".QoS")
		}
	}
	return nil
}

// inList gives the field of an EncodeError its place in a list.
func inList(err error, list string, i int, field string) error {
	err.(*EncodeError).Field = list + "[" + strconv.Itoa(i) + "]" + field
	return err
}

func (p *Subscribe) remaining() int64 {
	n := int64(2)
	for i := range p.Subscriptions {
		n += 3 + int64(len(p.Subscriptions[i].Filter))
	}
	return n
}

// Size returns the length of the packet in bytes, fixed header included.
func (p *Subscribe) Size() int { return sizeOf(p.remaining()) }

// AppendBinary appends the packet; see [Packet].
func (p *Subscribe) AppendBinary(b []byte) ([]byte, error) {
	if err := p.Check(); err != nil {
		return b, err
	}
	b = appendHeader(b, SUBSCRIBE, 2, int(p.remaining()))
	b = appendUint16(b, p.PacketID)
	for i := range p.Subscriptions {
		b = appendText(b, p.Subscriptions[i].Filter)
		b = append(b, byte(p.Subscriptions[i].QoS))
	}
	return b, nil
}

func (p *Subscribe) decode(d *decoder) {
	p.PacketID = d.packetID()
	p.Subscriptions = p.Subscriptions[:0]
	if d.left() == 0 {
		d.fail(d.i, "MQTT-3.8.3-3", "has no topic filter")
	}
	for d.left() > 0 {
		s := Subscription{Filter: d.filter("MQTT-3.8.3-1")}
		s.QoS = QoS(d.byte("requested QoS", "MQTT-3.8.3-4"))
		if s.QoS > ExactlyOnce {
			d.fail(d.i-1, "MQTT-3.8.3-4", "requested QoS is not 0, 1 or 2")
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
}

// Clone returns a copy that shares no memory with p.
func (p *Subscribe) Clone() *Subscribe { return &Subscribe{p.PacketID, slices.Clone(p.Subscriptions)} }

// String returns the packet in one line.
func (p *Subscribe) String() string {
	s := "SUBSCRIBE id=" + strconv.Itoa(int(p.PacketID))
	for _, sub := range p.Subscriptions {
		s += " " + strconv.Quote(sub.Filter) + ":" + strconv.Itoa(int(sub.QoS))
	}
	return s
}
