package packets

import "strconv"

// Unsubscribe gives filters up, section 3.10.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string // one at the least [MQTT-3.10.3-2]
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
	for i, f := range p.Filters {
		if err := checkFilter(UNSUBSCRIBE, "Filters["+strconv.Itoa(i)+"]", f, "MQTT-3.10.3-1"); err != nil {
			return err
		}
	}
	return checkRemaining(UNSUBSCRIBE, "Filters", p.remaining())
}

func (p *Unsubscribe) remaining() int {
	n := 2
	for _, f := range p.Filters {
		n += 2 + len(f)
	}
	return n
}

// AppendBinary appends the packet; see [Packet].
func (p *Unsubscribe) AppendBinary(b []byte) ([]byte, error) {
	if err := p.Check(); err != nil {
		return b, err
	}
	b = appendHeader(b, UNSUBSCRIBE, 2, p.remaining())
	b = appendUint16(b, p.PacketID)
	for _, f := range p.Filters {
		b = appendText(b, f)
	}
	return b, nil
}

func (p *Unsubscribe) decode(d *decoder) {
	p.PacketID = d.packetID()
	p.Filters = p.Filters[:0]
	if d.err == nil && d.left() == 0 {
		d.fail(d.i, "MQTT-3.10.3-2", "has no topic filter")
	}
	for d.left() > 0 {
		p.Filters = append(p.Filters, d.filter("MQTT-3.10.3-1"))
	}
}

// String returns the packet in one line.
func (p *Unsubscribe) String() string {
	s := "UNSUBSCRIBE id=" + strconv.Itoa(int(p.PacketID))
	for _, f := range p.Filters {
		s += " " + strconv.Quote(f)
	}
	return s
}
