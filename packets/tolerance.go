package packets

// Tolerances is a set of rules that a [Reader] does not enforce, because widely used servers
// violate them without harm. The zero value enforces all rules.
type Tolerances uint8

// The tolerances.
const (
	// TolerateSubackCodes accepts SUBACK return codes above 0x80, which some servers send in
	// violation of [MQTT-3.9.3-2], as refusals of the filter.
	TolerateSubackCodes Tolerances = 1 << iota

	// TolerateOverlongLength accepts a Remaining Length that is encoded in more bytes than
	// necessary, up to four. MQTT 3.1.1 says nothing about this; MQTT 5 forbids it.
	TolerateOverlongLength
)

// Tolerated counts the packets that were accepted only because of a tolerance.
type Tolerated struct {
	SubackCodes    uint64
	OverlongLength uint64
}

// tolerated reports whether a violation of a rule is tolerated, and if so counts it.
func (d *decoder) tolerated(t Tolerances) bool {
	if d.tolerate&t == 0 {
		return false
	}
	if d.used != nil && t == TolerateSubackCodes {
		d.used.SubackCodes++
	}
	return true
}
