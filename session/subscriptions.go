package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// Identifiers of SUBSCRIBE and UNSUBSCRIBE have a range of their own, so that they
// never meet one of a PUBLISH [MQTT-2.3.1-2]. They are no session state, section
// 3.1.2.4.
const (
	firstRequestID = publishIDs + 1
	maxRequests    = 16 // unanswered at a time
	isolateAfter   = 3  // closes in a row over SUBSCRIBE
	refusedAfter   = 3  // and then over one filter
)

// A wish is a subscription that is wanted, or wanted removed. It is owed until its
// SUBACK or UNSUBACK was read.
type wish struct {
	filter string
	qos    packets.QoS
	remove bool
	owed   bool
	asked  bool // it is in a request on this Network Connection
	closes int  // Network Connections in a row that had proved themselves and ended over it alone
	place  int  // in the result of op
	op     *operation
	newest bool // no later wish for the filter
}

// An operation is a Subscribe or Unsubscribe of the caller.
type operation struct {
	token   Token
	results []FilterResult
	open    int
	left    bool // bytes of it may have left
}

// A request is a SUBSCRIBE or UNSUBSCRIBE without its answer.
type request struct {
	id     uint16
	kind   packets.Type
	wishes []*wish
	sent   uint64 // its Send
}

// subscriptions is the wanted set and what became of it.
type subscriptions struct {
	// Valid for the session.
	wanted map[string]*wish
	order  []*wish // the wanted set in the order of the calls
	tokens uint64
	closes int  // Network Connections in a row that ended over a SUBSCRIBE
	alone  bool // one filter at a time, to find the one that makes the Server close

	// Valid for one Network Connection.
	nextID   uint16
	requests []*request // in the order in which they were sent
}

// Subscribe makes filters wanted; Done brings what the Server answered for each. A
// filter stays wanted, and is asked for again whenever the Server may not know it,
// until it is unsubscribed or refused here. The error is [*packets.EncodeError] for
// a filter that is none; then nothing happened.
func (s *Session) Subscribe(now time.Time, subs ...packets.Subscription) (Token, error) {
	check := packets.Subscribe{PacketID: firstRequestID, Subscriptions: subs}
	if err := check.Check(); err != nil {
		return 0, err
	}
	op := s.operation(len(subs))
	for i, sub := range subs {
		s.wish(&wish{filter: sub.Filter, qos: sub.QoS, op: op, place: i})
	}
	s.pump(now)
	return op.token, nil
}

// Unsubscribe makes filters unwanted. Messages for them may still come until Done
// and are delivered and acknowledged like others [MQTT-3.10.4-3].
func (s *Session) Unsubscribe(now time.Time, filters ...string) (Token, error) {
	check := packets.Unsubscribe{PacketID: firstRequestID, Filters: filters}
	if err := check.Check(); err != nil {
		return 0, err
	}
	op := s.operation(len(filters))
	for i, f := range filters {
		s.wish(&wish{filter: f, remove: true, op: op, place: i})
	}
	s.pump(now)
	return op.token, nil
}

// Wanted returns the Topic Filters that are subscribed or to be, in the order of the
// calls.
func (s *Session) Wanted() []packets.Subscription {
	var subs []packets.Subscription
	for _, w := range s.subs.order {
		if !w.remove {
			subs = append(subs, packets.Subscription{Filter: w.filter, QoS: w.qos})
		}
	}
	return subs
}

func (s *Session) operation(n int) *operation {
	s.subs.tokens++
	return &operation{
		token:   tokenRequest | Token(s.subs.tokens),
		results: make([]FilterResult, n),
		open:    n,
	}
}

// wish puts a wish in the place of an earlier one for the same filter.
func (s *Session) wish(w *wish) {
	b := &s.subs
	w.owed, w.newest = true, true
	w.op.results[w.place].Filter = w.filter
	if old := b.wanted[w.filter]; old != nil {
		old.newest = false
		b.unlist(old)
		if !old.asked {
			s.answer(old, 0, ErrSuperseded)
		}
	}
	if b.wanted == nil {
		b.wanted = make(map[string]*wish)
	}
	b.wanted[w.filter] = w
	b.order = append(b.order, w)
	if !w.remove {
		s.save(Record{Kind: RecordFilter, Filter: packets.Subscription{Filter: w.filter, QoS: w.qos}})
	}
}

