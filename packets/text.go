package packets

import "unicode/utf8"

const maxField = 65535 // bytes of a string or binary field, section 1.5.3

// badText returns where and why s is not a valid UTF-8 encoded string (section 1.5.3). spec is the
// statement that requires the field to be one. U+FEFF is a character like any other [MQTT-1.5.3-3].
func badText[T string | []byte](s T, spec string) (at int, statement, reason string) {
	for i := range len(s) {
		if s[i] == 0 {
			return i, "MQTT-1.5.3-2", "holds a NUL character"
		}
		if s[i] >= utf8.RuneSelf {
			return badRunes(string(s), i, spec)
		}
	}
	return 0, "", ""
}

// badRunes continues badText at the first character that is not ASCII. Surrogates, overlong forms
// and code points above U+10FFFF are ill-formed [MQTT-1.5.3-1].
func badRunes(s string, from int, spec string) (at int, statement, reason string) {
	for i := from; i < len(s); {
		if s[i] == 0 {
			return i, "MQTT-1.5.3-2", "holds a NUL character"
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i, spec, "is not well-formed UTF-8 [MQTT-1.5.3-1]"
		}
		i += n
	}
	return 0, "", ""
}

// Discouraged returns the byte index of the first character in s that a string should not contain
// according to section 1.5.3, or -1 if there is none. These are the control characters U+0001 to
// U+001F and U+007F to U+009F and the 66 noncharacters. They are valid, so this package reads and
// writes them, but a Server may close the Network Connection when it receives one.
func Discouraged(s string) int {
	for i, r := range s {
		switch {
		case r < 0x20, r >= 0x7F && r <= 0x9F, r >= 0xFDD0 && r <= 0xFDEF, r&0xFFFE == 0xFFFE:
			return i
		}
	}
	return -1
}

func checkText(t Type, field, s, spec string) error {
	if len(s) > maxField {
		return &EncodeError{t, field, "MQTT-1.5.3-1", "is longer than 65,535 bytes"}
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
