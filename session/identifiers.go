package session

import "math/bits"

// identifiers finds incoming messages by their Packet Identifier. It is a hash table with open
// addressing that holds indices into receiver.all, plus one, and grows with the number in flight. A
// map took a tenth of the time of a message.
type identifiers struct {
	slots []uint32 // a power of two, at most half of them used; 0: free
	shift int      // from a hash to a slot
	n     int
}

// home returns the preferred slot of an identifier. Servers assign identifiers in sequence, which
// would fill adjacent slots; multiplying by the golden ratio spreads them.
func (t *identifiers) home(id uint16) uint32 { return uint32(id) * 0x9E3779B1 >> t.shift }

// find returns the slot of an identifier, or the free slot for it. There always are free slots.
func (t *identifiers) find(all []incoming, id uint16) uint32 {
	mask := uint32(len(t.slots) - 1)
	at := t.home(id)
	for t.slots[at] != 0 && all[t.slots[at]-1].id != id {
		at = (at + 1) & mask
	}
	return at
}

func (t *identifiers) get(all []incoming, id uint16) (uint32, bool) {
	if t == nil || t.n == 0 {
		return 0, false
	}
	i := t.slots[t.find(all, id)]
	return i - 1, i != 0
}

// set maps the identifier of all[i] to i.
func (t *identifiers) set(all []incoming, i uint32) {
	if 2*(t.n+1) > len(t.slots) {
		old := t.slots
		t.slots = make([]uint32, max(8, 2*len(old)))
		t.shift = bits.LeadingZeros32(uint32(len(t.slots) - 1))
		for _, o := range old {
			if o != 0 {
				t.slots[t.find(all, all[o-1].id)] = o
			}
		}
	}
	at := t.find(all, all[i].id)
	if t.slots[at] == 0 {
		t.n++
	}
	t.slots[at] = i + 1
}

// remove removes an identifier, which must be present.
func (t *identifiers) remove(all []incoming, id uint16) {
	mask := uint32(len(t.slots) - 1)
	hole := t.find(all, id)
	t.n--
	t.slots[hole] = 0
	// Move later entries into the hole, unless that would put them before their home.
	for at := (hole + 1) & mask; t.slots[at] != 0; at = (at + 1) & mask {
		home := t.home(all[t.slots[at]-1].id)
		if (at-home)&mask >= (at-hole)&mask {
			t.slots[hole], t.slots[at] = t.slots[at], 0
			hole = at
		}
	}
}