func (b *subscriptions) unlist(w *wish) {
	if i := slices.Index(b.order, w); i >= 0 {
		b.order = slices.Delete(b.order, i, i+1)
	}
}

// unwant takes a filter out of the wanted set.
func (s *Session) unwant(w *wish) {
	if !w.newest {
		return
	}
	s.subs.unlist(w)
	delete(s.subs.wanted, w.filter)
	s.forget(Record{Kind: RecordFilter, Filter: packets.Subscription{Filter: w.filter}})
}

// answer ends a wish for its caller, if one waits.
func (s *Session) answer(w *wish, qos packets.QoS, err error) {
	op := w.op
	if op == nil {
		return
	}
	w.op = nil
	r := &op.results[w.place]
	r.QoS, r.Err = qos, err
	op.open--
	if op.open > 0 {
		return
	}
	for _, r := range op.results {
		if r.Err != nil {
			err = r.Err
			break
		}
	}
	o := s.put(Done)
	o.Token, o.Err, o.Results = op.token, err, op.results
}

// request sends what is owed, as many filters to a packet as are allowed. While one that the
// Server closes over is looked for it waits for a connection that has proved itself: a close then
// counts against the filter.
func (s *Session) request(now time.Time) {
	b := &s.subs
	perPacket, most, order := s.cfg.FiltersPerPacket, maxRequests, b.order
	if b.alone {
		if !s.proved(now) || len(b.requests) > 0 {
			return
		}
		perPacket, most = 1, 1
		order = slices.Clone(order) // those that nothing counts against need not wait for the verdict
		slices.SortStableFunc(order, func(v, w *wish) int { return cmp.Compare(v.closes, w.closes) })
	}
	var batch []*wish
	flush := func() {
		if len(batch) > 0 {
			s.transmitRequest(batch)
			batch = nil
		}
	}
	for _, w := range order {
		if !w.owed || w.asked {
			continue
		}
		if len(b.requests) >= most {
			return
		}
		if len(batch) > 0 && batch[0].remove != w.remove {
			flush()
			if len(b.requests) >= most {
				return
			}
		}
		batch = append(batch, w)
		if len(batch) == perPacket {
			flush()
		}
	}
	flush()
}

// heldBack tells whether something owed waits for the connection to prove itself.
func (b *subscriptions) heldBack() bool {
	return b.alone && slices.ContainsFunc(b.order, func(w *wish) bool { return w.owed && !w.asked })
}

func (s *Session) transmitRequest(wishes []*wish) {
	b := &s.subs
	id := b.freeID()
	r := &request{id: id, kind: packets.SUBSCRIBE, wishes: wishes}
	var p packets.Packet
	if wishes[0].remove {
		r.kind = packets.UNSUBSCRIBE
		u := &packets.Unsubscribe{PacketID: id}
		for _, w := range wishes {
			u.Filters = append(u.Filters, w.filter)
		}
		p = u
	} else {
		u := &packets.Subscribe{PacketID: id}
		for _, w := range wishes {
			u.Subscriptions = append(u.Subscriptions, packets.Subscription{Filter: w.filter, QoS: w.qos})
		}
		p = u
	}
	for _, w := range wishes {
		w.asked = true
	}
	b.requests = append(b.requests, r)
	r.sent = s.transmit(r.kind, p, id, 0)
}

// freeID returns the next identifier that no request holds; at most maxRequests do.
func (b *subscriptions) freeID() uint16 {
	for {
		id := max(b.nextID, firstRequestID)
		b.nextID = id + 1 // 0 after the last
		if !slices.ContainsFunc(b.requests, func(r *request) bool { return r.id == id }) {
			return id
		}
	}
}

