package wal

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// An index is where the log keeps each key.
type index struct {
	live   map[string]place
	bytes  int64  // of frames that hold what is kept
	finish int64  // bytes that forgetting all of it may take
	next   uint64 // number of the next frame
}

func newIndex() index { return index{live: make(map[string]place), next: 1} }

// A place is where the frame is that holds a key.
type place struct {
	seg  *segment
	off  int64
	size int64
}

// An update is what a frame of a commit means once it is durable.
type update struct {
	key []byte
	at  place // size 0: forgotten
}

// apply notes where a key is kept now; nowhere if the size is 0.
func (x *index) apply(key []byte, at place) {
	if old, ok := x.live[string(key)]; ok {
		old.seg.live -= old.size
		x.bytes -= old.size
		x.finish -= finishing + int64(len(key))
	}
	if at.size == 0 {
		delete(x.live, string(key))
		return
	}
	x.live[string(key)] = at
	at.seg.live += at.size
	x.bytes += at.size
	x.finish += finishing + int64(len(key))
}

// commits applies commits until one is not whole, and returns where that begins; the scanner is
// left at the frame that is not as it should be. A commit that began before the first frame that
// is read here does not count; missed is how many frames it has here.
func (x *index) commits(seg *segment, sc *scanner) (end int64, missed uint64, err error) {
	end = sc.off
	number, start := x.next, x.next
	var updates []update
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
			u := update{key: bytes.Clone(key)}
			if f.typ == frameSet {
				u.at = place{seg, off, f.size}
			}
			updates = append(updates, u)
		case frameCommit:
			if len(f.body) != 8 || binary.BigEndian.Uint64(f.body) != start {
				missed += number - start
				updates = updates[:0]
			}
			for _, u := range updates {
				x.apply(u.key, u.at)
			}
			updates, end, x.next, start = updates[:0], sc.off, number, number
		default:
			sc.off = off
			return end, missed, nil
		}
	}
}

// each calls add for everything that is kept, in the order of the log.
func (x *index) each(add func(key, value []byte) error) error {
	places := slices.SortedFunc(maps.Values(x.live), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.seg.first, b.seg.first), cmp.Compare(a.off, b.off))
	})
	for _, p := range places {
		sc := scanner{r: p.seg.f, salt: p.seg.salt, off: p.off, end: p.off + p.size}
		f, ok, err := sc.next()
		if err != nil {
			return fmt.Errorf("wal: %s: %w", p.seg.name, err)
		}
		key, value, whole := f.entry()
		if !ok || !whole {
			return damaged(p.seg, p.off)
		}
		if err := add(key, value); err != nil {
			return err
		}
	}
	return nil
}
