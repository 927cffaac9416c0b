package client

import (
	"errors"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/session"
)

const (
	lateForget    = 50 * time.Millisecond // that nothing waits for may be on record so late
	storePatience = 5 * time.Second       // with a Store that does not answer, when a caller wants to go
	storeRetry    = time.Second           // until a Store that was full is asked again
)

// A saver stands between the Session and the Store. While the Store makes a batch durable
// the next one gathers, so that many messages share one sync. Client.mu guards it.
type saver struct {
	store   Store
	next    batch // not given to the Store yet
	spare   batch
	taken   uint64 // Saves and Forgets up to it were given to the Store
	durable uint64 // and up to it are durable
	due     bool   // something waits for next
	busy    bool   // a goroutine commits
	idle    chan struct{}
	late    *time.Timer
	waits   []session.Output // Dones that wait for their record
	err     error            // the Store is no good any more

	// When the calls of the Store began that have not returned; zero: none runs.
	commitAt, roomAt time.Time

	// Room for messages, see Store.Room.
	credit int           // bytes that were granted and that no message has used
	asking chan struct{} // closed when the goroutine that asks has ended; nil: none runs
	full   error         // what the Store said when it had no room; nil: it has, or was not asked
	retry  *time.Timer   // asks again; nil: it is not set
}

// noSaver is that of every Client without a Store. Nothing writes to it.
var noSaver saver

// A batch is what one Commit takes.
type batch struct {
	bytes    []byte
	entries  []entry
	n        uint64     // the newest Save or Forget in it
	accepted []*Receipt // of messages in it
	notes    []chan struct{}
}

// An entry is a Change by where it ends in batch.bytes.
type entry struct {
	key, value int
	granted    int
	forget     bool
}

func (b *batch) add(r *session.Record, forget bool) {
	b.bytes = r.AppendKey(b.bytes)
	key := len(b.bytes)
	if !forget {
		b.bytes = r.AppendValue(b.bytes)
	}
	e := entry{key: key, value: len(b.bytes), forget: forget}
	if r.Kind == session.RecordPublish && !forget {
		e.granted = grantFor(len(r.Publish.Topic) + len(r.Publish.Payload))
	}
	b.entries = append(b.entries, e)
}

func (b *batch) changes() []Change {
	changes, start := make([]Change, len(b.entries)), 0
	for i, e := range b.entries {
		changes[i] = Change{Key: b.bytes[start:e.key:e.key], Value: b.bytes[e.key:e.value:e.value], Forget: e.forget, Granted: e.granted}
		start = e.value
	}
	return changes
}

func (b *batch) reset() {
	if cap(b.bytes) > keepBuffer {
		b.bytes = nil
	}
	clear(b.accepted)
	*b = batch{bytes: b.bytes[:0], entries: b.entries[:0], accepted: b.accepted[:0]}
}

// record takes a Save or Forget.
func (s *saver) record(o *session.Output) {
	s.next.add(o.Record, o.Op == session.Forget)
	s.next.n = o.N
	s.due = s.due || o.Op == session.Save
}

// waited returns for how long the Store has not answered.
func (s *saver) waited(now time.Time) (d time.Duration) {
	for _, at := range []time.Time{s.commitAt, s.roomAt} {
		if !at.IsZero() {
			d = max(d, now.Sub(at))
		}
	}
	return d
}

// want makes the Save or Forget n durable soon, because something waits for it.
func (s *saver) want(n uint64) { s.due = s.due || n > s.taken }

// flush makes everything durable soon.
func (s *saver) flush() { s.due = s.due || len(s.next.entries) > 0 }

// saveLocked starts a goroutine that gives the Store what gathered, if something waits for it.
func (c *Client) saveLocked() {
	s := c.saver
	switch {
	case s.busy || s.err != nil || len(s.next.entries) == 0:
	case s.due:
		s.busy, s.idle = true, make(chan struct{})
		go c.commit()
	case s.late == nil:
		s.late = time.AfterFunc(lateForget, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			s.late = nil
			s.flush()
			c.saveLocked()
		})
	}
}

