package vectors

import (
	"strings"
	"unicode/utf8"
)

// A Verdict says whether bytes are a valid packet.
type Verdict int

// The verdicts.
const (
	Whole  Verdict = iota // a valid packet, perhaps followed by more bytes
	Short                 // the beginning of a valid packet
	Broken                // invalid, whatever bytes follow
)

// A Judgement is the result of [Judge].
type Judgement struct {
	Verdict
	Length int    // of the packet in bytes, if it is Whole
	Offset int    // of the first invalid byte, if it is Broken
	Spec   string // the conformance statement that is violated, or "" if it has no id
}

// Judge reads one packet from left to right and stops at the first fault. It is deliberately slow
// and simple, and shares no code with package packets. It checks the fixed header before the rest
// of the packet is there, as far as that is possible.
func Judge(b []byte) (j Judgement) {
	defer func() {
		if r := recover(); r != nil {
			j = r.(Judgement) // any other value is a bug in Judge
		}
	}()
	r := reading{b: b}
	r.packet()
	return Judgement{Verdict: Whole, Length: r.at}
}

// reading is a position in the bytes of a packet. Its methods panic with a Judgement at the first
// fault.
type reading struct {
	b  []byte
	at int
}

func (r *reading) broken(offset int, spec string) {
	panic(Judgement{Verdict: Broken, Offset: offset, Spec: spec})
}

func (r *reading) require(ok bool, offset int, spec string) {
	if !ok {
		r.broken(offset, spec)
	}
}

func (r *reading) packet() {
	first := r.headerByte()
	kind, flags := int(first>>4), int(first&15)
	r.require(kind != 0 && kind != 15, 0, "")
	switch kind {
	case 3:
		r.require(flags>>1&3 != 3, 0, "MQTT-3.3.1-4")
		r.require(flags>>1&3 != 0 || flags>>3 == 0, 0, "MQTT-3.3.1-2")
	case 6:
		r.require(flags == 2, 0, "MQTT-3.6.1-1")
	case 8:
		r.require(flags == 2, 0, "MQTT-3.8.1-1")
	case 10:
		r.require(flags == 2, 0, "MQTT-3.10.1-1")
	case 14:
		r.require(flags == 0, 0, "MQTT-3.14.1-1")
	default:
		r.require(flags == 0, 0, "MQTT-2.2.2-2")
	}
	length := r.remainingLength()
	switch kind {
	case 1:
		r.require(length <= 10+5*65537, 1, "")
	case 2, 4, 5, 6, 7, 11:
		r.require(length == 2, 1, "")
	case 8, 10:
		r.require(length >= 2, 1, "")
	case 9:
		r.require(length >= 3, 1, "")
	case 12, 13, 14:
		r.require(length == 0, 1, "")
	}
	if len(r.b)-r.at < length {
		panic(Judgement{Verdict: Short})
	}
	r.b = r.b[:r.at+length]
	switch kind {
	case 1:
		r.connect()
	case 2:
		r.require(r.byte("") <= 1, r.at-1, "")
		r.byte("")
	case 3:
		r.name("MQTT-3.3.2-1", "MQTT-3.3.2-1")
		if flags>>1&3 != 0 {
			r.id()
		}
		r.at = len(r.b)
	case 4, 5, 6, 7, 11:
		r.id()
	case 8:
		r.id()
		r.require(r.more(), r.at, "MQTT-3.8.3-3")
		for r.more() {
			r.filter("MQTT-3.8.3-1")
			r.require(r.byte("MQTT-3.8.3-4") <= 2, r.at-1, "MQTT-3.8.3-4")
		}
	case 9:
		r.id()
		for r.more() {
			c := r.byte("")
			r.require(c <= 2 || c == 0x80, r.at-1, "MQTT-3.9.3-2")
		}
	case 10:
		r.id()
		r.require(r.more(), r.at, "MQTT-3.10.3-2")
		for r.more() {
			r.filter("MQTT-3.10.3-1")
		}
	}
}

