package explain

import (
	"fmt"

	"github.com/mqtt311/mqtt311/packets"
)

// Limits for the part of a packet that is held: for a PUBLISH, its fields and the beginning of its payload, which
// are enough to check it.
const (
	mostHeld    = 1 << 20
	mostPublish = 5 + 2 + 65535 + 2 + 256
)

// A budget limits what all connections of a capture hold together, in bytes. A nil budget has no limit.
type budget struct{ left int }

// take takes n bytes from the budget, or as many as are left.
func (b *budget) take(n int) int {
	if b == nil {
		return n
	}
	n = min(n, b.left)
	b.left -= n
	return n
}

func (b *budget) give(n int) {
	if b != nil {
		b.left += n
	}
}

// A Stream divides the bytes of one direction of a connection into packets. Its memory is bounded,
// however large a packet claims to be.
type Stream struct {
	o       Options
	emit    func(Packet)
	budget  *budget
	held    []byte
	charged int  // bytes taken from the budget
	poor    bool // the budget does not allow holding more of the packet
	header  header
	at      int64 // of the first held byte in the stream
	more    int64 // bytes of the packet that are still to come and will not be held
	gone    int64 // bytes of the packet that were not captured
	lost    bool  // the start of the next packet is unknown
	broken  int64 // bytes after a packet that leaves the rest without a known meaning; -1: there was none
}

// NewStream returns a Stream that calls emit with each packet.
func NewStream(o Options, emit func(Packet)) *Stream { return &Stream{o: o, emit: emit, broken: -1} }

// Lose tells the stream that the next bytes may be anywhere in a packet, as when a capture starts within a
// connection.
func (s *Stream) Lose() { s.lost = true }

// Lost reports whether the stream is searching for the start of a packet.
func (s *Stream) Lost() bool { return s.lost }

// Write adds bytes of the stream. If the start of a packet is not known, Write looks for it at the
// beginning of b, so bytes that arrived together should be written together. It never fails.
func (s *Stream) Write(b []byte) (int, error) {
	n := len(b)
	if s.lost {
		if !StartsPacket(b) {
			s.at += int64(n)
			return n, nil
		}
		s.lost = false
	}
	for len(b) > 0 {
		b = s.take(b)
	}
	return n, nil
}

// take processes a part of b and returns the rest.
func (s *Stream) take(b []byte) []byte {
	switch {
	case s.broken >= 0:
		s.broken += int64(len(b))
		return nil
	case s.more > 0:
		n := min(s.more, int64(len(b)))
		if s.more -= n; s.more == 0 {
			s.end()
		}
		return b[n:]
	case !s.header.readable:
		s.held = append(s.held, b[0])
		if hopeless(s.held) {
			s.give()
			s.broken = 0
			return b[1:]
		}
		s.header = parseHeader(s.held)
		if s.header.readable {
			s.begin()
		}
		return b[1:]
	}
	n := min(s.wanted()-len(s.held), len(b))
	can := s.budget.take(n)
	s.held, s.poor, s.charged = append(s.held, b[:can]...), can < n, s.charged+can
	s.ready()
	return b[can:]
}

// wanted returns how many bytes of the packet are to be held.
func (s *Stream) wanted() int {
	most := int64(mostHeld)
	if s.poor {
		return len(s.held)
	}
	if packets.Type(s.held[0]>>4) == packets.PUBLISH {
		most = mostPublish
	}
	return int(min(s.header.size(), most))
}

// begin processes a complete fixed header.
func (s *Stream) begin() {
	// With a large length that is wrong, the end of the packet is unknown.
	if _, _, err := packets.Parse(s.held); err != nil && err != packets.ErrShort && s.header.size() > 4096 {
		s.give()
		s.broken = 0
		return
	}
	s.ready()
}

// ready checks whether all bytes that are to be held have arrived.
func (s *Stream) ready() {
	if len(s.held) == s.wanted() {
		if s.more = s.header.size() - int64(len(s.held)); s.more == 0 {
			s.end()
		}
	}
}

// end ends a packet whose bytes have all arrived, or are known to be missing.
func (s *Stream) end() {
	size := s.header.size()
	s.give()
	s.at += size
	s.forget()
}

