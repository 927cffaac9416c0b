package packets

// Tolerances is a set of rules that a [Reader] does not enforce, because servers in
// wide use break them harmlessly. The zero value is strict.
type Tolerances uint8

// The tolerances.
const (
	// TolerateSubackCodes reads SUBACK codes above 0x80, which some servers send, as
	// failures of their filter, in spite of [MQTT-3.9.3-2].
	TolerateSubackCodes Tolerances = 1 << iota

	// TolerateOverlongLength reads a Remaining Length of up to four bytes that takes
	// more of them than it needs. MQTT 3.1.1 has no statement about it, MQTT 5 forbids
	// it.
	TolerateOverlongLength
)

// Tolerated counts the packets that were read only because of a tolerance.
type Tolerated struct {
	SubackCodes    uint64
	OverlongLength uint64
}

// tolerated reports whether a rule is loosened, and counts its use.
func (d *decoder) tolerated(t Tolerances) bool {
	if d.tolerate&t == 0 {
		return false
	}
	if d.used != nil && t == TolerateSubackCodes {
		d.used.SubackCodes++
	}
	return true
}
