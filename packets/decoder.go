package packets

// A decoder reads the fields of a packet. It keeps the first fault; after that every field is
// empty.
type decoder struct {
	header
	b        []byte // the whole packet
	i        int    // where the next field starts
	tolerate Tolerances
	used     *Tolerated // counts, if not nil
	names    *names     // Topic Names seen before, if not nil
	err      *FormatError
}

// start prepares d for the fields of packet b, whose fixed header was parsed.
func (d *decoder) start(b []byte) { d.b, d.i, d.err = b, d.length, nil }

func (d *decoder) fail(offset int, spec, reason string) {
	if d.err == nil {
		d.err = &FormatError{Type: d.typ, Offset: offset, Spec: spec, Reason: reason}
		d.i = len(d.b)
	}
}

// end returns the first fault. It is an error by itself only if there is one.
func (d *decoder) end() error {
	if d.err == nil {
		return nil
	}
	return d.err
}

func (d *decoder) left() int { return len(d.b) - d.i }

func (d *decoder) byte(what, spec string) byte {
	if d.left() < 1 {
		d.fail(len(d.b), spec, what+" is missing")
		return 0
	}
	d.i++
	return d.b[d.i-1]
}

// uint16 reads a two-byte integer (section 1.5.2).
func (d *decoder) uint16(what, spec string) uint16 {
	if d.left() < 2 {
		d.fail(len(d.b), spec, what+" is missing")
		return 0
	}
	v := uint16(d.b[d.i])<<8 | uint16(d.b[d.i+1])
	d.i += 2
	return v
}

// packetID reads a Packet Identifier (section 2.3.1).
func (d *decoder) packetID() uint16 {
	id := d.uint16("packet identifier", "MQTT-2.3.1-1")
	if id == 0 && d.err == nil {
		d.fail(d.i-2, "MQTT-2.3.1-1", "packet identifier is zero")
	}
	return id
}

// bytes reads a field with a two-byte length prefix. It aliases the packet. spec is the statement
// that requires the field.
func (d *decoder) bytes(what, spec string) []byte {
	n := int(d.uint16(what, spec))
	if d.err == nil && d.left() < n {
		d.fail(d.i-2, spec, what+" is longer than the packet")
	}
	if d.err != nil {
		return nil
	}
	d.i += n
	return d.b[d.i-n : d.i : d.i]
}

// text reads a UTF-8 encoded string (section 1.5.3). present is the statement that requires the
// field, utf8 the one that requires it to be UTF-8.
func (d *decoder) text(what, present, utf8 string) string {
	b := d.bytes(what, present)
	if at, spec, reason := badText(b, utf8); reason != "" {
		d.fail(d.i-len(b)+at, spec, what+" "+reason)
		return ""
	}
	return string(b)
}

// topic reads a Topic Name (section 4.7). One that was seen before is neither checked nor allocated
// again.
func (d *decoder) topic(what, present, utf8 string) string {
	b := d.bytes(what, present)
	if d.err != nil {
		return ""
	}
	if d.names != nil {
		if s, ok := d.names.get(b); ok {
			return s
		}
	}
	if !plainName(b) {
		if at, spec, reason := badName(b, utf8); reason != "" {
			d.fail(d.i-len(b)+at, spec, what+" "+reason)
			d.err.Topic = string(b[:min(len(b), mostTopic)])
			return ""
		}
	}
	s := string(b)
	if d.names != nil {
		d.names.put(s)
	}
	return s
}

// filter reads a Topic Filter (section 4.7).
func (d *decoder) filter(spec string) string {
	b := d.bytes("topic filter", spec)
	if d.err != nil {
		return ""
	}
	if at, spec, reason := badFilter(b, spec); reason != "" {
		d.fail(d.i-len(b)+at, spec, "topic filter "+reason)
		return ""
	}
	return string(b)
}
