package disk

import (
	"bytes"
	"slices"
)

const sector = 512

// A content is the data of a file, by sector. Sectors are never modified, so copies of a disk share them. A nil
// sector is all zeros, like most of a log that has reserved space ahead. The part of the last sector beyond size is
// zeros.
type content struct {
	size    int
	sectors []*[sector]byte
}

var zeros [sector]byte

func (c *content) clone() content { return content{c.size, slices.Clone(c.sectors)} }

// set makes c a clone of o.
func (c *content) set(o *content) {
	c.size, c.sectors = o.size, append(c.sectors[:0], o.sectors...)
}

// resize truncates the content, or extends it with zeros.
func (c *content) resize(size int) {
	n := (size + sector - 1) / sector
	if n > len(c.sectors) {
		c.sectors = append(c.sectors, make([]*[sector]byte, n-len(c.sectors))...)
	}
	clear(c.sectors[n:])
	c.sectors = c.sectors[:n]
	if rest := size % sector; size < c.size && rest > 0 && c.sectors[n-1] != nil {
		s := *c.sectors[n-1]
		clear(s[rest:])
		c.sectors[n-1] = &s
	}
	c.size = size
}

// read returns how many bytes it has read.
func (c *content) read(b []byte, off int) (n int) {
	for n < len(b) && off+n < c.size {
		at := off + n
		from := &zeros
		if s := c.sectors[at/sector]; s != nil {
			from = s
		}
		n += copy(b[n:min(len(b), n+c.size-at)], from[at%sector:])
	}
	return n
}

// write replaces bytes. If off is beyond the end, it fills the gap with zeros.
func (c *content) write(b []byte, off int) {
	if end := off + len(b); end > c.size {
		c.resize(end)
	}
	for len(b) > 0 {
		s := &c.sectors[off/sector]
		n := min(len(b), sector-off%sector)
		switch part := b[:n]; {
		case *s == nil && bytes.Equal(part, zeros[:n]):
		case n == sector && bytes.Equal(part, zeros[:]):
			*s = nil
		default:
			own := new([sector]byte)
			if *s != nil && n < sector {
				*own = **s
			}
			copy(own[off%sector:], part)
			*s = own
		}
		b, off = b[n:], off+n
	}
}

// take copies sector i from another content, as far as both have it.
func (c *content) take(o *content, i int) {
	at := i * sector
	end := min(at+sector, c.size, o.size)
	if end == at+sector || c.size == o.size {
		c.sectors[i] = o.sectors[i]
		return
	}
	var b [sector]byte
	o.read(b[:end-at], at)
	c.write(b[:end-at], at)
}
