package wal

import "encoding/binary"

// numbered is the part of an index for keys that consist of a byte and a number of eight bytes,
// such as those of messages. Messages are numbered consecutively, so places are grouped in pages of
// neighbours, and the page is usually the one used last.
type numbered struct {
	pages  map[uint64]*page
	n      int // keys
	last   uint64
	lastAt *page // the page used last, which is likely to be used next; or nil
}

const pageSize = 16

// A page has no pointers, so that an index of millions of keys costs the garbage collector little.
type page struct {
	places [pageSize]place
	n      int // of them that are taken
}

// numberOf returns the page of a key and its index there, if the key is a numbered one. The top
// bits of the page number are the kind of the key; sequence numbers never get that large.
func numberOf(key []byte) (k, i uint64, ok bool) {
	if len(key) != 9 {
		return 0, 0, false
	}
	n := binary.BigEndian.Uint64(key[1:])
	return uint64(key[0])<<kindShift | n/pageSize, n % pageSize, n < pageSize<<kindShift
}

const kindShift = 56

// page returns a page, or nil if it does not exist.
func (x *numbered) page(k uint64) *page {
	if x.lastAt == nil || x.last != k {
		x.last, x.lastAt = k, x.pages[k]
	}
	return x.lastAt
}

// set sets a place and returns the previous one.
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

// highest returns the highest number among the keys of a kind, and whether there are any.
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