func (r *reading) connect() {
	at := r.at
	r.require(r.text("MQTT-3.1.2-1", "MQTT-3.1.2-1") == "MQTT", at, "MQTT-3.1.2-1")
	r.require(r.byte("MQTT-3.1.2-2") == 4, r.at-1, "MQTT-3.1.2-2")
	flags := r.byte("")
	at = r.at - 1
	user, password, retain := flags&0x80 != 0, flags&0x40 != 0, flags&0x20 != 0
	qos, will, clean := flags>>3&3, flags&4 != 0, flags&2 != 0
	r.require(flags&1 == 0, at, "MQTT-3.1.2-3")
	r.require(will || qos == 0, at, "MQTT-3.1.2-13")
	r.require(will || !retain, at, "MQTT-3.1.2-15")
	r.require(qos != 3, at, "MQTT-3.1.2-14")
	r.require(user || !password, at, "MQTT-3.1.2-22")
	r.two("")
	at = r.at
	r.require(r.text("MQTT-3.1.3-3", "MQTT-3.1.3-4") != "" || clean, at, "MQTT-3.1.3-7")
	if will {
		r.name("MQTT-3.1.2-9", "MQTT-3.1.3-10")
		r.field("MQTT-3.1.2-9")
	}
	if user {
		r.text("MQTT-3.1.2-19", "MQTT-3.1.3-11")
	}
	if password {
		r.field("MQTT-3.1.2-21")
	}
	r.require(!r.more(), r.at, "MQTT-3.1.3-1")
}

func (r *reading) more() bool { return r.at < len(r.b) }

func (r *reading) headerByte() byte {
	if !r.more() {
		panic(Judgement{Verdict: Short})
	}
	r.at++
	return r.b[r.at-1]
}

// remainingLength follows the algorithm that section 2.2.3 prints.
func (r *reading) remainingLength() int {
	multiplier, value := 1, 0
	for {
		encoded := r.headerByte()
		value += int(encoded&127) * multiplier
		if encoded&128 == 0 {
			r.require(multiplier == 1 || encoded != 0, r.at-1, "")
			return value
		}
		r.require(multiplier < 128*128*128, r.at-1, "")
		multiplier *= 128
	}
}

func (r *reading) byte(spec string) byte {
	r.require(len(r.b)-r.at >= 1, len(r.b), spec)
	r.at++
	return r.b[r.at-1]
}

func (r *reading) two(spec string) int {
	r.require(len(r.b)-r.at >= 2, len(r.b), spec)
	r.at += 2
	return int(r.b[r.at-2])*256 + int(r.b[r.at-1])
}

func (r *reading) id() { r.require(r.two("MQTT-2.3.1-1") != 0, r.at-2, "MQTT-2.3.1-1") }

func (r *reading) field(spec string) string {
	n := r.two(spec)
	r.require(len(r.b)-r.at >= n, r.at-2, spec)
	r.at += n
	return string(r.b[r.at-n : r.at])
}

func (r *reading) text(present, text string) string {
	s := r.field(present)
	for i, c := range s {
		at := r.at - len(s) + i
		r.require(c != 0, at, "MQTT-1.5.3-2")
		r.require(c != utf8.RuneError || strings.HasPrefix(s[i:], "\uFFFD"), at, text)
	}
	return s
}

func (r *reading) name(present, text string) {
	s := r.text(present, text)
	r.require(s != "", r.at, "MQTT-4.7.3-1")
	if i := strings.IndexAny(s, "+#"); i >= 0 {
		r.broken(r.at-len(s)+i, "MQTT-3.3.2-2")
	}
}

func (r *reading) filter(spec string) {
	s := r.text(spec, spec)
	r.require(s != "", r.at, "MQTT-4.7.3-1")
	at := r.at - len(s)
	levels := strings.Split(s, "/")
	for i, level := range levels {
		if k := strings.IndexAny(level, "+#"); k >= 0 && level != "+" && (level != "#" || i < len(levels)-1) {
			if level[k] == '#' {
				r.broken(at+k, "MQTT-4.7.1-2")
			}
			r.broken(at+k, "MQTT-4.7.1-3")
		}
		at += len(level) + 1
	}
}
