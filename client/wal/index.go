package wal

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// An index maps each key to its place in the log. Store.work guards it.
type index struct {
	numbered                  // keys of messages, which nearly all are
	others   map[string]place // all other keys
	segments []*segment       // oldest first; the last one is written to
	bytes    int64            // size of live frames
	finish   int64            // bytes that finishing all messages may take
	next     uint64           // number of the next frame
}

func newIndex() index {
	return index{numbered: numbered{pages: make(map[uint64]*page)}, others: make(map[string]place), next: 1}
}

// A place is the place of the frame with a key: the segment, by the number of its first frame, and
// the offset. Size 0 means no place.
type place struct {
	segment uint64
	off     int64
	size    int64
}

func (x *index) active() *segment { return x.segments[len(x.segments)-1] }

// keys returns the number of live keys.
func (x *index) keys() int { return x.n + len(x.others) }

// at returns the place of a key.
func (x *index) at(key []byte) place {
	k, i, ok := numberOf(key)
	if !ok {
		return x.others[string(key)]
	}
	if p := x.page(k); p != nil {
		return p.places[i]
	}
	return place{}
}

// apply sets the place of a key, or removes the key if the size is 0.
func (x *index) apply(key []byte, seg *segment, now place) {
	var old place
	if k, i, ok := numberOf(key); ok {
		old = x.set(k, i, now)
	} else {
		old = x.others[string(key)]
		switch {
		case now.size > 0:
			x.others[string(key)] = now
		case old.size > 0:
			delete(x.others, string(key))
		}
	}
	if old.size > 0 {
		x.segment(old.segment, seg).live -= old.size
		x.bytes -= old.size
		x.finish -= toFinish(key)
	}
	if now.size > 0 {
		seg.live += now.size
		x.bytes += now.size
		x.finish += toFinish(key)
	}
}

// segment returns the segment whose first frame has the number, which is often the newest.
func (x *index) segment(first uint64, newest *segment) *segment {
	if newest.first == first {
		return newest
	}
	for i := len(x.segments) - 1; ; i-- { // a segment with live keys exists
		if x.segments[i].first == first {
			return x.segments[i]
		}
	}
}

// An update is the effect of a frame once its commit is complete.
type update struct {
	end int   // end of its key in the keys of the commit
	off int64 // of the frame
	n   int64 // its size; 0 if the key is removed
}

// commits applies commits until one is incomplete, and returns where that starts; the scanner is
// left at the unexpected frame. A commit that started before the first frame read here is not
// applied; missed is the number of its frames here.
func (x *index) commits(seg *segment, sc *scanner) (end int64, missed uint64, err error) {
	end = sc.off
	number, start := x.next, x.next
	var updates []update
	var keys []byte
	for {
		off := sc.off
		f, ok, err := sc.next()
		if err != nil {
			return 0, 0, fmt.Errorf("wal: %s: %w", seg.name, err)
		}
		if !ok || f.number != number {
			sc.off = off
			return end, missed, nil
		}
		number++
		switch f.typ {
		case frameSet, frameForget:
			key, _, ok := f.entry()
			if !ok {
				sc.off = off
				return end, missed, nil
			}
			keys = append(keys, key...)
			u := update{end: len(keys), off: off}
			if f.typ == frameSet {
				u.n = f.size
			}
			updates = append(updates, u)
		case frameCommit:
			if len(f.body) != 8 || binary.BigEndian.Uint64(f.body) != start {
				missed += number - start
				updates = updates[:0]
			}
			from := 0
			for _, u := range updates {
				x.apply(keys[from:u.end], seg, place{seg.first, u.off, u.n})
				from = u.end
			}
			updates, keys, end, x.next, start = updates[:0], keys[:0], sc.off, number, number
		default:
			sc.off = off
			return end, missed, nil
		}
	}
}

// each calls add for all live keys, in the order of the log. It reads segments sequentially, not
// key by key.
func (x *index) each(add func(key, value []byte) error) error {
	for _, seg := range x.segments {
		if err := x.eachOf(seg, add); err != nil {
			return err
		}
	}
	return nil
}

func (x *index) eachOf(seg *segment, add func(key, value []byte) error) error {
	var rest []place // where to continue after unreadable bytes
	for sc, left := seg.frames(seg.start), seg.live; left > 0; {
		at := place{seg.first, sc.off, 0}
		f, ok, err := sc.next()
		switch {
		case err != nil:
			return fmt.Errorf("wal: %s: %w", seg.name, err)
		case !ok:
			if rest == nil {
				rest = x.places(seg)
			}
			for len(rest) > 0 && rest[0].off <= at.off {
				if rest[0].off == at.off {
					return damaged(seg, at.off) // it could be read before
				}
				rest = rest[1:]
			}
			if len(rest) == 0 {
				return damaged(seg, at.off)
			}
			sc.off = rest[0].off
			continue
		}
		at.size = f.size
		if key, value, whole := f.entry(); f.typ == frameSet && whole && x.at(key) == at {
			left -= f.size
			if err := add(key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// read calls see with the value of a key, if it is live.
func (x *index) read(key []byte, see func(key, value []byte)) error {
	at := x.at(key)
	if at.size == 0 {
		return nil
	}
	seg := x.segment(at.segment, x.active())
	sc := scanner{r: seg.f, salt: seg.salt, off: at.off, end: at.off + at.size}
	f, ok, err := sc.next()
	if err != nil {
		return fmt.Errorf("wal: %s: %w", seg.name, err)
	}
	key, value, whole := f.entry()
	if !ok || !whole {
		return damaged(seg, at.off)
	}
	see(key, value)
	return nil
}

// places returns the places in a segment, in order.
func (x *index) places(seg *segment) []place {
	var all []place
	note := func(p place) {
		if p.size > 0 && p.segment == seg.first {
			all = append(all, p)
		}
	}
	for _, p := range x.pages {
		for i := range p.places {
			note(p.places[i])
		}
	}
	for _, p := range x.others {
		note(p)
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.off, b.off) })
	return all
}
