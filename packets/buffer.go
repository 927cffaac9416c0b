package packets

import (
	"errors"
	"io"
)

const (
	firstBuffer = 128      // bytes: enough for an idle client
	fullBuffer  = 64 << 10 // bytes; a larger buffer is used only for a packet that needs it
	lookEvery   = 16       // reads between checks whether the buffer is too large
	emptyReads  = 100
)

var errBadRead = errors.New("packets: reader returned an impossible count from Read")

// buffer holds the bytes that were received and not yet taken, buf[r:w]. It grows with the bytes
// that arrive, not by what a header claims, and shrinks again when few arrive.
type buffer struct {
	src   io.Reader
	buf   []byte
	r, w  int
	err   error // received with the last bytes; reported after them
	reads int   // since the last check
	most  int   // most bytes held at a time since the last check
}

// fill reads once, after making room if necessary. size is the size of the packet at the front.
func (b *buffer) fill(size int) error {
	if err := b.err; err != nil {
		b.err = nil
		return b.ended(err)
	}
	b.makeRoom(size)
	for range emptyReads {
		n, err := b.read(b.buf[b.w:])
		if n > 0 {
			b.w += n
			b.err = err
			b.most = max(b.most, b.w-b.r)
			b.reads++
			return nil
		}
		if err != nil {
			return b.ended(err)
		}
	}
	return io.ErrNoProgress
}

func (b *buffer) read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if n < 0 || n > len(p) {
		return 0, errBadRead
	}
	return n, err
}

// readThrough reads the buffered bytes first, and then directly from the stream.
func (b *buffer) readThrough(p []byte) (int, error) {
	if b.r < b.w {
		n := copy(p, b.buf[b.r:b.w])
		b.r += n
		return n, nil
	}
	if err := b.err; err != nil {
		b.err = nil
		return 0, err
	}
	n, err := b.read(p)
	if n > 0 {
		b.err, err = err, nil
	}
	return n, err
}

// ended returns io.EOF between packets, and io.ErrUnexpectedEOF within a packet, instead of io.EOF.
func (b *buffer) ended(err error) error {
	if err == io.EOF && b.w > b.r {
		return io.ErrUnexpectedEOF
	}
	return err
}

// makeRoom leaves room for at least one byte.
func (b *buffer) makeRoom(size int) {
	held := b.w - b.r
	want := len(b.buf)
	switch {
	case want == 0:
		want = firstBuffer
	case b.w == want && want < fullBuffer:
		want *= 2 // the last read filled the buffer, so there probably is more
	case held == want:
		want = min(2*want, max(size, want+1))
	case b.reads >= lookEvery && held == 0:
		if b.most <= want/4 {
			want = max(firstBuffer, 2*b.most)
		}
		b.reads, b.most = 0, 0
	}
	switch {
	case want != len(b.buf):
		buf := make([]byte, want)
		copy(buf, b.buf[b.r:b.w])
		b.buf, b.r, b.w = buf, 0, held
	case held == 0, b.w == want, b.r > want/2:
		copy(b.buf, b.buf[b.r:b.w])
		b.r, b.w = 0, held
	}
}
