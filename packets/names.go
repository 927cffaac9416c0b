package packets

import "hash/maphash"

const (
	nameSlots = 128
	longName  = 256 // bytes; longer Topic Names are not cached
)

// names caches valid Topic Names, so that a repeated one is neither allocated nor checked again.
// Its size is fixed: a name replaces another one with the same hash.
type names struct {
	last  string // most often the next one as well
	seed  maphash.Seed
	slots *[nameSlots]string
}

func (n *names) get(b []byte) (string, bool) {
	if n.last == string(b) {
		return n.last, n.last != ""
	}
	if n.slots == nil || len(b) > longName {
		return "", false
	}
	s := n.slots[maphash.Bytes(n.seed, b)%nameSlots]
	if s != string(b) {
		return "", false
	}
	n.last = s
	return s, s != ""
}

func (n *names) put(s string) {
	if len(s) > longName {
		return
	}
	switch {
	case n.last == "": // the first name: no table is needed for one
	case n.slots == nil:
		n.seed, n.slots = maphash.MakeSeed(), new([nameSlots]string)
		fallthrough
	default:
		n.slots[maphash.String(n.seed, n.last)%nameSlots] = n.last
		n.slots[maphash.String(n.seed, s)%nameSlots] = s
	}
	n.last = s
}
