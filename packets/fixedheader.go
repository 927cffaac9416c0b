package packets

const (
	// MaxRemainingLength is the largest Remaining Length, section 2.2.3.
	MaxRemainingLength = 268_435_455

	maxLengthBytes = 4
	maxHeader      = 1 + maxLengthBytes
)

// header is a fixed header, section 2.2.
type header struct {
	typ       Type
	flags     byte // the low four bits of the first byte
	remaining int  // Remaining Length
	length    int  // bytes of the header itself
	overlong  bool // Remaining Length took more bytes than it needs
}

func (h *header) size() int { return h.length + h.remaining }

// parseHeader reads a fixed header and checks all that it tells by itself.
func parseHeader(b []byte, tolerate Tolerances) (h header, err error) {
	if len(b) == 0 {
		return h, ErrShort
	}
	h.typ, h.flags = Type(b[0]>>4), b[0]&0x0F
	if err := checkFlags(h.typ, h.flags); err != nil {
		return h, err
	}
	// The Remaining Length has seven bits a byte, the least significant first, and
	// four bytes at the most.
	for i := 1; ; i++ {
		if i == len(b) {
			return h, ErrShort
		}
		h.remaining |= int(b[i]&0x7F) << (7 * (i - 1))
		if b[i] < 0x80 {
			h.length = i + 1
			h.overlong = i > 1 && b[i] == 0
			break
		}
		if i == maxLengthBytes {
			return h, &FormatError{h.typ, i, "", "remaining length has more than four bytes (section 2.2.3)"}
		}
	}
	if h.overlong && tolerate&TolerateOverlongLength == 0 {
		return h, &FormatError{h.typ, h.length - 1, "", "remaining length takes more bytes than it needs (section 2.2.3)"}
	}
	return h, checkLength(&h)
}

// checkFlags compares the low four bits of the first byte with table 2.2
// [MQTT-2.2.2-2].
func checkFlags(t Type, flags byte) error {
	want, spec := byte(0), "MQTT-2.2.2-2"
	switch t {
	case 0, 15:
		return &FormatError{t, 0, "", "reserved packet type (table 2.1)"}
	case PUBLISH:
		return checkPublishFlags(flags)
	case PUBREL:
		want, spec = 2, "MQTT-3.6.1-1"
	case SUBSCRIBE:
		want, spec = 2, "MQTT-3.8.1-1"
	case UNSUBSCRIBE:
		want, spec = 2, "MQTT-3.10.1-1"
	case DISCONNECT:
		spec = "MQTT-3.14.1-1"
	}
	if flags != want {
		return &FormatError{t, 0, spec, "reserved flags are wrong"}
	}
	return nil
}

// checkLength refuses a Remaining Length that no packet of the type has.
func checkLength(h *header) error {
	least, most := 0, MaxRemainingLength
	switch h.typ {
	case CONNECT:
		least, most = 12, 10+5*(2+65535)
	case CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK:
		least, most = 2, 2
	case PUBLISH:
		least = 3
		if h.flags&qosBits != 0 {
			least = 5
		}
	case SUBSCRIBE:
		least = 2
	case SUBACK:
		least = 3
	case UNSUBSCRIBE:
		least = 2
	case PINGREQ, PINGRESP, DISCONNECT:
		most = 0
	}
	switch {
	case h.remaining < least:
		return &FormatError{h.typ, 1, "", "remaining length is too small for the packet"}
	case h.remaining > most && h.typ == CONNECT:
		return &TooLargeError{h.typ, h.size(), most + h.length}
	case h.remaining > most:
		return &FormatError{h.typ, 1, "", "remaining length is too large for the packet"}
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

func headerLength(remaining int) int {
	n := 2
	for remaining >= 0x80 {
		remaining >>= 7
		n++
	}
	return n
}

// checkRemaining refuses a packet that is longer than the protocol can express.
func checkRemaining(t Type, field string, remaining int) error {
	if remaining > MaxRemainingLength {
		return &EncodeError{t, field, "", "packet is above 268,435,455 bytes (section 2.2.3)"}
	}
	return nil
}
