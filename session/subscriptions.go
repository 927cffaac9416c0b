package session

import (
	"iter"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// Identifiers of SUBSCRIBE and UNSUBSCRIBE have a range of their own, so that they
// never meet one of a PUBLISH [MQTT-2.3.1-2]. They are no session state, section
// 3.1.2.4.
const (
	firstRequestID = publishIDs + 1
	maxRequests    = 16               // unanswered at a time
	isolateAfter   = 3                // closes in a row over SUBSCRIBE
	refusedAfter   = 3                // and then over one filter
	asideFor       = 10 * time.Minute // a filter that was granted before and that the Server closes over
)

// A wish is a subscription that is wanted, or wanted removed. It is owed until its
// SUBACK or UNSUBACK was read.
type wish struct {
	filter  string
	qos     packets.QoS
	had     packets.QoS // granted last; before that, qos
	remove  bool
	owed    bool
	asked   bool      // it is in a request on this Network Connection
	closes  int       // Network Connections in a row that had proved themselves and ended over it alone
	aside   time.Time // it is not asked for before then; zero: it may be
	renewed uint32    // subscriptions.epoch when it was granted though nobody asked; 0: never
	place   int       // in the result of op
	op      *operation
	newest  bool // no later wish for the filter

	in [3]links // its places in lists
}

// The lists of wishes.
const (
	inOrder = iota // the wanted set, in the order of the calls
	inOwed         // what is owed and in no request, in the order in which it is to be asked for
	inAside        // what is put aside, in the order of time
)

type links struct {
	prev, next *wish
	listed     bool
}

// A wishList is one of the lists: everything costs the same however many wishes there are.
type wishList struct {
	which       int
	first, last *wish
}

func (l *wishList) push(w *wish) {
	in := &w.in[l.which]
	if in.listed {
		return
	}
	*in = links{prev: l.last, listed: true}
	if l.last == nil {
		l.first = w
	} else {
		l.last.in[l.which].next = w
	}
	l.last = w
}

// unpop puts a wish at the front.
func (l *wishList) unpop(w *wish) {
	in := &w.in[l.which]
	if in.listed {
		return
	}
	*in = links{next: l.first, listed: true}
	if l.first == nil {
		l.last = w
	} else {
		l.first.in[l.which].prev = w
	}
	l.first = w
}

func (l *wishList) remove(w *wish) {
	in := w.in[l.which]
	if !in.listed {
		return
	}
	if in.prev == nil {
		l.first = in.next
	} else {
		in.prev.in[l.which].next = in.next
	}
	if in.next == nil {
		l.last = in.prev
	} else {
		in.next.in[l.which].prev = in.prev
	}
	w.in[l.which] = links{}
}

func (l *wishList) empty() bool { return l.first == nil }

// all yields the wishes; the one that was yielded may be removed.
func (l *wishList) all() iter.Seq[*wish] {
	return func(yield func(*wish) bool) {
		for w := l.first; w != nil; {
			next := w.in[l.which].next
			if !yield(w) {
				return
			}
			w = next
		}
	}
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
	copies []uint16 // the identifiers of earlier copies: see AskAgain
	kind   packets.Type
	wishes []*wish
	sent   uint64 // its first Send
}

// answeredBy reports whether the answer with an identifier is one to the request.
func (r *request) answeredBy(id uint16) bool { return r.id == id || slices.Contains(r.copies, id) }

// mostCopies is how many copies of a request may still be answered, beside the newest.
const mostCopies = 16

// subscriptions is the wanted set and what became of it. What is owed and in no request is in owed,
// or in suspicions.aside.
type subscriptions struct {
	// Valid for the session.
	wanted map[string]*wish
	order  wishList
	owed   wishList
	tokens uint64
	epoch  uint32 // counts the Network Connections that ended
	alone  bool   // one filter at a time, to find the one that makes the Server close

	// Valid for one Network Connection.
	nextID   uint16
	requests []*request // in the order in which they were sent
}

// Subscribe subscribes to Topic Filters; Results of the Done are the Server's answers. Each filter
// stays wanted until it is unsubscribed or refused in answer to this call, and is subscribed to
// again whenever the Server may have lost it. If that is under way, or was done on this Network
// Connection and no Subscribe has used its result yet, Subscribe uses that result, so that the
// Server does not send its retained messages twice. For an invalid filter the error is a
// [*packets.EncodeError], and nothing has changed.
func (s *Session) Subscribe(now time.Time, subs ...packets.Subscription) (Token, error) {
	check := packets.Subscribe{PacketID: firstRequestID, Subscriptions: subs}
	if err := check.Check(); err != nil {
		return 0, err
	}
	op := s.operation(len(subs))
	for i, sub := range subs {
		s.wish(&wish{filter: sub.Filter, qos: sub.QoS, had: sub.QoS, op: op, place: i})
	}
	s.pump(now)
	return op.token, nil
}

// Unsubscribe unsubscribes from Topic Filters, which are no longer wanted. Messages for them may
// still arrive until Done; they are delivered and acknowledged as usual [MQTT-3.10.4-3].
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

// Wanted returns the Topic Filters that are subscribed to or requested, in the order of the calls.
func (s *Session) Wanted() []packets.Subscription {
	var subs []packets.Subscription
	for w := range s.subs.order.all() {
		if !w.remove {
			subs = append(subs, packets.Subscription{Filter: w.filter, QoS: w.qos})
		}
	}
	return subs
}

// Ungranted returns the wanted Topic Filters for which the Server has not answered a SUBSCRIBE, in
// the order of the calls. Refused filters are not included.
func (s *Session) Ungranted() []string {
	b := &s.subs
	if b.owed.empty() && len(b.requests) == 0 && (s.suspected == nil || s.suspected.aside.empty()) {
		return nil
	}
	var filters []string
	for w := range b.order.all() {
		if w.owed && !w.remove {
			filters = append(filters, w.filter)
		}
	}
	return filters
}

// AskAgain sends again, under a new Packet Identifier, each SUBSCRIBE and UNSUBSCRIBE that the
// Server has not answered on this Network Connection, and returns their number. An answer to any
// copy will do. Requests that a later one has replaced are not sent again.
func (s *Session) AskAgain() int {
	if s.conn.phase != up {
		return 0
	}
	b := &s.subs
	b.requests = slices.DeleteFunc(b.requests, func(r *request) bool {
		asked := len(r.wishes)
		r.wishes = slices.DeleteFunc(r.wishes, func(w *wish) bool {
			if !w.newest {
				w.asked = false
				s.answer(w, 0, ErrSuperseded)
			}
			return !w.newest
		})
		if len(r.wishes) < asked {
			r.copies = nil // their answers have more codes
		} else if r.copies = append(r.copies, r.id); len(r.copies) > mostCopies {
			r.copies = slices.Delete(r.copies, 0, 1)
		}
		return len(r.wishes) == 0
	})
	for _, r := range b.requests {
		r.id = b.freeID()
		s.transmit(r.kind, r.packet(), r.id, 0)
	}
	return len(b.requests)
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
	w.newest = true
	w.op.results[w.place].Filter = w.filter
	if old := b.wanted[w.filter]; old != nil {
		if s.adopt(old, w) {
			return
		}
		old.newest = false
		s.unlist(old)
		if !old.asked {
			s.answer(old, 0, ErrSuperseded)
		}
	}
	b.want(w)
	b.owe(w)
	if !w.remove {
		s.save(Record{Kind: RecordFilter, Filter: packets.Subscription{Filter: w.filter, QoS: w.qos}})
	}
}

// adopt makes a wish that was asked for again by itself the one of a caller who wants the same, and
// reports whether it did.
func (s *Session) adopt(old, w *wish) bool {
	if old.op != nil || old.remove || w.remove || old.qos != w.qos || s.conn.phase != up {
		return false
	}
	granted := !old.owed && old.renewed == s.subs.epoch+1
	if !granted && !old.asked {
		return false
	}
	old.op, old.place, old.renewed = w.op, w.place, 0
	if granted {
		s.answer(old, old.had, nil)
	}
	return true
}

// want adds a wish to the wanted set.
func (b *subscriptions) want(w *wish) {
	if b.wanted == nil {
		b.wanted = make(map[string]*wish)
		b.owed.which = inOwed
	}
	b.wanted[w.filter] = w
	b.order.push(w)
}

// owe makes a wish owed, and one to be asked for unless it is in a request or put aside.
func (b *subscriptions) owe(w *wish) {
	w.owed = true
	if !w.asked && w.aside.IsZero() {
		b.owed.push(w)
	}
}

func (s *Session) unlist(w *wish) {
	s.subs.order.remove(w)
	s.subs.owed.remove(w)
	if s.suspected != nil {
		s.suspected.aside.remove(w)
	}
}

// unwant takes a filter out of the wanted set.
func (s *Session) unwant(w *wish) {
	if !w.newest {
		return
	}
	s.unlist(w)
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

// request sends what is owed, as many filters to a packet as are allowed.
//
// While one that the Server closes over is looked for, one goes at a time, on a connection that has
// proved itself and when nothing else is unanswered: a close then counts against the filter. It
// reports whether new messages have to wait for that moment.
func (s *Session) request(now time.Time) (wait bool) {
	b := &s.subs
	if s.suspected != nil {
		s.fetchAside(now)
	}
	if b.owed.empty() {
		return false
	}
	if b.alone {
		switch {
		case len(b.requests) > 0 || !s.proved(now):
			return false
		case s.send.inflight > 0 || s.send.scrub.busy:
			return true
		}
		s.transmitRequest([]*wish{b.least()})
		return false
	}
	for !b.owed.empty() && len(b.requests) < maxRequests {
		var batch []*wish
		for w := range b.owed.all() {
			if len(batch) == s.cfg.FiltersPerPacket || len(batch) > 0 && batch[0].remove != w.remove {
				break
			}
			batch = append(batch, w)
		}
		s.transmitRequest(batch)
	}
	return false
}

// least returns the first owed wish among those that least counts against: they need not wait for
// the verdict about another.
func (b *subscriptions) least() *wish {
	least := b.owed.first
	for w := range b.owed.all() {
		if w.closes < least.closes {
			least = w
		}
		if least.closes == 0 {
			break
		}
	}
	return least
}

// fetchAside makes what was put aside owed again when its time has come. It is still the suspect.
func (s *Session) fetchAside(now time.Time) {
	aside := &s.suspected.aside
	for w := aside.first; w != nil && !now.Before(w.aside); w = aside.first {
		aside.remove(w)
		w.aside = time.Time{}
		s.subs.alone = true
		s.subs.owe(w)
	}
}

// asideEnds returns when something that was put aside is due; the zero time if nothing was.
func (x *suspicions) asideEnds() time.Time {
	if x.aside.empty() {
		return time.Time{}
	}
	return x.aside.first.aside
}

// heldBack reports whether something owed waits for the connection to prove itself.
func (b *subscriptions) heldBack() bool { return b.alone && !b.owed.empty() }

func (s *Session) transmitRequest(wishes []*wish) {
	b := &s.subs
	r := &request{id: b.freeID(), kind: packets.SUBSCRIBE, wishes: wishes}
	if wishes[0].remove {
		r.kind = packets.UNSUBSCRIBE
	}
	for _, w := range wishes {
		w.asked = true
		b.owed.remove(w)
	}
	b.requests = append(b.requests, r)
	r.sent = s.transmit(r.kind, r.packet(), r.id, 0)
}

// packet returns the SUBSCRIBE or UNSUBSCRIBE of the request.
func (r *request) packet() packets.Packet {
	if r.kind == packets.UNSUBSCRIBE {
		p := &packets.Unsubscribe{PacketID: r.id}
		for _, w := range r.wishes {
			p.Filters = append(p.Filters, w.filter)
		}
		return p
	}
	p := &packets.Subscribe{PacketID: r.id}
	for _, w := range r.wishes {
		p.Subscriptions = append(p.Subscriptions, packets.Subscription{Filter: w.filter, QoS: w.qos})
	}
	return p
}

// freeID returns the next identifier that no request holds; at most maxRequests of them, and their
// copies, do.
func (b *subscriptions) freeID() uint16 {
	for {
		id := max(b.nextID, firstRequestID)
		b.nextID = id + 1 // 0 after the last
		if !slices.ContainsFunc(b.requests, func(r *request) bool { return r.answeredBy(id) }) {
			return id
		}
	}
}

// take removes the request that an answer belongs to [MQTT-2.3.1-7]; an answer of
// the wrong kind belongs to none.
func (b *subscriptions) take(id uint16, kind packets.Type) *request {
	for i, r := range b.requests {
		if r.answeredBy(id) && r.kind == kind {
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
	if s.suspected != nil {
		s.suspected.filterCloses = 0
	}
	for i, w := range r.wishes { // they are in no list but that of what is wanted
		w.asked, w.owed, w.closes = false, false, 0
		if p.Codes[i] < packets.SubscribeFailure {
			qos := packets.QoS(p.Codes[i])
			if w.op == nil && w.newest && qos < w.had {
				s.notify(Event{Kind: EventSubscriptionDowngraded, Filter: w.filter, QoS: qos})
			}
			w.had = qos
			if w.renewed = 0; w.op == nil {
				w.renewed = b.epoch + 1
			}
			s.answer(w, qos, nil)
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
	for w := range b.order.all() {
		b.owed.remove(w)
		b.owe(w)
	}
}

// lost makes everything owed that the Server may not have heard or done.
func (b *subscriptions) lost(s *Session, loss Loss, wasUp bool) {
	for _, r := range b.requests {
		for _, w := range r.wishes {
			w.asked = false
			if w.op != nil && r.sent <= loss.Position {
				w.op.left = true
			}
			if !w.newest {
				s.answer(w, 0, ErrSuperseded)
			}
		}
	}
	for _, r := range slices.Backward(b.requests) {
		for _, w := range slices.Backward(r.wishes) {
			if w.newest && w.aside.IsZero() {
				b.owed.unpop(w)
			}
		}
	}
	b.requests = b.requests[:0]
	b.epoch++
	if !wasUp && s.conn.connectN <= loss.Position || s.cfg.CleanSession {
		b.oweAll() // a CONNECT without its CONNACK may have made a new session
	}
}

// filterSuspected counts a close by the Server against a SUBSCRIBE. Only when it was alone does that
// count against its filter.
func (s *Session) filterSuspected(now time.Time, r *request) {
	b, x := &s.subs, s.suspect()
	if now.Sub(x.filterClosed) >= suspicionLasts {
		x.filterCloses = 0
	}
	x.filterClosed = now
	x.filterCloses++
	if !b.alone {
		b.alone = x.filterCloses >= isolateAfter
		return
	}
	w := r.wishes[0]
	if len(r.wishes) > 1 || !w.newest {
		return
	}
	if w.closes++; w.closes < refusedAfter {
		return
	}
	x.filterCloses, b.alone = 0, false
	err := &FilterError{Filter: w.filter}
	if w.op != nil {
		s.refuse(w, err, true)
		return
	}
	// It was granted before: it stays wanted.
	w.closes, w.aside = refusedAfter-1, now.Add(asideFor)
	b.owed.remove(w)
	x.aside.push(w)
	s.notify(Event{Kind: EventSubscriptionRefused, Filter: w.filter, Err: err})
}

// endIsolation goes back to several filters a packet when none is owed any more.
func (s *Session) endIsolation() {
	b := &s.subs
	if b.owed.empty() && len(b.requests) == 0 {
		b.alone = false
	}
}
