package packets

import "io"

const defaultMax = 16 << 20

// ReaderOptions are the limits of a Reader.
type ReaderOptions struct {
	// Max is the largest packet in bytes, fixed header included. If zero or negative,
	// 16 MiB. The protocol's own limit is 268,435,455 bytes after the header.
	Max int

	// StreamAbove lets a PUBLISH that is larger, in bytes with its fixed header, be
	// returned as soon as its payload begins: Payload is nil, and [Reader.Payload]
	// reads it. If zero or negative, every PUBLISH is returned whole.
	StreamAbove int

	// MaxStream is the largest PUBLISH whose payload is streamed, like Max. If zero or negative,
	// Max.
	MaxStream int

	// PassMalformed lets a PUBLISH with a malformed Topic Name be returned, because the packet behind it
	// can be read all the same: see [Reader.Malformed].
	PassMalformed bool

	// Tolerate loosens single rules.
	Tolerate Tolerances
}

// A Reader reads packets of either direction from a byte stream. It reads ahead. Its
// memory grows with the bytes that arrive, not with the length that a header claims.
// Only one goroutine at a time may use it. Who must know that bytes arrive though no
// packet is whole yet gives it an io.Reader that tells.
type Reader struct {
	in      buffer
	opts    ReaderOptions
	dec     decoder
	used    Tolerated
	names   names
	payload Payload
	publish Publish // reused for every PUBLISH
	small   small   // reused, too
	list    Packet  // and the newest of the others, which have lists
	err     error   // of the bytes; what follows them has no known meaning
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader, opts ReaderOptions) *Reader {
	if opts.Max <= 0 {
		opts.Max = defaultMax
	}
	r := &Reader{in: buffer{src: src}, opts: opts}
	r.payload.in = &r.in
	r.dec.tolerate, r.dec.used, r.dec.names = opts.Tolerate, &r.used, &r.names
	return r
}

// Buffered returns the number of bytes that were received and not yet returned.
func (r *Reader) Buffered() int { return r.in.w - r.in.r }

// Tolerated returns how often a tolerance was needed.
func (r *Reader) Tolerated() Tolerated { return r.used }

// Malformed returns what is wrong with the PUBLISH that was returned last; nil if nothing is. It is
// one that the receiver must not accept: its Topic is as it came, and empty if it is longer than
// the packet. Its PacketID is 0 if it cannot be read. Without [ReaderOptions.PassMalformed] it is
// an error of ReadPacket.
func (r *Reader) Malformed() *FormatError {
	if r.err != nil {
		return nil
	}
	return r.dec.err
}

// Size returns the size of the packet that was returned last, with its fixed header and with a
// payload that is streamed.
func (r *Reader) Size() int { return r.dec.size() }

// ReadPacket returns the next packet. The packet and its slices are valid until the
// next call; its strings stay. At the end of the stream between packets the error is
// io.EOF, inside a packet io.ErrUnexpectedEOF. After another error of the stream, such
// as a timeout, the next call goes on where this one stopped. A [*FormatError] or
// [*TooLargeError] is final: what follows in the stream has no known meaning.
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

// ReadBuffered is ReadPacket for a packet that was received whole already; nil if there is
// none, or if its payload is to be streamed. It does not read from the stream, so it never waits.
func (r *Reader) ReadBuffered() (Packet, error) {
	if r.payload.open {
		return nil, r.err
	}
	p, _, err := r.next(false)
	return p, err
}

// next returns the packet at the front of the buffer, or how many bytes it needs if they are
// not all there. One that is to be streamed is returned only if that is allowed.
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

// forget lets go of what the packets before keep alive: the buffer, which is about to be
// replaced perhaps, and a list, which may have been long.
func (r *Reader) forget() {
	r.publish.Payload = nil
	r.list = nil
}

// small has a packet of each type that is so small that it is always there.
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
	return newPacket(t) // without content, and so without memory
}

func (r *Reader) fail(err error) error {
	r.err = err
	return err
}

// take decodes the packet b from the front of the buffer. What b lacks is payload, left
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
