package packets

import (
	"slices"
	"strconv"
)

// Unsubscribe cancels subscriptions (section 3.10).
type Unsubscribe struct {
	PacketID uint16
	Filters  []string // at least one [MQTT-3.10.3-2]
}

// Type returns UNSUBSCRIBE.
func (p *Unsubscribe) Type() Type { return UNSUBSCRIBE }

// Check returns nil if the packet may be sent, else an [*EncodeError].
func (p *Unsubscribe) Check() error {
	if err := checkID(UNSUBSCRIBE, p.PacketID); err != nil {
		return err
	}
	if len(p.Filters) == 0 {
		return &EncodeError{UNSUBSCRIBE, "Filters", "MQTT-3.10.3-2", "is empty"}
	}
	if err := checkRemaining(UNSUBSCRIBE, "Filters", p.remaining()); err != nil {
		return err
	}
	for i, f := range p.Filters {
		if err := checkFilter(UNSUBSCRIBE, "Filter", f, "MQTT-3.10.3-1"); err != nil {
			return inList(err, "Filters", i, "")
		}
	}
	return nil
}

func (p *Unsubscribe) remaining() int64 {
	n := int64(2)
	for _, f := range p.Filters {
		n += 2 + int64(len(f))
	}
	return n
}

// Size returns the length of the packet in bytes, fixed header included.
func (p *Unsubscribe) Size() int { return sizeOf(p.remaining()) }

// AppendBinary appends the packet; see [Packet].
func (p *Unsubscribe) AppendBinary(b []byte) ([]byte, error) {
	if err := p.Check(); err != nil {
		return b, err
	}
	b = appendHeader(b, UNSUBSCRIBE, 2, int(p.remaining()))
	b = appendUint16(b, p.PacketID)
	for _, f := range p.Filters {
		b = appendText(b, f)
	}
	return b, nil
}

func (p *Unsubscribe) decode(d *decoder) {
	p.PacketID = d.packetID()
	p.Filters = p.Filters[:0]
	if d.left() == 0 {
		d.fail(d.i, "MQTT-3.10.3-2", "has no topic filter")
	}
	for d.left() > 0 {
		p.Filters = append(p.Filters, d.filter("MQTT-3.10.3-1"))
	}
}

// Clone returns a copy that shares no memory with p.
func (p *Unsubscribe) Clone() *Unsubscribe { return &Unsubscribe{p.PacketID, slices.Clone(p.Filters)} }

// String returns the packet in one line.
func (p *Unsubscribe) String() string {
	s := "UNSUBSCRIBE id=" + strconv.Itoa(int(p.PacketID))
	for _, f := range p.Filters {
		s += " " + strconv.Quote(f)
	}
	return s
}
