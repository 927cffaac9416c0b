package packets

import (
	"strings"
	"unicode/utf8"
)

const maxField = 65535 // bytes of a string or binary field, section 1.5.3

// A decoder takes fields from the front of a packet. The first fault stays, and after
// it every field is empty.
type decoder struct {
	header
	b        []byte // the whole packet
	i        int    // where the next field starts
	tolerate Tolerances
	used     *Tolerated // counts, if not nil
	names    *names     // Topic Names seen before, if not nil
	err      *FormatError
}

func (d *decoder) fail(offset int, spec, reason string) {
	if d.err == nil {
		d.err = &FormatError{d.typ, offset, spec, reason}
		d.i = len(d.b)
	}
}

// packet decodes p and checks that nothing follows it.
func (d *decoder) packet(p Packet) error {
	p.decode(d)
	if d.err == nil && d.i < len(d.b) {
		d.fail(d.i, "", "bytes follow the last field")
	}
	if d.err != nil {
		return d.err
	}
	return nil
}

func (d *decoder) left() int { return len(d.b) - d.i }

func (d *decoder) byte(what string) byte {
	if d.left() < 1 {
		d.fail(len(d.b), "", what+" is missing")
		return 0
	}
	d.i++
	return d.b[d.i-1]
}

// uint16 takes a two byte integer, section 1.5.2.
func (d *decoder) uint16(what string) uint16 {
	if d.left() < 2 {
		d.fail(len(d.b), "", what+" is cut short")
		return 0
	}
	v := uint16(d.b[d.i])<<8 | uint16(d.b[d.i+1])
	d.i += 2
	return v
}

// packetID takes a Packet Identifier, section 2.3.1.
func (d *decoder) packetID() uint16 {
	id := d.uint16("packet identifier")
	if id == 0 && d.err == nil {
		d.fail(d.i-2, "MQTT-2.3.1-1", "packet identifier is zero")
	}
	return id
}

// bytes takes a field with a two byte length before it. It aliases the packet.
func (d *decoder) bytes(what string) []byte {
	n := int(d.uint16("length of " + what))
	if d.err == nil && d.left() < n {
		d.fail(d.i-2, "", what+" is longer than the packet")
	}
	if d.err != nil {
		return nil
	}
	d.i += n
	return d.b[d.i-n : d.i : d.i]
}

// text takes a UTF-8 encoded string, section 1.5.3; spec is the statement that makes
// the field one.
func (d *decoder) text(what, spec string) []byte {
	b := d.bytes(what)
	if at, spec, reason := badText(b, spec); reason != "" {
		d.fail(d.i-len(b)+at, spec, what+" "+reason)
		return nil
	}
	return b
}

func (d *decoder) string(what, spec string) string { return string(d.text(what, spec)) }

// topic takes a Topic Name, section 4.7. One that was seen before is not checked, and
// not allocated, again.
func (d *decoder) topic(what, spec string) string {
	b := d.bytes(what)
	if d.err != nil {
		return ""
	}
	if d.names != nil {
		if s, ok := d.names.get(b); ok {
			return s
		}
	}
	start := d.i - len(b)
	if at, spec, reason := badText(b, spec); reason != "" {
		d.fail(start+at, spec, what+" "+reason)
		return ""
	}
	s := string(b)
	if at, spec, reason := badName(s); reason != "" {
		d.fail(start+at, spec, what+" "+reason)
		return ""
	}
	if d.names != nil {
		d.names.put(s)
	}
	return s
}

// filter takes a Topic Filter, section 4.7.
func (d *decoder) filter(spec string) string {
	s := d.string("topic filter", spec)
	if d.err == nil {
		if at, spec, reason := badFilter(s); reason != "" {
			d.fail(d.i-len(s)+at, spec, "topic filter "+reason)
		}
	}
	return s
}

// badText returns where and why b is no UTF-8 encoded string. The byte order mark is a
// character like any other [MQTT-1.5.3-3].
func badText[T string | []byte](b T, spec string) (at int, statement, reason string) {
	for i := range len(b) {
		if b[i] == 0 {
			return i, "MQTT-1.5.3-2", "holds a NUL character"
		}
		if b[i] >= utf8.RuneSelf {
			return badRunes(string(b), i, spec)
		}
	}
	return 0, "", ""
}

// badRunes goes on where ASCII ends. Surrogates, over-long forms and what is above
// U+10FFFF are ill-formed [MQTT-1.5.3-1].
func badRunes(s string, from int, spec string) (at int, statement, reason string) {
	if spec == "" {
		spec = "MQTT-1.5.3-1"
	}
	nul := strings.IndexByte(s, 0)
	for i := from; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			if nul >= 0 && nul < i {
				break
			}
			return i, spec, "is not well-formed UTF-8"
		}
		i += n
	}
	if nul >= 0 {
		return nul, "MQTT-1.5.3-2", "holds a NUL character"
	}
	return 0, "", ""
}

func checkText(t Type, field, s, spec string) error {
	if len(s) > maxField {
		return &EncodeError{t, field, "", "is longer than 65,535 bytes (section 1.5.3)"}
	}
	if _, spec, reason := badText(s, spec); reason != "" {
		return &EncodeError{t, field, spec, reason}
	}
	return nil
}

func checkBytes(t Type, field string, b []byte) error {
	if len(b) > maxField {
		return &EncodeError{t, field, "", "is longer than 65,535 bytes (section 3.1.3)"}
	}
	return nil
}

func checkID(t Type, id uint16) error {
	if id == 0 {
		return &EncodeError{t, "PacketID", "MQTT-2.3.1-1", "is zero"}
	}
	return nil
}

func appendUint16(b []byte, v uint16) []byte { return append(b, byte(v>>8), byte(v)) }

func appendText[T string | []byte](b []byte, s T) []byte {
	b = appendUint16(b, uint16(len(s)))
	return append(b, s...)
}
