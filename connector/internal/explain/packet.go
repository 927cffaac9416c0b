package explain

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/packets"
)

// A Packet is a decoded Control Packet.
type Packet struct {
	Offset   int64        // of its first byte in the stream
	Type     packets.Type // according to its first byte
	Size     int64        // as claimed, including the fixed header; the number of bytes present if the claim is unreadable
	Held     int          // how many of its bytes were available
	Missing  int64        // how many bytes of it were not captured
	Summary  string       // the packet in one line, without payload, passwords and user names; "" if it cannot be read
	Fields   []Field
	Findings []Finding

	header header
	value  packets.Packet // nil if it is unreadable; a PUBLISH may lack its payload
}

// A Field is a field of a packet.
type Field struct {
	Offset int // of its first byte in the packet
	Length int // in bytes
	Name   Text
	Value  Text
	Bytes  []byte // its first bytes, at most 16; nil if it is secret
}

// A Finding is a fault of, or a remark about, a packet or a connection.
type Finding struct {
	Fault  bool // MQTT 3.1.1 forbids it
	Offset int  // of the byte in question in the packet; -1 if it is not about a byte
	Spec   string
	Text
}

// String returns the finding in one line, in English.
func (f Finding) String() string { return f.Line("en") }

// Line returns the finding in one line, in "en" or "zh".
func (f Finding) Line(lang string) string {
	s := f.In(lang)
	if f.Offset >= 0 {
		s = fmt.Sprintf(Text{"byte %d: ", "第 %d 字节："}.In(lang), f.Offset) + s
	}
	if f.Spec != "" {
		s += " [" + f.Spec + "]"
	}
	return s
}

// Faults returns how many of the findings are faults.
func (p *Packet) Faults() (n int) {
	for _, f := range p.Findings {
		if f.Fault {
			n++
		}
	}
	return n
}

func (p *Packet) fault(offset int, spec, en, zh string) {
	p.Findings = append(p.Findings, Finding{true, offset, spec, Text{en, zh}})
}

func (p *Packet) note(offset int, spec, en, zh string) {
	p.Findings = append(p.Findings, Finding{false, offset, spec, Text{en, zh}})
}

// Options say how packets are shown.
type Options struct {
	// Secrets shows user names and passwords, which are left out otherwise.
	Secrets bool
}

// Take decodes the packet at the start of b and returns how many bytes it has, never more than
// len(b). A truncated packet has the fields that are there.
func Take(b []byte, o Options) (Packet, int) {
	h := parseHeader(b)
	whole := int64(len(b))
	if h.readable && h.size() < whole {
		whole = h.size()
	}
	return take(b[:whole], h, o), int(whole)
}

// take decodes a packet with the fixed header h, of which b was captured.
func take(b []byte, h header, o Options) Packet {
	p := Packet{Type: packets.Type(0), Size: int64(len(b)), Held: len(b), header: h}
	if len(b) > 0 {
		p.Type = packets.Type(b[0] >> 4)
	}
	if h.readable {
		p.Size = h.size()
	}
	if len(b) > 0 {
		w := walker{b: b, o: o}
		w.packet(h)
		p.Fields = w.fields
	}
	p.judge(b, h)
	return p
}

// judge finds the faults of a packet, of which b was captured, with package packets.
func (p *Packet) judge(b []byte, h header) {
	value, _, err := packets.Parse(b)
	if errors.Is(err, packets.ErrShort) && h.readable && p.Type == packets.PUBLISH {
		value, err = parseHead(b, h)
	}
	var broken *packets.FormatError
	switch {
	case errors.As(err, &broken):
		p.fault(broken.Offset, broken.Spec, broken.Reason, chinese.Of(broken.Reason))
		return
	case err != nil: // incomplete, but correct as far as it goes
		return
	}
	p.value = packets.Clone(value)
	p.Summary = summary(value, h.remains)
	p.remarks()
}

// parseHead parses a PUBLISH, of which b was captured, without its payload. It decodes a copy that
// has no payload, with a Remaining Length of the same number of bytes.
func parseHead(b []byte, h header) (packets.Packet, error) {
	n := h.length + 2
	if len(b) < n {
		return nil, packets.ErrShort
	}
	n += int(b[h.length])<<8 | int(b[h.length+1])
	if b[0]>>1&3 != 0 {
		n += 2
	}
	if int64(n) > h.size() {
		n = int(h.size()) // the fields exceed the packet, which the codec reports
	}
	if len(b) < n {
		return nil, packets.ErrShort
	}
	head := bytes.Clone(b[:1])
	remaining := n - h.length
	for ; remaining >= 0x80; remaining >>= 7 {
		head = append(head, byte(remaining)|0x80)
	}
	head = append(head, byte(remaining))
	moved := h.length - len(head)
	value, _, err := packets.Parse(append(head, b[h.length:n]...))
	var broken *packets.FormatError
	if errors.As(err, &broken) {
		broken.Offset += moved
	}
	return value, err
}

// mostSummary is the maximum length of Summary, in bytes: a SUBSCRIBE may have thousands of filters.
const mostSummary = 400

// summary returns the packet in one line, as formatted by package packets, with the size of the payload
// on the wire.
func summary(value packets.Packet, remaining int64) string {
	s := value.String()
	if p, ok := value.(*packets.Publish); ok {
		s = strings.TrimSuffix(s, strconv.Itoa(len(p.Payload))) + strconv.FormatInt(payloadSize(p, remaining), 10)
	}
	if len(s) > mostSummary {
		s = strings.ToValidUTF8(s[:mostSummary], "") + "…"
	}
	return s
}

// payloadSize returns the size of the payload of a PUBLISH with that Remaining Length.
func payloadSize(p *packets.Publish, remaining int64) int64 {
	n := remaining - int64(2+len(p.Topic))
	if p.QoS > packets.AtMostOnce {
		n -= 2
	}
	return n
}

// A header is a fixed header, section 2.2, as far as it can be read.
type header struct {
	readable bool // the Remaining Length is complete, in at most four bytes
	length   int  // bytes of the header
	remains  int64
}

func (h header) size() int64 { return int64(h.length) + h.remains }

// parseHeader parses a fixed header, which may be illegal.
func parseHeader(b []byte) (h header) {
	for i := 1; i < len(b) && i <= 4; i++ {
		h.remains |= int64(b[i]&0x7F) << (7 * (i - 1))
		h.length = i + 1
		if b[i] < 0x80 {
			h.readable = true
			return h
		}
	}
	return h
}

// hopeless reports whether no further byte can make the beginning b of a packet readable or show where
// the next packet starts.
func hopeless(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	h := parseHeader(b)
	return b[0]>>4 == 0 || b[0]>>4 == 15 || !h.readable && len(b) >= 5
}
