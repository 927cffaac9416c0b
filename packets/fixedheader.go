package packets

const (
	// MaxRemainingLength is the largest possible Remaining Length (section 2.2.3).
	MaxRemainingLength = 268_435_455

	maxLengthBytes = 4
	maxHeader      = 1 + maxLengthBytes
)

// header is a fixed header (section 2.2).
type header struct {
	typ       Type
	flags     byte // the low four bits of the first byte
	overlong  bool // Remaining Length has more bytes than necessary
	length    int  // bytes of the header itself
	remaining int  // Remaining Length
}

func (h *header) size() int { return h.length + h.remaining }

// shapes defines the valid fixed headers by packet type: the flags of table 2.2, with the statement
// that requires them, and the range of the Remaining Length. The flags of PUBLISH are checked
// elsewhere.
var shapes = [16]struct {
	flags       byte
	spec        string
	least, most int
}{
	CONNECT:     {0, "MQTT-2.2.2-2", 0, 10 + 5*(2+maxField)},
	CONNACK:     {0, "MQTT-2.2.2-2", 2, 2},
	PUBLISH:     {0, "", 0, MaxRemainingLength},
	PUBACK:      {0, "MQTT-2.2.2-2", 2, 2},
	PUBREC:      {0, "MQTT-2.2.2-2", 2, 2},
	PUBREL:      {2, "MQTT-3.6.1-1", 2, 2},
	PUBCOMP:     {0, "MQTT-2.2.2-2", 2, 2},
	SUBSCRIBE:   {2, "MQTT-3.8.1-1", 2, MaxRemainingLength},
	SUBACK:      {0, "MQTT-2.2.2-2", 3, MaxRemainingLength},
	UNSUBSCRIBE: {2, "MQTT-3.10.1-1", 2, MaxRemainingLength},
	UNSUBACK:    {0, "MQTT-2.2.2-2", 2, 2},
	PINGREQ:     {0, "MQTT-2.2.2-2", 0, 0},
	PINGRESP:    {0, "MQTT-2.2.2-2", 0, 0},
	DISCONNECT:  {0, "MQTT-3.14.1-1", 0, 0},
}

// parse decodes a fixed header and checks it.
func (h *header) parse(b []byte, tolerate Tolerances) error {
	if len(b) == 0 {
		return ErrShort
	}
	h.typ, h.flags = Type(b[0]>>4), b[0]&0x0F
	s := &shapes[h.typ]
	switch {
	case h.typ == PUBLISH:
		if err := checkPublishFlags(h.flags); err != nil {
			return err
		}
	case h.typ == 0 || h.typ == 15:
		return &FormatError{Type: h.typ, Offset: 0, Spec: "", Reason: "reserved packet type (table 2.1)"}
	case h.flags != s.flags:
		return &FormatError{Type: h.typ, Offset: 0, Spec: s.spec, Reason: "reserved flags are wrong (table 2.2)"}
	}
	// The Remaining Length has seven bits per byte, least significant first, and at most four
	// bytes.
	remaining := 0
	for i := 1; ; i++ {
		if i >= len(b) {
			return ErrShort
		}
		remaining |= int(b[i]&0x7F) << (7 * (i - 1))
		if b[i] < 0x80 {
			h.length, h.remaining = i+1, remaining
			h.overlong = i > 1 && b[i] == 0
			break
		}
		if i == maxLengthBytes {
			return &FormatError{Type: h.typ, Offset: i, Spec: "", Reason: "remaining length has more than four bytes (section 2.2.3)"}
		}
	}
	switch {
	case h.overlong && tolerate&TolerateOverlongLength == 0:
		return &FormatError{Type: h.typ, Offset: h.length - 1, Spec: "", Reason: "remaining length takes more bytes than it needs (section 2.2.3)"}
	case remaining < s.least:
		return &FormatError{Type: h.typ, Offset: 1, Spec: "", Reason: "remaining length is too small for the packet"}
	case remaining > s.most:
		return &FormatError{Type: h.typ, Offset: 1, Spec: "", Reason: "remaining length is too large for the packet"}
	}
	return nil
}

// appendHeader appends a fixed header with the shortest Remaining Length.
func appendHeader(b []byte, t Type, flags byte, remaining int) []byte {
	b = append(b, byte(t)<<4|flags) // [MQTT-2.2.2-1]
	for remaining >= 0x80 {
		b = append(b, byte(remaining)|0x80)
		remaining >>= 7
	}
	return append(b, byte(remaining))
}

// sizeOf returns the length of a packet with the Remaining Length.
func sizeOf(remaining int64) int {
	n := 2 + remaining
	for remaining >= 0x80 {
		remaining >>= 7
		n++
	}
	return int(n)
}

// checkRemaining refuses a packet that is longer than the protocol allows. remaining is an int64,
// because the sum of the fields may overflow a 32-bit int.
func checkRemaining(t Type, field string, remaining int64) error {
	if remaining > MaxRemainingLength {
		return &EncodeError{t, field, "", "makes the packet longer than 268,435,455 bytes (section 2.2.3)"}
	}
	return nil
}
