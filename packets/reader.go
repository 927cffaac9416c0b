package packets

import "io"

const defaultMax = 16 << 20

// ReaderOptions configure a Reader.
type ReaderOptions struct {
	// Max is the size of the largest packet that is read, in bytes including the fixed header. If
	// zero or negative, 16 MiB. The protocol allows 268,435,455 bytes after the fixed header.
	Max int

	// StreamAbove makes the payload of larger PUBLISH packets be streamed: ReadPacket returns such
	// a packet without its payload, which is then read from [Reader.Payload]. The size is in bytes
	// and includes the fixed header. If zero or negative, no payload is streamed.
	StreamAbove int

	// MaxStream is the size of the largest PUBLISH that is streamed, counted like Max. If zero or
	// negative, it is Max.
	MaxStream int

	// PassMalformed makes ReadPacket return a PUBLISH with a malformed Topic Name instead of an
	// error, since the packets after it can still be read: see [Reader.Malformed].
	PassMalformed bool

	// Tolerate is the set of rules that are not enforced.
	Tolerate Tolerances
}

// A Reader reads packets of Clients or Servers from a byte stream, with buffering. It allocates
// memory for bytes that have arrived, not for the length that a header claims. It is not safe for
// concurrent use. To learn of bytes before a packet is complete, wrap the io.Reader.
type Reader struct {
	in      buffer
	opts    ReaderOptions
	dec     decoder
	used    Tolerated
	names   names
	payload Payload
	publish Publish // reused for every PUBLISH
	small   small   // reused, too
	list    Packet  // the last of the other packets, which have lists
	err     error   // a final error: the start of the next packet is unknown
}

// NewReader returns a Reader that reads from src.
func NewReader(src io.Reader, opts ReaderOptions) *Reader {
	if opts.Max <= 0 {
		opts.Max = defaultMax
	}
	r := &Reader{in: buffer{src: src}, opts: opts}
	r.payload.in = &r.in
	r.dec.tolerate, r.dec.used, r.dec.names = opts.Tolerate, &r.used, &r.names
	return r
}

// Buffered returns the number of bytes that were read from the stream and not yet returned as
// packets.
func (r *Reader) Buffered() int { return r.in.w - r.in.r }

// Tolerated returns how many packets were accepted only because of a tolerance.
func (r *Reader) Tolerated() Tolerated { return r.used }

// Malformed returns what is wrong with the packet that was returned last, or nil if it is valid.
// The receiver must not accept an invalid packet. Its Topic is as received, or empty if it would be
// longer than the packet, and its PacketID is 0 if it cannot be read. Malformed always returns nil
// without [ReaderOptions.PassMalformed].
func (r *Reader) Malformed() *FormatError {
	if r.err != nil {
		return nil
	}
	return r.dec.err
}

// Size returns the size in bytes of the packet that was returned last, including its fixed header
// and its payload, even if that is streamed.
func (r *Reader) Size() int { return r.dec.size() }

// ReadPacket returns the next packet. The packet and its slices, but not its strings, are
// overwritten by the next call. If the stream ends between packets the error is io.EOF, and within
// a packet io.ErrUnexpectedEOF. After any other error of the stream, such as a timeout, the next
// call continues where this one stopped. A [*FormatError] or [*TooLargeError] is final, since the
// start of the next packet is unknown.
func (r *Reader) ReadPacket() (Packet, error) {
	if r.payload.open && r.err == nil {
		if err := r.payload.skip(); err != nil {
			return nil, err
		}
	}
	for {
		p, need, err := r.next(true)
		if p != nil || err != nil {
			return p, err
		}
		r.forget()
		if err := r.in.fill(need); err != nil {
			return nil, err
		}
	}
}

// ReadBuffered is like ReadPacket, but never reads from the stream and so never blocks. It returns
// nil if the buffer does not hold a whole packet, or if the payload is to be streamed.
func (r *Reader) ReadBuffered() (Packet, error) {
	if r.payload.open {
		return nil, r.err
	}
	p, _, err := r.next(false)
	return p, err
}

// next returns the packet at the front of the buffer, or its size if it is not complete. A packet
// whose payload is to be streamed is returned only if streams is set.
func (r *Reader) next(streams bool) (p Packet, need int, err error) {
	if r.err != nil {
		return nil, 0, r.err
	}
	h := &r.dec.header
	held := r.in.buf[r.in.r:r.in.w]
	switch err := h.parse(held, r.opts.Tolerate); err {
	case nil:
	case ErrShort:
		return nil, maxHeader, nil
	default:
		return nil, 0, r.fail(err)
	}
	need = h.size()
	most, stream := r.opts.Max, h.typ == PUBLISH && r.opts.StreamAbove > 0 && need > r.opts.StreamAbove
	if stream && r.opts.MaxStream > 0 {
		most = r.opts.MaxStream
	}
	if need > most {
		return nil, 0, r.fail(tooLarge(h, held, most))
	}
	if stream && !streams {
		return nil, 0, nil
	}
	if stream {
		need = payloadStart(h, held)
	}
	if len(held) < need {
		return nil, need, nil
	}
	p, err = r.take(held[:need])
	return p, need, err
}

// forget drops references of earlier packets to the buffer, which may be about to be replaced, and
// to a list, which may be long.
func (r *Reader) forget() {
	r.publish.Payload = nil
	r.list = nil
}

// small has one packet of each type that is small enough to be always allocated.
type small struct {
	connack  Connack
	puback   Puback
	pubrec   Pubrec
	pubrel   Pubrel
	pubcomp  Pubcomp
	unsuback Unsuback
}

// packet returns the packet that is reused for a type other than PUBLISH.
func (r *Reader) packet(t Type) Packet {
	switch t {
	case CONNACK:
		return &r.small.connack
	case PUBACK:
		return &r.small.puback
	case PUBREC:
		return &r.small.pubrec
	case PUBREL:
		return &r.small.pubrel
	case PUBCOMP:
		return &r.small.pubcomp
	case UNSUBACK:
		return &r.small.unsuback
	case CONNECT, SUBSCRIBE, SUBACK, UNSUBSCRIBE:
		if r.list == nil || r.list.Type() != t {
			r.list = newPacket(t)
		}
		return r.list
	}
	return newPacket(t) // an empty struct, which takes no memory
}

func (r *Reader) fail(err error) error {
	r.err = err
	return err
}

// take decodes the packet b from the front of the buffer. If b is incomplete, the rest is payload
// to be streamed.
func (r *Reader) take(b []byte) (Packet, error) {
	r.in.r += len(b)
	d := &r.dec
	if d.overlong {
		r.used.OverlongLength++
	}
	d.start(b)
	if d.typ == PUBLISH {
		r.publish.decode(d)
		if d.err != nil {
			if !r.opts.PassMalformed || !r.publish.salvage(d) {
				return nil, r.fail(d.err)
			}
		}
		if rest := d.size() - len(b); rest > 0 {
			r.publish.Payload = nil
			r.payload.left, r.payload.open = rest, true
		}
		return &r.publish, nil
	}
	p := r.packet(d.typ)
	p.decode(d)
	if err := d.end(); err != nil {
		return nil, r.fail(err)
	}
	return p, nil
}
