package command

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
)

// A remover deletes the retained messages that were printed. A server may send only some of many:
// when no more arrive and all deletions are acknowledged, the remover subscribes again, until
// nothing is left.
type remover struct {
	c         *client.Client
	subscribe func(context.Context) error
	quiet     time.Duration // a round is over after this time without a message

	mu      sync.Mutex
	topics  map[string]*removed
	open    int // unacknowledged deletions
	failed  error
	last    time.Time // when the last message arrived
	deleted int       // in this round
	stuck   string    // a topic of this round that has already been deleted mostDeletions times
	stuckN  int
	changed chan struct{} // closed by an acknowledgement
}

// A removed is what happened to one topic.
type removed struct {
	leftOut bool   // excluded by a filter: never deleted
	times   int    // how often it was deleted
	echoes  int    // copies of our own deletions that are still expected
	sum     uint64 // hash of the payload
}

// mostDeletions is how often a retained message that reappears is deleted: somebody may be publishing it
// again.
const mostDeletions = 3

var payloadSeed = maphash.MakeSeed()

func newRemover(c *client.Client, subscribe func(context.Context) error) *remover {
	return &remover{c: c, subscribe: subscribe, quiet: 300 * time.Millisecond, topics: make(map[string]*removed), changed: make(chan struct{})}
}

// echo reports whether d is a copy of one of our deletions, which the server sends to us, too.
func (r *remover) echo(d *client.Delivery) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[d.Topic]
	if d.Retain || len(d.Payload) > 0 || t == nil || t.echoes == 0 {
		return false
	}
	t.echoes--
	return true
}

// settled reports whether a retained message needs no further action: a filter excluded it before,
// or deleting it does not help. isNew means that it has not been printed yet.
func (r *remover) settled(d *client.Delivery) (over, isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	sum := maphash.Bytes(payloadSeed, d.Payload)
	t := r.topics[d.Topic]
	switch {
	case t == nil:
		t = new(removed)
		r.topics[d.Topic] = t
		isNew = true
	case t.leftOut:
		return true, false
	case t.times == mostDeletions:
		r.stuck = d.Topic
		r.stuckN++
		return true, false
	default:
		isNew = t.sum != sum
	}
	t.sum = sum
	return false, isNew
}

func (r *remover) leaveOut(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics[topic].leftOut = true
}

// remove deletes the message of a topic without waiting for the acknowledgement.
func (r *remover) remove(ctx context.Context, topic string) error {
	r.mu.Lock()
	t := r.topics[topic]
	t.times++
	t.echoes++
	r.deleted++
	r.open++
	failed := r.failed
	r.mu.Unlock()
	if failed != nil {
		return failed
	}
	receipt, err := r.c.PublishAsync(ctx, client.Message{Topic: topic, QoS: 1, Retain: true})
	if err != nil {
		return NotPublished(topic, err)
	}
	go func() {
		<-receipt.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open--
		if err := receipt.Err(); err != nil && r.failed == nil {
			r.failed = NotPublished(topic, err)
		}
		close(r.changed)
		r.changed = make(chan struct{})
	}()
	return nil
}

// unanswered returns the number of unacknowledged deletions, the error of one that failed, and a channel that is
// closed by the next acknowledgement.
func (r *remover) unanswered() (open int, changed <-chan struct{}, failed error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open, r.changed, r.failed
}

// wait waits until all deletions are acknowledged.
func (r *remover) wait(ctx context.Context) error {
	for {
		n, changed, err := r.unanswered()
		if n == 0 || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// run continues after the first subscription; it returns nil when nothing is left to delete.
func (r *remover) run(ctx context.Context) error {
	for {
		deleted, err := r.round(ctx)
		if err != nil || deleted == 0 {
			return err
		}
		if err := r.subscribe(ctx); err != nil {
			return err
		}
	}
}

// round waits until no more messages arrive and all deletions are acknowledged.
func (r *remover) round(ctx context.Context) (deleted int, err error) {
	// The server answers in order: whatever it was about to send arrives before this answer.
	if err := r.c.Unsubscribe(ctx, "mqtt311/none"); err != nil {
		return 0, err
	}
	begun := time.Now()
	for {
		if err := r.wait(ctx); err != nil {
			return 0, err
		}
		r.mu.Lock()
		last := r.last
		r.mu.Unlock()
		if last.Before(begun) {
			last = begun
		}
		left := r.quiet - time.Since(last)
		if left <= 0 {
			break
		}
		if err := pause(ctx, left); err != nil {
			return 0, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deleted == 0 && r.stuckN > 0 {
		return 0, Fail(ExitPublish, "%d retained messages are still there, %q among them: the server acknowledges their deletion and does not delete them, or somebody publishes them again",
			"仍有 %d 条保存的消息未删除（如 %q）：服务端确认了删除却未执行，或有客户端在重新发布", r.stuckN, r.stuck)
	}
	deleted = r.deleted
	r.deleted, r.stuckN = 0, 0
	return deleted, nil
}