// take removes the request that an answer belongs to [MQTT-2.3.1-7]; an answer of
// the wrong kind belongs to none.
func (b *subscriptions) take(id uint16, kind packets.Type) *request {
	for i, r := range b.requests {
		if r.id == id && r.kind == kind {
			b.requests = slices.Delete(b.requests, i, i+1)
			return r
		}
	}
	return nil
}

// suback ends the request that it names [MQTT-3.8.4-1] [MQTT-3.8.4-2]. It has one code
// per filter [MQTT-3.8.4-5] in the order of the filters
// [MQTT-3.9.3-1].
func (s *Session) suback(p *packets.Suback) {
	b := &s.subs
	r := b.take(p.PacketID, packets.SUBSCRIBE)
	if r == nil {
		s.counters.UnexpectedAcks++
		return
	}
	if len(p.Codes) != len(r.wishes) {
		b.requests = append(b.requests, r) // unanswered: the connection's end settles it
		s.violation(packets.SUBACK, "MQTT-3.8.4-5", "number of return codes is not the number of filters")
		return
	}
	b.closes = 0
	for i, w := range r.wishes {
		w.asked, w.owed, w.closes = false, false, 0
		if p.Codes[i] < packets.SubscribeFailure {
			s.answer(w, packets.QoS(p.Codes[i]), nil)
			continue
		}
		s.counters.SubackFailures++
		s.refuse(w, &FilterError{Filter: w.filter, Code: p.Codes[i]}, w.op != nil)
	}
	s.endIsolation()
}

// refuse ends a wish that the Server does not grant, be it that it does not support
// wildcards [MQTT-3.8.3-2]. One that a caller waits for is
// not wanted any more; one that was granted before stays wanted and is asked for
// again on the next Network Connection.
func (s *Session) refuse(w *wish, err *FilterError, unwant bool) {
	if unwant {
		s.unwant(w)
	}
	if w.op == nil {
		s.notify(Event{Kind: EventSubscriptionRefused, Filter: w.filter, Err: err})
	}
	s.answer(w, 0, err)
}

// unsuback ends the request that it names [MQTT-3.10.4-4], also if the Server had nothing
// to remove [MQTT-3.10.4-5].
func (s *Session) unsuback(id uint16) {
	r := s.subs.take(id, packets.UNSUBSCRIBE)
	if r == nil {
		s.counters.UnexpectedAcks++
		return
	}
	for _, w := range r.wishes {
		w.asked, w.owed = false, false
		s.unwant(w)
		s.answer(w, 0, nil)
	}
}

// oweAll makes every wish owed, because the Server may know none of them.
func (b *subscriptions) oweAll() {
	for _, w := range b.order {
		w.owed = true
	}
}

// lost makes everything owed that the Server may not have heard or done.
func (b *subscriptions) lost(s *Session, loss Loss, wasUp bool) {
	if !wasUp && s.conn.connectN <= loss.Position || s.cfg.CleanSession {
		b.oweAll() // a CONNECT without its CONNACK may have made a new session
	}
	subscribing := 0
	var last *wish
	for _, r := range b.requests {
		for _, w := range r.wishes {
			w.asked = false
			if w.op != nil && r.sent <= loss.Position {
				w.op.left = true
			}
			if !w.newest {
				s.answer(w, 0, ErrSuperseded)
				continue
			}
			if r.kind == packets.SUBSCRIBE {
				subscribing++
				last = w
			}
		}
	}
	b.requests = b.requests[:0]
	if subscribing == 0 || loss.By != ByPeer {
		return
	}
	b.closes++
	switch {
	case b.alone && subscribing == 1:
		if last.closes++; last.closes == refusedAfter {
			s.refuse(last, &FilterError{Filter: last.filter}, true)
			b.closes, b.alone = 0, false
		}
	case b.closes >= isolateAfter:
		b.alone = true
	}
}

// endIsolation goes back to several filters a packet when none is owed any more.
func (s *Session) endIsolation() {
	b := &s.subs
	if !b.alone {
		return
	}
	for _, w := range b.order {
		if w.owed {
			return
		}
	}
	b.alone = false
}
