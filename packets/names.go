package packets

import "hash/maphash"

const (
	nameSlots = 128
	longName  = 256 // bytes; longer Topic Names are not kept
)

// names keeps Topic Names that were seen and found valid, so that one that comes again
// and again costs no allocation and no second check. It is bounded: a name takes the
// place of another one with the same hash.
type names struct {
	seed  maphash.Seed
	slots []string
}

func (n *names) slot(h uint64) *string {
	if n.slots == nil {
		n.slots = make([]string, nameSlots)
	}
	return &n.slots[h%nameSlots]
}

func (n *names) get(b []byte) (string, bool) {
	if n.slots == nil || len(b) > longName || len(b) == 0 {
		return "", false
	}
	s := *n.slot(maphash.Bytes(n.seed, b))
	return s, s == string(b)
}

func (n *names) put(s string) {
	if n.slots == nil {
		n.seed = maphash.MakeSeed()
	}
	if len(s) <= longName {
		*n.slot(maphash.String(n.seed, s)) = s
	}
}
