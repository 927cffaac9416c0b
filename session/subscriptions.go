package session

import (
	"iter"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// SUBSCRIBE and UNSUBSCRIBE have their own range of identifiers, so that they never collide with
// those of PUBLISH [MQTT-2.3.1-2]. They are not part of the Session state (section 3.1.2.4).
const (
	firstRequestID = publishIDs + 1
	maxRequests    = 16               // unanswered at a time
	isolateAfter   = 3                // closes in a row over SUBSCRIBE
	refusedAfter   = 3                // and then over one filter
	asideFor       = 10 * time.Minute // how long to put aside a filter that was granted before and now makes the Server close
)

// A wish is a subscription to be made or removed. It is owed until its SUBACK or UNSUBACK has
// arrived.
type wish struct {
	filter  string
	qos     packets.QoS
	had     packets.QoS // last granted; qos if never granted
	remove  bool
	owed    bool
	asked   bool      // it is in a request on this Network Connection
	closes  int       // proven Network Connections in a row that ended because of it alone
	aside   time.Time // it is not requested before then; zero: no limit
	renewed uint32    // subscriptions.epoch when it was granted without a caller; 0: never
	place   int       // in the result of op
	op      *operation
	newest  bool // no later wish for the filter

	in [3]links // its places in lists
}

// The indices of the lists of wishes.
const (
	inOrder = iota // the wanted set, in the order of the calls
	inOwed         // owed and in no request, in the order of sending
	inAside        // put aside, ordered by time
)

type links struct {
	prev, next *wish
	listed     bool
}

// A wishList is a doubly linked list of wishes. All operations take constant time.
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

// all yields the wishes. The current one may be removed.
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

// answeredBy reports whether an answer with the identifier belongs to the request.
func (r *request) answeredBy(id uint16) bool { return r.id == id || slices.Contains(r.copies, id) }

// mostCopies is how many copies of a request, besides the last, may still be answered.
const mostCopies = 16

// subscriptions is the set of wanted subscriptions and their state. Wishes that are owed and in no
// request are in owed or suspicions.aside.
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
			r.copies = nil // their answers would have more codes
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

// wish adds a wish, replacing an earlier one for the same filter.
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

// adopt lets a caller use the result of a subscription that was renewed automatically, if it wants
// the same, and reports whether it does.
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

// want adds a wish to the set of wanted subscriptions.
func (b *subscriptions) want(w *wish) {
	if b.wanted == nil {
		b.wanted = make(map[string]*wish)
		b.owed.which = inOwed
	}
	b.wanted[w.filter] = w
	b.order.push(w)
}

// owe makes a wish owed, and queues it for sending unless it is in a request or put aside.
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

// unwant removes a filter from the set of wanted subscriptions.
func (s *Session) unwant(w *wish) {
	if !w.newest {
		return
	}
	s.unlist(w)
	delete(s.subs.wanted, w.filter)
	s.forget(Record{Kind: RecordFilter, Filter: packets.Subscription{Filter: w.filter}})
}

// answer reports the result of a wish to its caller, if there is one.
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

// request sends the owed wishes, with up to FiltersPerPacket filters in a packet.
//
// While it searches for a filter that makes the Server close, it sends one at a time, on a proven
// connection and when nothing else is unanswered, so that a close counts against that filter. It
// reports whether new messages must wait for that.
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
		case s.send.inflight > 0 || s.send.scrub.busy || s.sweepBusy():
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

// least returns the first of the owed wishes with the fewest closes, so that they need not wait for
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

// fetchAside makes wishes that were put aside owed again when their time has come. They are still
// suspected.
func (s *Session) fetchAside(now time.Time) {
	aside := &s.suspected.aside
	for w := aside.first; w != nil && !now.Before(w.aside); w = aside.first {
		aside.remove(w)
		w.aside = time.Time{}
		s.subs.alone = true
		s.subs.owe(w)
	}
}

// asideEnds returns when the first wish put aside is due, or the zero time if there is none.
func (x *suspicions) asideEnds() time.Time {
	if x.aside.empty() {
		return time.Time{}
	}
	return x.aside.first.aside
}

// heldBack reports whether an owed wish waits until the connection is proven.
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

// freeID returns the next identifier that no request uses; at most maxRequests requests, with their
// copies, use some.
func (b *subscriptions) freeID() uint16 {
	for {
		id := max(b.nextID, firstRequestID)
		b.nextID = id + 1 // 0 after the last
		if !slices.ContainsFunc(b.requests, func(r *request) bool { return r.answeredBy(id) }) {
			return id
		}
	}
}

// take removes and returns the request that an answer belongs to [MQTT-2.3.1-7]. An answer of the
// wrong type belongs to none.
func (b *subscriptions) take(id uint16, kind packets.Type) *request {
	for i, r := range b.requests {
		if r.answeredBy(id) && r.kind == kind {
			b.requests = slices.Delete(b.requests, i, i+1)
			return r
		}
	}
	return nil
}

// suback completes the request with its identifier [MQTT-3.8.4-1] [MQTT-3.8.4-2]. It has one code
// per filter [MQTT-3.8.4-5], in the order of the filters [MQTT-3.9.3-1].
func (s *Session) suback(p *packets.Suback) {
	b := &s.subs
	r := b.take(p.PacketID, packets.SUBSCRIBE)
	if r == nil {
		s.counters.UnexpectedAcks++
		return
	}
	if len(p.Codes) != len(r.wishes) {
		b.requests = append(b.requests, r) // still unanswered; settled when the connection ends
		s.violation(packets.SUBACK, "MQTT-3.8.4-5", "number of return codes is not the number of filters")
		return
	}
	if s.suspected != nil {
		s.suspected.filterCloses = 0
	}
	for i, w := range r.wishes { // they are in no list except inOrder
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

// refuse handles a wish that the Server does not grant, for example because it does not support
// wildcards [MQTT-3.8.3-2]. If a caller waits for it, it is no longer wanted. If it was granted
// before, it stays wanted and is requested again on the next Network Connection.
func (s *Session) refuse(w *wish, err *FilterError, unwant bool) {
	if unwant {
		s.unwant(w)
	}
	if w.op == nil {
		s.notify(Event{Kind: EventSubscriptionRefused, Filter: w.filter, Err: err})
	}
	s.answer(w, 0, err)
}

// unsuback completes the request with its identifier [MQTT-3.10.4-4], even if the Server had no
// such subscription [MQTT-3.10.4-5].
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

// oweAll makes every wish owed, because the Server may have lost all subscriptions.
func (b *subscriptions) oweAll() {
	for w := range b.order.all() {
		b.owed.remove(w)
		b.owe(w)
	}
}

// lost makes every wish owed that the Server may not have processed.
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

// filterSuspected counts a close by the Server against a SUBSCRIBE, and against its filter if it
// had only one.
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

// endIsolation returns to several filters per packet when no wish is owed.
func (s *Session) endIsolation() {
	b := &s.subs
	if b.owed.empty() && len(b.requests) == 0 {
		b.alone = false
	}
}
