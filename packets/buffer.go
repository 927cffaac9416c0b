package packets

import (
	"errors"
	"io"
)

const (
	firstBuffer = 128      // bytes: an idle client receives four of them a minute
	fullBuffer  = 64 << 10 // a larger buffer is made only for a packet that needs it
	lookEvery   = 16       // reads between two looks at whether the buffer is too large
	emptyReads  = 100
)

var errBadRead = errors.New("packets: reader returned an impossible count from Read")

// buffer holds what was received and not yet taken: buf[r:w]. It grows with the bytes
// that arrive, never by what a header claims, and shrinks again when little arrives.
type buffer struct {
	src   io.Reader
	buf   []byte
	r, w  int
	err   error // came with the last bytes, to be reported after them
	reads int   // since the last look
	most  int   // bytes that were held at once since the last look
}

// fill reads once, making room before if there is none. size is what the packet at the
// front needs.
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

// readThrough reads what is held first, and then past the buffer.
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

// ended tells the end of the stream between packets from the end inside one.
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
		want *= 2 // a read that fills the buffer means that more is there than fits
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
