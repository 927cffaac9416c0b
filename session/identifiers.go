package session

// identifiers finds incoming messages by their Packet Identifier: a hash table with open
// addressing whose hash is the identifier itself, because Servers hand those out in a row. It
// holds indices of receiver.all, raised by one, and is as large as what is in flight needs. A
// map is general, and for this took a tenth of the time of a message.
type identifiers struct {
	slots []uint32 // a power of two of them, at the most half of them taken; 0: free
	n     int
}

// find returns the slot of an identifier, or the free one where it belongs. There are free ones.
func (t *identifiers) find(all []incoming, id uint16) uint32 {
	mask := uint32(len(t.slots) - 1)
	at := uint32(id) & mask
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

// set makes all[i] the message of its identifier.
func (t *identifiers) set(all []incoming, i uint32) {
	if 2*(t.n+1) > len(t.slots) {
		old := t.slots
		t.slots = make([]uint32, max(8, 2*len(old)))
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

// remove forgets an identifier that is there.
func (t *identifiers) remove(all []incoming, id uint16) {
	mask := uint32(len(t.slots) - 1)
	hole := t.find(all, id)
	t.n--
	t.slots[hole] = 0
	// Those behind the hole close up, unless they would come to lie before where they belong.
	for at := (hole + 1) & mask; t.slots[at] != 0; at = (at + 1) & mask {
		home := uint32(all[t.slots[at]-1].id) & mask
		if (at-home)&mask >= (at-hole)&mask {
			t.slots[hole], t.slots[at] = t.slots[at], 0
			hole = at
		}
	}
}