// commit gives the Store batches until nothing waits any more.
func (c *Client) commit() {
	s := c.saver
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.due && s.err == nil {
		b := s.next
		s.next, s.spare = s.spare, batch{}
		s.due, s.taken = false, max(s.taken, b.n)
		s.commitAt = time.Now()
		c.mu.Unlock()
		err := s.store.Commit(b.changes())
		c.mu.Lock()
		s.commitAt = time.Time{}
		if err != nil {
			c.storeFailedLocked(err)
			break
		}
		s.durable = s.taken
		for _, r := range b.accepted {
			r.accept()
		}
		for _, ch := range b.notes {
			close(ch)
		}
		b.reset()
		s.spare = b
		c.recordedLocked()
	}
	s.busy = false
	close(s.idle)
	c.saveLocked()
}

// recordedLocked lets go what waited for the records that are durable now.
func (c *Client) recordedLocked() {
	s := c.saver
	if c.link != nil {
		c.link.release(s.durable)
	}
	kept := s.waits[:0]
	for i := range s.waits {
		if s.waits[i].After <= s.durable {
			c.finishLocked(&s.waits[i])
		} else {
			kept = append(kept, s.waits[i])
		}
	}
	clear(s.waits[len(kept):])
	s.waits = kept
	c.askRoomAgainLocked() // something may have been forgotten
	c.driveLocked()
	c.admitLocked()
	c.kickLocked()
}

// storeFailedLocked ends the client: nothing may leave any more that is not on record.
func (c *Client) storeFailedLocked(err error) {
	s := c.saver
	s.err = because(ErrStoreFailed, err)
	c.giveUpWaitsLocked(because(ErrClosed, s.err))
	if c.link != nil {
		c.link.closeFor(s.err)
	}
	c.stopLocked(s.err)
	if c.state == Idle {
		c.state = Closed
		c.leaveLocked()
		go c.finishAll(because(ErrClosed, s.err))
	}
}

// giveUpWaitsLocked ends what waits for its record, because the client ends with cause: the record may
// be durable, or may not.
func (c *Client) giveUpWaitsLocked(cause error) {
	waits := c.saver.waits
	if len(waits) == 0 {
		return // nothing writes to noSaver
	}
	c.saver.waits = nil
	for i := range waits {
		waits[i].Err = because(ErrUnknown, cause)
		c.finishLocked(&waits[i])
	}
}

// settledLocked returns a channel that is closed when a Commit or a Room that runs has ended; nil if
// everything is durable, or the Store has failed. The caller asks again when it is closed.
func (c *Client) settledLocked() <-chan struct{} {
	s := c.saver
	if s.store == nil || s.err != nil {
		return nil
	}
	s.flush()
	c.saveLocked()
	if s.busy {
		return s.idle
	}
	return s.asking
}

// settle waits until everything is durable, for at most storePatience.
func (c *Client) settle() {
	t := time.NewTimer(storePatience)
	defer t.Stop()
	for {
		c.mu.Lock()
		idle := c.settledLocked()
		if idle == nil && c.saver.late != nil {
			c.saver.late.Stop()
			c.saver.late = nil
		}
		c.mu.Unlock()
		if idle == nil {
			return
		}
		select {
		case <-idle:
		case <-t.C:
			return
		}
	}
}

const (
	grantEach  = 256      // bytes that a message is counted with beside its topic and payload
	grantBlock = 64 << 10 // bytes; for more than one message the Store is asked for no more at a time
)

// grantFor is what a message of so many bytes uses of what Store.Room grants.
func grantFor(bytes int) int { return bytes + grantEach }

// roomLocked returns nil if the Store has granted room for m.
func (c *Client) roomLocked(m *Message) error {
	switch s := c.saver; {
	case s.store == nil || s.credit >= grantFor(len(m.Topic)+len(m.Payload)):
		return nil
	case s.err != nil:
		return &callError{kind: ErrNotSent, cause: s.err}
	case s.full != nil:
		return s.full
	}
	return errInLine
}

