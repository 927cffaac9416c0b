package clientsim

import (
	"maps"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/internal/disk"
	"github.com/mqtt311/mqtt311/packets"
)

// Either side may come back from an older copy of its state. Then the other one knows more, and some
// messages are lost or come twice: those that the older copy explains, and no others.

// A snapshot is a state that a server comes back from.
type snapshot struct {
	server   server
	arrivals []int // of outMessages, by number
	injected int   // how many inMessages there were
}

// snapshot copies the state of the server.
func (w *world) snapshot() *snapshot {
	c := &snapshot{server: w.server.state(), injected: len(w.incoming)}
	for _, m := range w.out {
		c.arrivals = append(c.arrivals, m.arrivals)
	}
	return c
}

// state copies what a server stores.
func (s *server) state() server {
	own := server{granted: maps.Clone(s.granted), holds: maps.Clone(s.holds), waiting: slices.Clone(s.waiting), nextID: s.nextID}
	for _, h := range s.flight {
		x := *h
		own.flight = append(own.flight, &x)
	}
	return own
}

// restartServer sometimes lets the server come back from a recent snapshot.
func (w *world) restartServer(stop <-chan struct{}) {
	r := w.random(7)
	wait := func(most time.Duration) bool {
		select {
		case <-time.After(upTo(r, most)):
			return true
		case <-stop:
			return false
		}
	}
	var s *snapshot
	for range w.profile.restarts {
		if !wait(some(r, time.Second, 20*time.Second)) {
			return
		}
		w.mu.Lock()
		if s == nil || chance(r, 70) { // otherwise the same snapshot again
			s = nil
			if w.server.session {
				s = w.snapshot()
			}
		}
		w.mu.Unlock()
		if !wait(2 * time.Second) {
			return
		}
		w.mu.Lock()
		if s != nil && !w.calm && !w.over {
			w.rollBack(s, chance(r, 50))
		}
		w.mu.Unlock()
	}
}

// rollBack puts the server back, and allows what follows from that. To the client it looks as if
// the server closed the connection, or as if the network broke it.
func (w *world) rollBack(c *snapshot, looksLikeServer bool) {
	w.rollbacks++
	w.oldServer = true
	w.logf("server  comes back from a snapshot, after which %d messages arrived", w.arrivedSince(c))
	s := &w.server
	for _, p := range slices.Clone(s.peers) {
		w.serverLost(p)
		if looksLikeServer {
			s.closed++
			p.conn.Close()
			continue
		}
		for _, x := range []*stream{p.conn.in, p.conn.out} {
			x.lose(func(int) int { return 0 })
			x.end(errCut, errCut)
		}
	}
	for id, m := range s.holds { // with method A it was not delivered yet, and nobody sends it again
		if c.server.holds[id] != m && w.profile.methodA {
			m.mayLose = true
		}
	}
	for n, m := range w.out { // the server has forgotten that it delivered these
		m.mayDouble = m.mayDouble || n >= len(c.arrivals) && m.arrivals > 0 || n < len(c.arrivals) && m.arrivals > c.arrivals[n]
	}
	for _, m := range w.incoming[c.injected:] {
		m.dropped = true
	}
	for _, h := range c.server.flight { // and that these were acknowledged; copies may be in flight
		if !h.released {
			h.msg.comesAgain()
		}
	}
	for _, m := range c.server.waiting {
		m.comesAgain()
	}
	for _, f := range filters { // Session Present does not reveal a lost subscription
		was, ok := s.granted[f]
		is, still := c.server.granted[f]
		w.unsure[f] = w.unsure[f] || ok != still || was != is
	}
	again := c.server.state() // the snapshot may be used again
	s.granted, s.holds, s.flight, s.waiting, s.nextID = again.granted, again.holds, again.flight, again.waiting, again.nextID
	if w.wasOlder {
		// A process that started from an older copy reuses identifiers from there on, after the server has released them.
		// The rollback undoes the release: a message under such an identifier is lost, and neither side can know.
		s.stale = make(map[uint16]bool)
		for id := range s.holds {
			s.stale[id] = true
		}
	}
}

func (w *world) arrivedSince(c *snapshot) (n int) {
	for i, m := range w.out {
		n += m.arrivals
		if i < len(c.arrivals) {
			n -= c.arrivals[i]
		}
	}
	return n
}

// older returns an older copy of the disk, as an operator might restore it, or nil. It discards
// later copies, which belong to a history that the restored disk does not have.
func (w *world) older(copies *[]*disk.RAM) *disk.RAM {
	r := w.process.random(7)
	if len(*copies) == 0 || !chance(r, w.profile.older) {
		return nil
	}
	i := r.IntN(len(*copies))
	*copies = (*copies)[:i+1]
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rollbacks++
	w.olderDisk = true
	w.logf("disk    an older copy is put back: %d of %d", i, len(*copies))
	return (*copies)[i].Copy(r)
}

// forgets allows what may follow when a process starts from an older copy of its store.
func (w *world) forgets(d *durable) {
	for _, m := range w.out {
		if _, kept := d.messages[m.number]; !kept {
			m.mayLose = true
			continue
		}
		// Whatever happened to it since, it is sent again.
		m.mayDouble, m.mayReturn, m.left = true, true, false
	}
	for _, h := range w.server.flight {
		// After the server has come back, the identifier in the copy may be that of another message.
		if h.msg.qos == packets.ExactlyOnce && (!d.received[h.id] || w.oldServer) {
			h.msg.comesAgain()
		}
	}
}

// comesAgain allows one more delivery of a message that may have been delivered already.
func (m *inMessage) comesAgain() {
	if m.forwarded {
		m.moreFine++
	}
}
