package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/session"
)

const (
	lateForget    = 50 * time.Millisecond // that nothing waits for may be on record so late
	storePatience = 5 * time.Second       // with a Store that does not answer, when the caller wants to go
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
	forget     bool
}

func (b *batch) add(r *session.Record, forget bool) {
	b.bytes = r.AppendKey(b.bytes)
	key := len(b.bytes)
	if !forget {
		b.bytes = r.AppendValue(b.bytes)
	}
	b.entries = append(b.entries, entry{key, len(b.bytes), forget})
}

func (b *batch) changes() []Change {
	changes, start := make([]Change, len(b.entries)), 0
	for i, e := range b.entries {
		changes[i] = Change{Key: b.bytes[start:e.key:e.key], Value: b.bytes[e.key:e.value:e.value], Forget: e.forget}
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

// want makes the Save or Forget n durable soon, because something waits for it.
func (s *saver) want(n uint64) { s.due = s.due || n > s.taken }

// flush makes everything durable soon.
func (s *saver) flush() { s.due = s.due || len(s.next.entries) > 0 }

// save starts a goroutine that gives the Store what gathered, if something waits for it. The
// caller holds mu.
func (c *Client) save() {
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
			c.save()
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
		c.mu.Unlock()
		err := s.store.Commit(b.changes())
		c.mu.Lock()
		if err != nil {
			c.storeFailed(err)
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
		c.recorded()
	}
	s.busy = false
	close(s.idle)
	c.save()
}

// recorded lets go what waited for the records that are durable now. The caller holds mu.
func (c *Client) recorded() {
	s := c.saver
	if c.link != nil {
		c.link.release(s.durable)
	}
	kept := s.waits[:0]
	for i := range s.waits {
		if s.waits[i].After <= s.durable {
			c.finish(&s.waits[i])
		} else {
			kept = append(kept, s.waits[i])
		}
	}
	clear(s.waits[len(kept):])
	s.waits = kept
	c.wakeSpace()
	c.kick()
}

// storeFailed ends the client: nothing may leave any more that is not on record.
func (c *Client) storeFailed(err error) {
	s := c.saver
	s.err = fmt.Errorf("%w: %w", ErrStoreFailed, err)
	c.giveUpWaits()
	if c.link != nil {
		c.link.giveUp(s.err)
	}
	c.quit(s.err)
	if c.state == Idle {
		c.state, c.leaving = Closed, true
		go c.finishAll(fmt.Errorf("%w: %w", ErrClosed, s.err))
	}
}

// giveUpWaits ends what waits for its record: it may be durable, or may not. The caller holds mu.
func (c *Client) giveUpWaits() {
	waits := c.saver.waits
	if len(waits) == 0 {
		return // nothing writes to noSaver
	}
	c.saver.waits = nil
	for i := range waits {
		waits[i].Err = ErrUnknown
		c.finish(&waits[i])
	}
}

// settled returns a channel that is closed when everything is durable, or the Store has
// failed; nil if that is so already. The caller holds mu.
func (c *Client) settled() <-chan struct{} {
	s := c.saver
	if s.store == nil || s.err != nil {
		return nil
	}
	s.flush()
	c.save()
	if !s.busy {
		return nil
	}
	return s.idle
}

// settle waits until everything is durable, for as long as the Store deserves. The caller
// does not hold mu.
func (c *Client) settle() {
	t := time.NewTimer(storePatience)
	defer t.Stop()
	for {
		c.mu.Lock()
		idle := c.settled()
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

// storeRoom asks the Store whether a message may be accepted. The caller holds mu.
func (c *Client) storeRoom(bytes int) error {
	switch s := c.saver; {
	case s.store == nil:
		return nil
	case s.err != nil:
		return s.err
	default:
		return s.store.Room(bytes)
	}
}

// restore makes the Session that the Store remembers, and collects the application's
// notes.
func (c *Client) restore(cfg session.Config) error {
	var records []session.Record
	if c.saver.store != nil {
		c.notes = make(map[string][]byte)
		cfg.Durable = true
		err := c.saver.store.Load(func(key, value []byte) error {
			r, err := session.ParseRecord(key, value)
			if err == nil && r.Kind == session.RecordApplication {
				c.notes[r.Note.Name] = r.Note.Value
			} else if err == nil {
				records = append(records, r)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStoreFailed, err)
		}
	}
	var err error
	c.sess, err = session.Restore(cfg, records)
	return err
}

// ended is the error of an operation that ended with the client.
func (c *Client) ended(r *Receipt, err error) error {
	switch {
	case c.saver.store == nil || !r.recorded || errors.Is(err, ErrPoison) || errors.Is(err, ErrDowngraded):
	case r.isAccepted():
		err = ErrStored
	default:
		err = ErrUnknown
	}
	return &outcome{"ended", err, c.err}
}