// forget discards the held packet.
func (s *Stream) forget() {
	s.budget.give(s.charged)
	if s.held = s.held[:0]; cap(s.held) > 4096 {
		s.held = nil
	}
	s.header, s.more, s.gone, s.poor, s.charged = header{}, 0, 0, false, 0
}

// give emits the held packet.
func (s *Stream) give() {
	p := take(s.held, s.header, s.o)
	p.Offset, p.Missing = s.at, s.gone
	if s.gone > 0 {
		p.note(-1, "", fmt.Sprintf("%d of its bytes were not captured", s.gone), fmt.Sprintf("其中 %d 字节未被捕获", s.gone))
	}
	if s.header.readable && p.value == nil && p.Faults() == 0 && int64(len(s.held)) < p.Size {
		p.note(-1, "", fmt.Sprintf("it is too large to be taken apart: its first %d bytes are shown", len(s.held)),
			fmt.Sprintf("报文过大，仅解析前 %d 字节", len(s.held)))
	}
	s.emit(p)
}

// Gap tells the stream that n bytes were not captured. A packet whose length is known continues after
// them; otherwise the stream searches for the start of one.
func (s *Stream) Gap(n int64) {
	switch {
	case s.broken >= 0 || n <= 0:
	case s.more >= n:
		s.gone += n
		if s.more -= n; s.more == 0 {
			s.end()
		}
	case s.header.readable && s.more == 0 && s.header.size()-int64(len(s.held)) >= n && s.known():
		s.more, s.gone = s.header.size()-int64(len(s.held))-n, s.gone+n
		if s.more == 0 {
			s.end()
		}
	default:
		if s.more > 0 || len(s.held) > 0 {
			s.cut()
		}
		s.at += s.come() + n
		s.forget()
		s.lost = true
	}
}

// come returns how many bytes of the packet have passed, including those that were not captured.
func (s *Stream) come() int64 {
	if s.more > 0 {
		return s.header.size() - s.more
	}
	return int64(len(s.held))
}

// known reports whether the fields of a partly held PUBLISH are complete, so that only payload is missing.
func (s *Stream) known() bool {
	if packets.Type(s.held[0]>>4) != packets.PUBLISH {
		return false
	}
	_, err := parseHead(s.held, s.header)
	return err == nil
}

// cut emits a packet that will never be complete.
func (s *Stream) cut() {
	there := s.come() - s.gone
	p := take(s.held, s.header, s.o)
	p.Offset = s.at
	if p.Faults() == 0 {
		if s.header.readable {
			p.fault(-1, "", fmt.Sprintf("it is cut short: %d of its %d bytes are there", there, p.Size), fmt.Sprintf("报文不完整：共 %d 字节，实有 %d 字节", p.Size, there))
		} else {
			p.fault(-1, "", fmt.Sprintf("it is cut short: %d bytes are there, and its length is not", there), fmt.Sprintf("报文不完整：实有 %d 字节，长度字段未结束", there))
		}
	}
	s.emit(p)
}

// Close ends the stream, and emits an incomplete packet as such.
func (s *Stream) Close() {
	if s.broken < 0 && len(s.held) > 0 {
		s.cut()
	}
	s.forget()
}

// Unread returns how many bytes follow a packet that left them without a known meaning.
func (s *Stream) Unread() int64 { return max(s.broken, 0) }

// StartsPacket reports whether b is one or more complete legal packets, possibly followed by the beginning
// of another: bytes of other protocols hardly ever are.
func StartsPacket(b []byte) bool {
	whole := 0
	for len(b) > 0 {
		_, n, err := packets.Parse(b)
		if err == packets.ErrShort && len(b) >= 2 {
			// A PUBLISH counts once its Topic Name is complete.
			h := parseHeader(b)
			if h.readable && packets.Type(b[0]>>4) == packets.PUBLISH {
				if _, err := parseHead(b, h); err == nil {
					return true
				}
			}
			return whole > 0
		}
		if err != nil {
			return false
		}
		whole++
		b = b[n:]
	}
	return whole > 0
}
