package connector

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// A ledger keeps, as notes in the session store, how often the flow of each message was started and
// whether it succeeded, so that the next process knows this after a crash.
//
// A redelivered message is recognised by its consumer, its Packet Identifier and a fingerprint of
// its content. If no identifier matches, because the Server has assigned a new one, the content
// alone determines how often it was tried.
//
// If the flow has succeeded, it is not run again only if the acknowledgement cannot have been sent:
// after PUBACK the same identifier may be used for another message with the same content
// [MQTT-4.3.2-2]. The session sends acknowledgements in the order of arrival, so an earlier message
// whose flow has not ended is the proof: see sound.
type ledger struct {
	client *client.Client
	start  uint64 // identifies this process

	mu      sync.Mutex
	session uint16                // the latest session known: see client.Delivery
	found   map[entryKey][]*entry // entries of the last process, until their messages are redelivered
	live    []*entry              // entries of this process, in the order of arrival
}

// An entryKey identifies a redelivered message.
type entryKey struct {
	consumer string
	print    [16]byte
	id       uint16 // 0: any
}

// An entry is the state of a message for a consumer.
type entry struct {
	entryKey
	name string // of its note, until the message is settled
	qos  packets.QoS

	attempts uint32 // runs started, without those that were not charged
	accused  uint32 // of those: a process died while other flows ran too, which proves nothing
	start    uint64 // the process that it belongs to
	order    uint64 // its rank among the messages that the process received
	done     bool   // the flow succeeded, or the failure policy has disposed of the message
	alone    bool   // the last attempt runs alone
	running  bool   // the last attempt has not ended
	givenUp  bool   // it goes to the dead letters

	adopt   bool // done, and its acknowledgement cannot have been sent
	suspect bool // a process died while its flow ran
	noted   bool // it has a note
	acked   bool // Ack was called
	lost    bool // its session was lost
	d       *client.Delivery
}

const (
	notePrefix = "flow/"
	mostFound  = 65535 // as many as there are identifiers
)

// openLedger reads the entries of the last process.
func openLedger(c *client.Client, now time.Time) *ledger {
	l := &ledger{client: c, start: uint64(now.UnixNano()), found: make(map[entryKey][]*entry)}
	var all []*entry
	for name, note := range c.Notes() {
		if !strings.HasPrefix(name, notePrefix) {
			continue
		}
		e, ok := parseEntry(name, note)
		if !ok {
			c.DropNote(name) // of a later version of this package
			continue
		}
		l.start = max(l.start, e.start+1) // whatever the clock says
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int { // latest first
		return cmp.Or(cmp.Compare(b.start, a.start), cmp.Compare(b.order, a.order))
	})
	for _, e := range all[min(mostFound, len(all)):] {
		c.DropNote(e.name) // it was not redelivered for a long time
	}
	all = all[:min(mostFound, len(all))]
	for _, e := range all {
		e.adopt = e.done && sound(all, e)
		if e.suspect = e.running && !e.done; e.suspect && !e.alone {
			e.accused++
		}
		e.running = false
		for _, k := range e.keys() {
			l.found[k] = append(l.found[k], e)
		}
	}
	return l
}

// sound reports whether the acknowledgement of e cannot have been sent: the flow of the same
// message in another consumer has not ended or, at QoS 1, that of an earlier message. (At QoS 2 the
// session itself remembers what was acknowledged.)
func sound(all []*entry, e *entry) bool {
	return slices.ContainsFunc(all, func(o *entry) bool {
		return !o.done && o.proves(e)
	})
}

// proves reports whether the acknowledgement of o cannot be sent while e is not done.
func (e *entry) proves(o *entry) bool {
	before := e.qos == packets.AtLeastOnce && o.qos == e.qos && e.order < o.order
	return e != o && !e.lost && e.start == o.start && (e.order == o.order || before)
}

// keys returns the keys to look up a message by: identifier and content, content only, identifier
// only.
func (k entryKey) keys() [3]entryKey {
	return [...]entryKey{k, {consumer: k.consumer, print: k.print}, {consumer: k.consumer, id: k.id}}
}

