package wal

import "encoding/binary"

// numbered is the part of an index for keys that are a byte and a number of eight bytes, as those of
// messages are. Messages are numbered in a row, so places lie in pages of neighbours, and only one
// of a few looks for its page.
type numbered struct {
	pages  map[uint64]*page
	n      int // keys
	last   uint64
	lastAt *page // of last, which is likely to be asked for next; nil if there is none
}

const pageSize = 16

// A page holds no pointer, so that an index of millions costs the garbage collector little.
type page struct {
	places [pageSize]place
	n      int // of them that are taken
}

// numberOf returns the page of a key and its place there, if it is one with a number. In front of the
// number of a page is the kind of its keys; sequence numbers do not come to where they would meet.
func numberOf(key []byte) (k, i uint64, ok bool) {
	if len(key) != 9 {
		return 0, 0, false
	}
	n := binary.BigEndian.Uint64(key[1:])
	return uint64(key[0])<<kindShift | n/pageSize, n % pageSize, n < pageSize<<kindShift
}

const kindShift = 56

// page returns a page; nil if there is none.
func (x *numbered) page(k uint64) *page {
	if x.lastAt == nil || x.last != k {
		x.last, x.lastAt = k, x.pages[k]
	}
	return x.lastAt
}

// set notes a place, and returns the one before.
func (x *numbered) set(k, i uint64, now place) (old place) {
	if now.size == 0 {
		now = place{}
	}
	p := x.page(k)
	if p == nil {
		if now.size == 0 {
			return place{}
		}
		p = new(page)
		x.pages[k], x.lastAt = p, p
	}
	old, p.places[i] = p.places[i], now
	switch {
	case old.size == 0 && now.size > 0:
		p.n, x.n = p.n+1, x.n+1
	case old.size > 0 && now.size == 0:
		p.n, x.n = p.n-1, x.n-1
		if p.n == 0 {
			delete(x.pages, k)
			x.lastAt = nil
		}
	}
	return old
}

// highest returns the highest number of the keys of a kind, if there are any.
func (x *numbered) highest(kind byte) (n uint64, ok bool) {
	for k, p := range x.pages {
		first := k % (1 << kindShift) * pageSize
		if k>>kindShift != uint64(kind) || ok && first+pageSize-1 <= n {
			continue
		}
		for i := range p.places {
			if p.places[i].size > 0 {
				n, ok = max(n, first+uint64(i)), true
			}
		}
	}
	return n, ok
}
