package packets

import "io"

const (
	defaultMax  = 16 << 20
	firstBuffer = 1 << 10
	fullBuffer  = 64 << 10 // a buffer that is larger was made for one large packet
	emptyReads  = 100
)

// ReaderOptions are the limits of a Reader.
type ReaderOptions struct {
	// Max is the largest packet in bytes, fixed header included. If zero or negative,
	// 16 MiB. The protocol's own limit is 268,435,455 bytes after the header.
	Max int

	// Tolerate loosens single rules.
	Tolerate Tolerances
}

// A Reader reads packets of either direction from a byte stream. It reads ahead. Its
// memory grows with the bytes that arrive, not with the length that a header claims.
type Reader struct {
	src  io.Reader
	opts ReaderOptions
	buf  []byte
	r, w int // buf[r:w] was received and not yet returned
	used Tolerated
	have [16]Packet // reused, one of a type
	name names
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader, opts ReaderOptions) *Reader {
	if opts.Max <= 0 {
		opts.Max = defaultMax
	}
	return &Reader{src: src, opts: opts}
}

// Buffered returns the number of bytes that were received and not yet returned.
func (r *Reader) Buffered() int { return r.w - r.r }

// Tolerated returns how often a tolerance was needed.
func (r *Reader) Tolerated() Tolerated { return r.used }

// ReadPacket returns the next packet. The packet and its slices are valid until the
// next call; its strings stay. At the end of the stream between packets the error is
// io.EOF, inside a packet io.ErrUnexpectedEOF. A [*FormatError] or [*TooLargeError] is
// final: what follows in the stream has no known meaning.
func (r *Reader) ReadPacket() (Packet, error) {
	for {
		h, err := parseHeader(r.buf[r.r:r.w], r.opts.Tolerate)
		switch {
		case err == ErrShort:
			h.length = maxHeader
		case err != nil:
			return nil, err
		case h.size() > r.opts.Max:
			return nil, &TooLargeError{h.typ, h.size(), r.opts.Max}
		case r.w-r.r >= h.size():
			return r.take(h)
		}
		if err := r.fill(h.size()); err != nil {
			return nil, err
		}
	}
}

// take decodes the packet at the front of the buffer.
func (r *Reader) take(h header) (Packet, error) {
	p := r.have[h.typ]
	if p == nil {
		p = newPacket(h.typ)
		r.have[h.typ] = p
	}
	d := decoder{
		header:   h,
		b:        r.buf[r.r : r.r+h.size()],
		i:        h.length,
		tolerate: r.opts.Tolerate,
		used:     &r.used,
		names:    &r.name,
	}
	r.r += h.size()
	if h.overlong {
		r.used.OverlongLength++
	}
	if err := d.packet(p); err != nil {
		return nil, err
	}
	return p, nil
}

// fill reads once, making room before if there is none. size is what the packet at the
// front needs.
func (r *Reader) fill(size int) error {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > fullBuffer {
			r.buf = nil // it was made for one large packet
		}
	}
	if r.w == len(r.buf) {
		r.makeRoom(size)
	}
	for range emptyReads {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		switch {
		case n > 0:
			return nil
		case err == io.EOF && r.w > r.r:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom doubles a buffer that is full of what arrived, or moves what is left of it
// to the front.
func (r *Reader) makeRoom(size int) {
	held := r.w - r.r
	want := len(r.buf)
	switch {
	case want == 0:
		want = firstBuffer
	case want < fullBuffer:
		want *= 2 // a full buffer means that more is coming than fits
	case held == want:
		want = min(2*want, max(size, want+1))
	}
	if want == len(r.buf) && r.r > 0 {
		copy(r.buf, r.buf[r.r:r.w])
	} else {
		bigger := make([]byte, want)
		copy(bigger, r.buf[r.r:r.w])
		r.buf = bigger
	}
	r.r, r.w = 0, held
}
