package session

import (
	"cmp"
	"slices"

	"github.com/mqtt311/mqtt311/packets"
)

// Restore returns a Session with the state in records, which are those that were saved and not
// forgotten, in any order. The driver must ignore Done outputs for messages of the earlier process,
// whose tokens it does not know. Without records, Restore is the same as New.
//
// The records do not say which messages were sent, because that would cost a record per packet, and
// a Forget may be late. So all messages are taken as possibly sent, and are sent with DUP set.
func Restore(cfg Config, records []Record) (*Session, error) {
	s, err := newSession(cfg)
	if err != nil {
		return nil, err
	}
	wasClean, scrubbed := false, false
	sorted := make([]*Record, len(records)) // pointers, because a Record is large
	for i := range records {
		sorted[i] = &records[i]
	}
	slices.SortFunc(sorted, func(a, b *Record) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Seq, b.Seq)) })
	byKind := make(map[RecordKind][]*Record)
	for rest := sorted; len(rest) > 0; {
		kind, n := rest[0].Kind, 1
		for n < len(rest) && rest[n].Kind == kind {
			n++
		}
		byKind[kind], rest = rest[:n], rest[n:]
	}
	for _, r := range byKind[RecordSession] {
		wasClean, scrubbed = r.Made == MadeClean, r.Made == MadeReleasing
	}
	for _, r := range byKind[RecordScrubbed] {
		s.send.scrub.base, s.send.scrub.done = r.Base, r.Seq
	}
	for _, r := range byKind[RecordSequence] {
		s.send.reserved = max(s.send.reserved, r.Seq)
	}
	s.send.restore(byKind[RecordPublish], byKind[RecordReleased])
	if scrubbed {
		s.send.unsent()
	}
	for _, r := range byKind[RecordReceived] {
		_, m := s.recv.add(r.PacketID, packets.ExactlyOnce, r.Fingerprint)
		m.acked, m.recorded = true, true
	}
	for _, r := range byKind[RecordFilter] {
		w := &wish{filter: r.Filter.Filter, qos: r.Filter.QoS, had: r.Filter.QoS, newest: true}
		s.subs.want(w)
		s.subs.owe(w)
	}
	if wasClean || s.cfg.CleanSession {
		s.recv.discard(s) // [MQTT-3.1.2-6]
		s.send.cleanLost(s)
	}
	made := MadeKept
	switch {
	case s.cfg.CleanSession:
		made = MadeClean
	case !s.cfg.NoScrub:
		made = MadeReleasing
	}
	s.save(Record{Kind: RecordSession, Made: made})
	for _, r := range byKind[RecordReleased] {
		if r.Seq < s.send.first || r.Seq >= s.send.end() || s.send.at(r.Seq).stage == over {
			s.forget(*r)
		}
	}
	return s, nil
}

// unsent marks messages as never sent if their Packet Identifiers are not recorded as released:
// they were waiting for that.
func (x *sender) unsent() {
	for seq := x.after(max(x.first, x.scrub.done)); seq < x.end() && !x.scrub.complete(); seq = x.after(seq + 1) {
		if d := x.at(seq); d.stage == published && d.pub.QoS == packets.ExactlyOnce {
			d.stage, d.left = queued, false
			x.waiting++
		}
	}
}

// restore adds messages in the order of their sequence numbers, and marks those that were released.
func (x *sender) restore(publishes, releases []*Record) {
	x.grow(len(publishes))
	x.first = x.reserved
	if len(publishes) > 0 {
		x.first = publishes[0].Seq
		x.reserved = max(x.reserved, publishes[len(publishes)-1].Seq+1)
	}
	for _, r := range publishes {
		x.next = r.Seq
		d := x.push(published)
		d.pub, d.left = *r.Publish, true
		d.pub.PacketID = packetID(r.Seq)
		x.live++
		x.bytes += len(d.pub.Topic) + len(d.pub.Payload)
	}
	x.next, x.scrub.began = x.reserved, uint32(x.reserved)
	slices.SortFunc(releases, func(a, b *Record) int { return cmp.Compare(a.Order, b.Order) })
	for _, r := range releases {
		if r.Seq < x.first || r.Seq >= x.end() || x.at(r.Seq).stage == over {
			continue
		}
		d := x.at(r.Seq)
		d.stage = released
		x.released = append(x.released, r.Seq)
		x.recs = r.Order
	}
	x.cursor = x.first
}
