package sim

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/mqtt311/mqtt311/session"
)

// A key identifies a record on the disk.
type key struct {
	kind   session.RecordKind
	n      uint64
	filter string
}

func keyOf(r *session.Record) key {
	switch r.Kind {
	case session.RecordPublish, session.RecordReleased:
		return key{kind: r.Kind, n: r.Seq}
	case session.RecordReceived:
		return key{kind: r.Kind, n: uint64(r.PacketID)}
	case session.RecordFilter:
		return key{kind: r.Kind, filter: r.Filter.Filter}
	}
	return key{kind: r.Kind}
}

// An entry is a Save or Forget that was appended to the log.
type entry struct {
	n      uint64
	forget bool
	record session.Record
}

// A disk is an append-only log. Synced records survive everything. Records that were only appended survive the death of the
// process, and some of them a power loss; a Forget that nothing waits for may not even have been appended.
type disk struct {
	synced map[key]session.Record
	log    []entry // appended, not synced
	lazy   []entry // Forgets that are not appended until something needs them
}

func (d *disk) append(e entry, late bool) {
	if late {
		d.lazy = append(d.lazy, e)
		return
	}
	k := keyOf(&e.record)
	for i := range d.lazy {
		if l := keyOf(&d.lazy[i].record); l == k || k.kind == session.RecordReleased && l.kind == session.RecordPublish && l.n == k.n {
			// A record must not become durable after a later one for the same key or message.
			d.demand(d.lazy[i].n)
			break
		}
	}
	d.log = append(d.log, e)
}

// demand appends the delayed Forgets up to n.
func (d *disk) demand(n uint64) {
	for len(d.lazy) > 0 && d.lazy[0].n <= n {
		d.log = append(d.log, d.lazy[0])
		d.lazy = d.lazy[1:]
	}
}

// durable reports whether everything up to n is synced.
func (d *disk) durable(n uint64) bool {
	if len(d.lazy) > 0 && d.lazy[0].n <= n {
		return false
	}
	for i := range d.log {
		if d.log[i].n <= n {
			return false
		}
	}
	return true
}

// sync makes the first n entries of the log durable.
func (d *disk) sync(n int) {
	for i := range d.log[:n] {
		e := &d.log[i]
		k := keyOf(&e.record)
		if !e.forget {
			d.synced[k] = e.record
			continue
		}
		delete(d.synced, k)
	}
	d.log = slices.Delete(d.log, 0, n)
}

// crash drops the records that a crash loses and returns the others, in no particular order.
func (d *disk) crash(r *rand.Rand, power bool) []session.Record {
	n := len(d.log)
	if power {
		n = r.IntN(n + 1)
	}
	d.sync(n)
	d.log, d.lazy = nil, nil
	records := make([]session.Record, 0, len(d.synced))
	for _, rec := range d.synced {
		records = append(records, rec)
	}
	slices.SortFunc(records, func(a, b session.Record) int { // map order must not affect a seed
		x, y := keyOf(&a), keyOf(&b)
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.n, y.n), cmp.Compare(x.filter, y.filter))
	})
	r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return records
}

func (d *disk) has(kind session.RecordKind, n uint64) (session.Record, bool) {
	rec, ok := d.synced[key{kind: kind, n: n}]
	return rec, ok
}