// spend notes that m was accepted.
func (s *saver) spend(m *Message) {
	if s.store != nil {
		s.credit -= grantFor(len(m.Topic) + len(m.Payload))
	}
}

// askRoomLocked asks the Store for room if the first in line waits for that. Room may wait for the
// disk, so it has a goroutine of its own, which lives while somebody waits.
func (c *Client) askRoomLocked() {
	if need, _ := c.wantedRoomLocked(); need > 0 && c.saver.asking == nil && c.saver.retry == nil {
		c.saver.asking = make(chan struct{})
		go c.askRoom()
	}
}

// askRoomAgainLocked asks a Store that was full once more.
func (c *Client) askRoomAgainLocked() {
	if s := c.saver; s.retry != nil {
		s.retry.Stop()
		s.retry = nil
	}
	c.askRoomLocked()
}

// wantedRoomLocked returns how many bytes the first in line lacks, and how many those in line lack
// together, up to grantBlock.
func (c *Client) wantedRoomLocked() (first, all int) {
	s := c.saver
	if s.store == nil || s.err != nil || c.leaving {
		return 0, 0
	}
	for w := c.waiters.stored.first; w != nil; w = w.next {
		more := grantFor(len(w.m.Topic) + len(w.m.Payload))
		if first == 0 {
			first, all = more-s.credit, more-s.credit
			if first <= 0 { // it waits for something else
				return 0, 0
			}
			continue
		}
		if all+more > grantBlock {
			break
		}
		all += more
	}
	return first, all
}

func (c *Client) askRoom() {
	s := c.saver
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.retry == nil {
		need, want := c.wantedRoomLocked()
		if need == 0 {
			break
		}
		s.roomAt = time.Now()
		c.mu.Unlock()
		err := s.store.Room(want)
		if want > need && errors.Is(err, ErrStoreFull) {
			want = need
			err = s.store.Room(want)
		}
		c.mu.Lock()
		s.roomAt = time.Time{}
		c.grantedLocked(want, err)
	}
	close(s.asking)
	s.asking = nil
}

// grantedLocked takes the answer of Store.Room.
func (c *Client) grantedLocked(bytes int, err error) {
	s := c.saver
	switch {
	case err == nil:
		s.credit += bytes
		s.full = nil
		c.admitLocked()
		c.sendLocked()
	case errors.Is(err, ErrStoreFull):
		s.full = err
		s.retry = time.AfterFunc(storeRetry, func() { // the disk may have been freed by another program
			c.mu.Lock()
			defer c.mu.Unlock()
			s.retry = nil
			c.askRoomLocked()
		})
	default:
		if w := c.waiters.stored.first; w != nil {
			c.waiters.stored.leave(w)
			c.tellLocked(w, &callError{kind: ErrNotSent, cause: err})
		}
	}
}

// restore makes the Session that the Store remembers, and collects the application's
// notes.
func (c *Client) restore(cfg session.Config) error {
	var records []session.Record
	topic := ""
	if c.saver.store != nil {
		c.notes = make(map[string][]byte)
		cfg.Durable = true
		err := c.saver.store.Load(func(key, value []byte) error {
			r, err := session.ParseRecord(key, value)
			if err == nil && r.Kind == session.RecordApplication {
				c.notes[r.Note.Name] = r.Note.Value
			} else if err == nil {
				if p := r.Publish; p != nil && p.Topic == topic {
					p.Topic = topic // neighbours share one
				} else if p != nil {
					topic = p.Topic
				}
				if len(records) == cap(records) { // append would copy a million of them five times
					records = slices.Grow(records, max(64, len(records)))
				}
				records = append(records, r)
			}
			return err
		})
		if err != nil {
			return because(ErrStoreFailed, err)
		}
	}
	var err error
	c.sess, err = session.Restore(cfg, records)
	return err
}
