package sim

import (
	"slices"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A Mutant is a bug put in on purpose, outside of the session: the driver or the disk does wrong
// what the session would do wrong with that bug.
type Mutant int

// The mutants.
const (
	None            Mutant = iota
	SendEarly              // a Send does not wait for its record
	SendEarlyUnseen        // the same, and only its consequences count
	PassWaiting            // a Send overtakes one that waits
	ReportEarly            // a Done does not wait for its record
	ForgetReleased         // PUBLISH again after PUBREC: the record of PUBREC is not kept
	ForgetReceived         // no recognition of incoming messages after a crash
	OtherContent           // no recognition by content: fingerprints differ
	KeepReceived           // PUBCOMP does not remove the identifier from the records
	Unordered              // PUBRELs are sent again in another order than their PUBRECs
	Disorder               // two neighbouring Sends change places
	StaleSession           // Session Present 0 is taken for 1
	NoDup                  // a message sent again looks like a new one
	AlwaysDup              // a new message looks like one sent again
	ForgetPosition         // bytes that may have left are reported as not sent
	AckEarly               // a message is acknowledged before the application took it over
	WiderWindow            // one message more is in flight than is allowed
	NoTick                 // Tick is not called
	DropPuback             // an acknowledgement is forgotten
	Unscrubbed             // identifiers are used that the broker may hold
	BlameLinks             // a broken link counts as the broker's close
	mutants
)

var mutantNames = [mutants]string{
	"none", "send early", "send early, unseen", "pass a waiting send", "report early", "publish again after PUBREC",
	"no inbound recognition", "no recognition by content", "identifier kept after PUBCOMP", "PUBRELs unordered", "disorder",
	"stale identifiers kept", "no DUP", "always DUP", "position forgotten", "acknowledged early", "window too wide", "no tick",
	"acknowledgement dropped", "identifiers not released", "broken links count",
}

// String names the bug.
func (m Mutant) String() string { return mutantNames[m] }

// Mutants returns all of them.
func Mutants() []Mutant {
	var all []Mutant
	for m := None + 1; m < mutants; m++ {
		all = append(all, m)
	}
	return all
}

// mutateEntry changes a record on its way to the disk. It reports true if the record is dropped.
func (w *world) mutateEntry(e *entry) bool {
	switch {
	case w.o.Mutant == KeepReceived:
		return e.forget && e.record.Kind == session.RecordReceived
	case w.o.Mutant == Unordered && e.record.Kind == session.RecordReleased:
		e.record.Order = ^e.record.Order
	}
	return false
}

// mutateRecords changes the records that a new process finds.
func (w *world) mutateRecords(records []session.Record) []session.Record {
	switch w.o.Mutant {
	case ForgetReleased:
		records = slices.DeleteFunc(records, func(r session.Record) bool { return r.Kind == session.RecordReleased })
	case ForgetReceived:
		records = slices.DeleteFunc(records, func(r session.Record) bool { return r.Kind == session.RecordReceived })
	case OtherContent:
		for i := range records {
			records[i].Fingerprint ^= 1
		}
	}
	return records
}

func (w *world) mutateFrame(f *frame) {
	if f.typ != packets.PUBLISH || f.msg.qos == packets.AtMostOnce {
		return
	}
	const dup = 1 << 3
	switch w.o.Mutant {
	case NoDup:
		f.dup, f.bytes[0] = false, f.bytes[0]&^dup
	case AlwaysDup:
		f.dup, f.bytes[0] = true, f.bytes[0]|dup
	}
}

// mutateQueue changes the bytes that wait to be written.
func (w *world) mutateQueue() {
	q := w.c.frames
	n := len(q)
	switch {
	case w.o.Mutant == Disorder && n > 1 && q[n-1].typ == q[n-2].typ:
		q[n-1], q[n-2] = q[n-2], q[n-1]
	case w.o.Mutant == DropPuback && n > 0 && q[n-1].typ == packets.PUBACK && chance(w.r, 20):
		w.c.frames = q[:n-1]
	}
}

func (w *world) mutateReceived(p packets.Packet) {
	if c, ok := p.(*packets.Connack); ok && w.o.Mutant == StaleSession && c.Code == packets.Accepted && !w.profile.clean {
		c.SessionPresent = true
	}
}
