package connector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// A Feed gives messages of another source than the connection to a consumer, such as a durable log
// that stands between the Server and the flows. They go through the consumer's flow with its order,
// its limits and its failure policy, as messages of the connection do. The source is told what
// became of each.
type Feed struct {
	consumer *consumer
	turn     chan struct{} // holds a token while nobody takes
	n        uint64        // messages so far; guarded by turn

	mu       sync.Mutex
	contexts map[context.Context]struct{} // of inputs, that have not ended
}

// An Input is a message for a Feed.
type Input struct {
	Topic    string
	Payload  []byte // not changed by anyone until the message is settled
	QoS      packets.QoS
	Retained bool
	Dup      bool   // the source may have given it before
	PacketID uint16 // as the flow sees it

	// Key names the message: see flow.IdempotencyKey. If empty, a name is made that no other
	// message of this process has.
	Key string

	// OrderKey is what messages have in common that run one after the other with OrderTopic. If
	// empty, the topic.
	OrderKey string

	// Context is the parent of those that flows get for the message. When it has ended, no run begins any more, one that
	// is under way is not judged unless it succeeds, and the message is given back. Many messages should share one,
	// which must be comparable. If nil, there is none.
	Context context.Context

	// Settled is called once, from any goroutine: with true when the flow has succeeded or the
	// failure policy has disposed of the message, and with false when the connector stops or Context
	// ends before that, so that the source has to give it again. With AckMode Immediately it is called
	// with true when the flow begins. It must not block.
	Settled func(done bool)

	replayed chan<- error // of Replay, instead of Settled: gets how the only run ended
}

// Feed makes a consumer of the configuration take its messages from a Feed, and gives it its flow,
// before Start and not at the same time as another call. The consumer is not subscribed to its topics; ShareGroup, Partition, Retained and
// Ledger do not apply.
func (c *Connector) Feed(name string, f flow.Flow) (*Feed, error) {
	if string(c.cfg.Extension.Unmatched) == name && name != "" {
		return nil, errFedUnmatched(name)
	}
	if err := c.Consume(name, f); err != nil {
		return nil, err
	}
	k := c.consumer(name)
	k.fed = true
	feed := &Feed{consumer: k, turn: make(chan struct{}, 1)}
	feed.turn <- struct{}{}
	c.feeds = append(c.feeds, feed)
	return feed, nil
}

func errFedUnmatched(name string) error {
	return flow.NewError(flow.TypeConfig, fmt.Errorf("consumer %q takes what matches no consumer (unmatched), so it cannot have a feed", name))
}

// Take gives a message to the consumer, after Start. It waits while the consumer has as many messages,
// or as many bytes of them, as MaxInFlight and MaxInFlightBytes allow. Messages are taken in the
// order of the calls. The error is about ctx, or about a connector that stops or does not run; Settled is not
// called then.
func (f *Feed) Take(ctx context.Context, in Input) error {
	k := f.consumer
	c := k.conn
	if !c.started.Load() {
		return flow.NewError(flow.TypeRuntime, errors.New("Take comes before Start"))
	}
	select {
	case <-f.turn:
		defer func() { f.turn <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.stopping:
		return errStopping
	}
	select {
	case <-c.stopping:
		return errStopping
	default:
	}
	f.watch(in.Context)
	f.n++
	d := &client.Delivery{Topic: in.Topic, Payload: in.Payload, QoS: in.QoS, Retain: in.Retained, Dup: in.Dup, PacketID: in.PacketID}
	a := &arrival{d: d, size: len(in.Payload), at: time.Now(), n: f.n, fed: &in}
	a.open.Store(1)
	c.numbers.received(d)
	c.unacked.add(a)
	if err := k.take(ctx, a, k.now()); err != nil {
		c.unacked.remove(a)
		return err
	}
	return nil
}

// watch makes the end of a context known to messages that wait for another attempt.
func (f *Feed) watch(ctx context.Context) {
	if ctx == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.contexts[ctx]; ok {
		return
	}
	if f.contexts == nil {
		f.contexts = make(map[context.Context]struct{})
	}
	f.contexts[ctx] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		delete(f.contexts, ctx)
		f.mu.Unlock()
		f.consumer.leaveOver()
	})
}

// end waits until Take takes nothing any more, after the connector has begun to stop.
func (f *Feed) end() {
	<-f.turn
	f.turn <- struct{}{}
}

// over reports whether the Context of a message has ended that a Feed has given.
func (a *arrival) over() bool {
	return a.fed != nil && a.fed.Context != nil && a.fed.Context.Err() != nil
}

// wantedBack returns a channel that is closed when the Context of a message ends; nil if it has none.
func (a *arrival) wantedBack() <-chan struct{} {
	if a.fed == nil || a.fed.Context == nil {
		return nil
	}
	return a.fed.Context.Done()
}
