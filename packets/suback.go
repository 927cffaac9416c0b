package packets

import (
	"slices"
	"strconv"
)

// Suback answers SUBSCRIBE with one return code per filter, in the order of the filters (section
// 3.9).
type Suback struct {
	PacketID uint16
	Codes    []SubscribeCode
}

// SubscribeCode is a SUBACK return code: the granted QoS or [SubscribeFailure]
// [MQTT-3.9.3-2].
type SubscribeCode byte

// SubscribeFailure refuses a filter. A Reader with [TolerateSubackCodes] also accepts codes above
// it, which are refusals as well.
const SubscribeFailure SubscribeCode = 0x80

// String returns the granted QoS, such as "at least once", or "failure".
func (c SubscribeCode) String() string {
	switch {
	case c <= SubscribeCode(ExactlyOnce):
		return "granted " + QoS(c).String()
	case c >= SubscribeFailure:
		return "failure 0x" + strconv.FormatUint(uint64(c), 16)
	}
	return "reserved code 0x" + strconv.FormatUint(uint64(c), 16)
}

// Type returns SUBACK.
func (p *Suback) Type() Type { return SUBACK }

// Check returns nil if the packet may be sent, else an [*EncodeError].
func (p *Suback) Check() error {
	if err := checkID(SUBACK, p.PacketID); err != nil {
		return err
	}
	if len(p.Codes) == 0 {
		return &EncodeError{SUBACK, "Codes", "MQTT-3.8.4-5", "is empty"}
	}
	if err := checkRemaining(SUBACK, "Codes", 2+int64(len(p.Codes))); err != nil {
		return err
	}
	for i, c := range p.Codes {
		if c > SubscribeCode(ExactlyOnce) && c != SubscribeFailure {
			return &EncodeError{SUBACK, "Codes[" + strconv.Itoa(i) + "]", "MQTT-3.9.3-2", "is reserved"}
		}
	}
	return nil
}

// AppendBinary appends the packet; see [Packet].
func (p *Suback) AppendBinary(b []byte) ([]byte, error) {
	if err := p.Check(); err != nil {
		return b, err
	}
	b = appendHeader(b, SUBACK, 0, 2+len(p.Codes))
	b = appendUint16(b, p.PacketID)
	for _, c := range p.Codes {
		b = append(b, byte(c))
	}
	return b, nil
}

func (p *Suback) decode(d *decoder) {
	p.PacketID = d.packetID()
	p.Codes = slices.Grow(p.Codes[:0], d.left())
	for d.left() > 0 {
		c := SubscribeCode(d.byte("return code", ""))
		if c > SubscribeCode(ExactlyOnce) && c != SubscribeFailure {
			if c < SubscribeFailure || !d.tolerated(TolerateSubackCodes) {
				d.fail(d.i-1, "MQTT-3.9.3-2", "return code "+strconv.Itoa(int(c))+" is reserved")
			}
		}
		p.Codes = append(p.Codes, c)
	}
}

// Clone returns a copy that shares no memory with p.
func (p *Suback) Clone() *Suback { return &Suback{p.PacketID, slices.Clone(p.Codes)} }

// String returns the packet in one line.
func (p *Suback) String() string {
	s := "SUBACK id=" + strconv.Itoa(int(p.PacketID)) + " codes="
	for i, c := range p.Codes {
		if i > 0 {
			s += ","
		}
		s += strconv.Itoa(int(c))
	}
	return s
}
