package packets

import "io"

// StreamTo writes the packet to w, with a payload of size bytes read from payload, using constant
// memory. p.Payload must be empty. It returns the number of bytes written. If p may not be sent,
// the error is an [*EncodeError] and nothing was written. After any other error an incomplete
// packet was written, and w is unusable. If payload ends early the error is io.ErrUnexpectedEOF; no
// more than size bytes are read from it.
func (p *Publish) StreamTo(w io.Writer, payload io.Reader, size int) (int64, error) {
	switch {
	case len(p.Payload) > 0:
		return 0, &EncodeError{PUBLISH, "Payload", "", "is set beside a payload that is streamed"}
	case size < 0:
		return 0, &EncodeError{PUBLISH, "Payload", "", "has a negative size"}
	}
	if err := p.check(size); err != nil {
		return 0, err
	}
	head := make([]byte, 0, maxHeader+4+len(p.Topic))
	n, err := w.Write(p.appendHead(head, int(p.remaining(size))))
	if err != nil {
		return int64(n), err
	}
	copied, err := io.CopyN(w, payload, int64(size))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return int64(n) + copied, err
}

// A Payload reads a payload that is streamed: see [ReaderOptions.StreamAbove].
type Payload struct {
	in   *buffer
	left int
	open bool // the last packet returned is streamed
}

// Payload returns the payload of the packet that ReadPacket returned last, if it is streamed, and
// nil otherwise. It is valid until the next call of ReadPacket, which skips the rest of the
// payload.
func (r *Reader) Payload() *Payload {
	if !r.payload.open {
		return nil
	}
	return &r.payload
}

// Len returns the number of bytes of the payload that have not been read yet.
func (p *Payload) Len() int { return p.left }

// Read reads from the payload. At its end the error is io.EOF; if the stream ends before that, it
// is io.ErrUnexpectedEOF.
func (p *Payload) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if len(b) > p.left {
		b = b[:p.left]
	}
	n, err := p.in.readThrough(b)
	p.left -= n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// skip skips the rest of the payload of the last packet.
func (p *Payload) skip() error {
	for p.left > 0 {
		if p.in.r == p.in.w {
			if err := p.in.fill(firstBuffer); err == io.EOF {
				return io.ErrUnexpectedEOF
			} else if err != nil {
				return err
			}
		}
		n := min(p.left, p.in.w-p.in.r)
		p.in.r += n
		p.left -= n
	}
	p.open = false
	return nil
}

// tooLarge returns the error for a packet with the fixed header h, whose first bytes are held.
func tooLarge(h *header, held []byte, most int) error {
	e := &TooLargeError{Type: h.typ, Size: h.size(), Max: most}
	if h.typ != PUBLISH {
		return e
	}
	e.QoS = QoS(h.flags & qosBits >> 1)
	if topic := held[h.length:]; len(topic) > 2 {
		n := int(topic[0])<<8 | int(topic[1])
		e.Topic = string(topic[2:min(len(topic), 2+n, 2+mostTopic)])
	}
	return e
}

// payloadStart returns the offset of the payload in the PUBLISH with the fixed header h, whose
// first bytes are held. If there are too few bytes, it returns how many are needed. A packet whose
// fields exceed its length has no payload.
func payloadStart(h *header, held []byte) int {
	n := h.length + 2
	if h.flags&qosBits != 0 {
		n += 2
	}
	if len(held) >= h.length+2 {
		n += int(held[h.length])<<8 | int(held[h.length+1])
	}
	return min(n, h.size())
}
