package client

import (
	"errors"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/session"
)

const (
	lateForget    = 50 * time.Millisecond // maximum delay of a Forget that nothing waits for
	storePatience = 5 * time.Second       // how long a client that ends waits for the Store
	callPatience  = time.Second / 2       // how long a Publish whose context is done waits for the Store
	storeRetry    = time.Second           // how soon a full Store is asked again
)

// A saver stands between the Session and the Store. While the Store makes a batch durable
// the next one gathers, so that many messages share one sync. Client.mu guards it.
type saver struct {
	store   Store
	next    batch // not passed to the Store yet
	spare   batch
	taken   uint64 // number of the last Save or Forget passed to the Store
	durable uint64 // number of the last one that is durable
	due     bool   // something waits for next to be durable
	busy    bool   // a goroutine is committing
	idle    chan struct{}
	late    *time.Timer
	waits   []session.Output // Dones that wait for their record
	err     error            // why the Store has failed

	// When the running calls of the Store started; zero if there are none.
	commitAt, roomAt time.Time

	// Room for messages: see Store.Room.
	credit int           // bytes granted and not used by a message
	asking chan struct{} // closed when the goroutine that asks has ended; nil if there is none
	full   error         // the error of the Store when it had no room, or nil
	retry  *time.Timer   // asks again; nil if not set
}

// noSaver is the saver of every Client without a Store. It is never modified.
var noSaver saver

// A batch is the input of one Commit.
type batch struct {
	bytes    []byte
	entries  []entry
	n        uint64     // the last Save or Forget in it
	accepted []*Receipt // of messages in it
	notes    []chan struct{}
}

// An entry is a Change whose key and value are in batch.bytes.
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

// record adds a Save or Forget.
func (s *saver) record(o *session.Output) {
	s.next.add(o.Record, o.Op == session.Forget)
	s.next.n = o.N
	s.due = s.due || o.Op == session.Save
}

// waited returns how long the current call of the Store has been running.
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

// saveLocked starts a goroutine that commits the pending changes, if something waits for them.
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

// commit passes batches to the Store until nothing waits.
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

// recordedLocked performs what waited for the records that are now durable.
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
	c.askRoomAgainLocked() // a record may have been removed
	c.driveLocked()
	c.admitLocked()
	c.kickLocked()
}

// storeFailedLocked ends the client, because nothing may be sent that is not stored first.
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

// giveUpWaitsLocked ends requests that wait for their records, because the client ends with cause.
// The records may or may not be durable.
func (c *Client) giveUpWaitsLocked(cause error) {
	waits := c.saver.waits
	if len(waits) == 0 {
		return // noSaver must not be modified
	}
	c.saver.waits = nil
	for i := range waits {
		waits[i].Err = because(ErrUnknown, cause)
		c.finishLocked(&waits[i])
	}
}

// settledLocked returns a channel that is closed when the running Commit or Room has ended, or nil
// if everything is durable or the Store has failed. The caller must call it again when the channel
// is closed.
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
	grantEach  = 256      // bytes counted for a message besides its topic and payload
	grantBlock = 64 << 10 // bytes; the most to request from the Store for several messages
)

// grantFor returns how much of the room reserved by Store.Room a message of the given size uses.
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

// spend records that m was accepted.
func (s *saver) spend(m *Message) {
	if s.store != nil {
		s.credit -= grantFor(len(m.Topic) + len(m.Payload))
	}
}

// askRoomLocked asks the Store for room if the first in line waits for it. Room may wait for the
// disk, so it is called on a goroutine of its own, which ends when nothing waits.
func (c *Client) askRoomLocked() {
	if need, _ := c.wantedRoomLocked(); need > 0 && c.saver.asking == nil && c.saver.retry == nil {
		c.saver.asking = make(chan struct{})
		go c.askRoom()
	}
}

// askRoomAgainLocked asks the Store again after it was full.
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

// grantedLocked handles the result of Store.Room.
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

// restore makes the Session from the records in the Store, and collects the application's notes.
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
					p.Topic = topic // successive messages with the same topic share it
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