func fingerprint(d *client.Delivery) (print [16]byte) {
	h := sha256.New()
	h.Write([]byte{byte(d.QoS)})
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(d.Topic))))
	h.Write([]byte(d.Topic))
	h.Write(d.Payload)
	copy(print[:], h.Sum(nil))
	return print
}

// take adds a message that arrived. It must be called in the order of arrival.
func (l *ledger) take(consumer string, d *client.Delivery, order uint64) *entry {
	e := &entry{
		entryKey: entryKey{consumer, fingerprint(d), d.PacketID},
		qos:      d.QoS, start: l.start, order: order, d: d,
		name: fmt.Sprintf("%s%s/%x.%x", notePrefix, consumer, l.start, order),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun(d.Session)
	if e.lost = d.Session != l.session; e.lost {
		l.live = append(l.live, e)
		return e
	}
	if before := l.find(e.entryKey, d.Dup); before != nil {
		e.name, e.attempts, e.noted = before.name, before.attempts, true
		e.suspect, e.accused, e.givenUp = before.suspect, before.accused, before.givenUp
		e.alone = before.alone
		e.done = before.adopt && before.id == e.id && (d.Dup || d.QoS == packets.ExactlyOnce)
	}
	l.live = append(l.live, e)
	return e
}

// find removes and returns the entry of the last process for a message. The caller holds mu.
func (l *ledger) find(k entryKey, dup bool) *entry {
	if len(l.found) == 0 {
		return nil
	}
	keys := k.keys()
	for _, k := range keys[:2] {
		if known := l.found[k]; len(known) > 0 {
			e := known[0]
			l.lose(e)
			return e
		}
	}
	if dup {
		return nil
	}
	for len(l.found[keys[2]]) > 0 { // a new message has the identifier, so the old ones are not redelivered
		e := l.found[keys[2]][0]
		l.lose(e)
		l.client.DropNote(e.name)
	}
	return nil
}

// lose removes an entry from found. The caller holds mu.
func (l *ledger) lose(e *entry) {
	for _, k := range e.keys() {
		l.found[k] = slices.DeleteFunc(l.found[k], func(o *entry) bool { return o == e })
		if len(l.found[k]) == 0 {
			delete(l.found, k)
		}
	}
}

// begin durably records that the flow is about to run.
func (l *ledger) begin(e *entry, alone bool) error {
	l.mu.Lock()
	e.attempts++
	e.alone, e.running = alone, true
	lost := e.lost
	e.noted = !lost
	note := e.append(nil)
	l.mu.Unlock()
	if lost {
		return nil // it will not be redelivered
	}
	return l.client.SaveNote(context.Background(), e.name, note)
}

// failed records that a run of the flow has failed. givenUp is set if it was the last.
func (l *ledger) failed(e *entry, charged, givenUp bool) error {
	l.mu.Lock()
	e.running, e.givenUp = false, givenUp
	if !charged {
		e.attempts--
	}
	noted := e.noted && !e.lost
	note := e.append(nil)
	l.mu.Unlock()
	if !noted {
		return nil
	}
	return l.client.SaveNote(context.Background(), e.name, note)
}

// finish records that a message is to be acknowledged. If an earlier one is not done, that is made
// durable, so that this one is not run again after a crash. It is also made durable if this one is
// the proof for others, which may be acknowledged from now on: a crash must not bring the proof
// back.
func (l *ledger) finish(e *entry) {
	l.mu.Lock()
	e.done, e.running = true, false
	proof := slices.ContainsFunc(l.live, func(o *entry) bool { return o.done && o.noted && e.proves(o) })
	durable := !e.lost && (proof || sound(l.live, e))
	if durable {
		e.noted = true
	}
	note := e.append(nil)
	l.mu.Unlock()
	if durable {
		l.client.SaveNote(context.Background(), e.name, note) // if that fails, it runs again
	}
}

// settled must be called when the message with the given order was acknowledged. It removes the
// entries that are not needed after a crash: at QoS 2 that one, and at QoS 1 all acknowledged ones
// without an unacknowledged one before them.
func (l *ledger) settled(order uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept, waits := l.live[:0], false
	for _, e := range l.live {
		e.acked = e.acked || e.order == order
		waits = waits || e.qos == packets.AtLeastOnce && !e.acked && !e.lost
		switch {
		case !e.acked || waits && e.qos == packets.AtLeastOnce && !e.lost:
			kept = append(kept, e)
		case e.noted:
			l.client.DropNote(e.name)
		}
	}
	clear(l.live[len(kept):])
	l.live = kept
}

// interrupted reverts the attempts that Stop interrupts, since they did not fail.
func (l *ledger) interrupted(ctx context.Context) {
	l.mu.Lock()
	notes := make(map[string][]byte)
	for _, e := range l.live {
		if e.running && !e.lost {
			e.attempts--
			e.alone, e.running = false, false
			notes[e.name] = e.append(nil)
		}
	}
	l.mu.Unlock()
	for name, note := range notes {
		if l.client.SaveNote(ctx, name, note) != nil {
			return // they count as failed attempts
		}
	}
}

// sessionBegun must be called when a session has begun: see client.Delivery. Its first message may
// arrive before that and must not match entries of the last session, so take checks as well.
func (l *ledger) sessionBegun(session uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun(session)
}

// begun removes all entries of earlier sessions, whose messages are not redelivered. The caller
// holds mu.
func (l *ledger) begun(session uint16) {
	if int16(session-l.session) <= 0 {
		return
	}
	l.session = session
	for _, known := range l.found {
		for _, e := range known {
			l.client.DropNote(e.name)
		}
	}
	clear(l.found)
	for _, e := range l.live {
		if e.noted {
			l.client.DropNote(e.name)
		}
		e.noted, e.lost = false, true
	}
}

// The lengths of a note, by version. In the first version nothing was written when a run failed.
const (
	entrySize1 = 1 + 1 + 1 + 2 + 4 + 8 + 8 + 16
	entrySize  = entrySize1 + 4
)

const entryVersion = 2

const (
	flagDone = 1 << iota
	flagAlone
	flagRunning
	flagGivenUp
)

func flagIf(is bool, flag byte) byte {
	if is {
		return flag
	}
	return 0
}

// append appends the note of an entry.
func (e *entry) append(b []byte) []byte {
	flags := flagIf(e.done, flagDone) | flagIf(e.alone, flagAlone) | flagIf(e.running, flagRunning) | flagIf(e.givenUp, flagGivenUp)
	b = append(b, entryVersion, flags, byte(e.qos))
	b = binary.BigEndian.AppendUint16(b, e.id)
	b = binary.BigEndian.AppendUint32(b, e.attempts)
	b = binary.BigEndian.AppendUint64(b, e.start)
	b = binary.BigEndian.AppendUint64(b, e.order)
	b = append(b, e.print[:]...)
	return binary.BigEndian.AppendUint32(b, e.accused)
}

// parseEntry decodes the note of an entry, and reports whether it is one.
func parseEntry(name string, b []byte) (*entry, bool) {
	end := strings.LastIndexByte(name, '/')
	first := len(b) == entrySize1 && b[0] == 1
	if end < len(notePrefix) || !first && (len(b) != entrySize || b[0] != entryVersion) {
		return nil, false
	}
	e := &entry{name: name, qos: packets.QoS(b[2])}
	e.consumer = name[len(notePrefix):end]
	e.done, e.alone = b[1]&flagDone != 0, b[1]&flagAlone != 0
	e.running, e.givenUp = b[1]&flagRunning != 0, b[1]&flagGivenUp != 0
	e.id = binary.BigEndian.Uint16(b[3:])
	e.attempts = binary.BigEndian.Uint32(b[5:])
	e.start = binary.BigEndian.Uint64(b[9:])
	e.order = binary.BigEndian.Uint64(b[17:])
	copy(e.print[:], b[25:])
	if first {
		e.running = !e.done
	} else {
		e.accused = binary.BigEndian.Uint32(b[entrySize1:])
	}
	return e, true
}
