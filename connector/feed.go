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

// A Feed passes messages from a source other than the connection to a consumer, such as a durable
// log between the Server and the flows. The consumer's flow, order, limits and failure policy apply
// to them as to messages of the connection. The source learns the result of each by Input.Settled.
type Feed struct {
	consumer *consumer
	turn     chan struct{} // holds a token while no Take is running
	n        uint64        // messages so far; guarded by turn

	mu       sync.Mutex
	contexts map[context.Context]struct{} // contexts of inputs that are not done
}

// An Input is a message for a Feed.
type Input struct {
	Topic    string
	Payload  []byte // must not be modified until the message is settled
	QoS      packets.QoS
	Retained bool
	Dup      bool   // the source may have passed the message before
	PacketID uint16 // the Packet Identifier that the flow sees

	// Key identifies the message: see flow.IdempotencyKey. If empty, a key is made that is unique
	// in this process.
	Key string

	// OrderKey orders messages with OrderTopic: flows of messages with the same key run one at a
	// time. If empty, it is the topic.
	OrderKey string

	// Context, if not nil, is the parent of the contexts of the flow's runs. When it is done, no
	// further run starts, a failure of the current one is ignored, and the message is given back to
	// the source. Many messages should share a Context; its type must be comparable.
	Context context.Context

	// Settled is called once, from any goroutine: with true when the flow has succeeded or the
	// failure policy has disposed of the message, and with false if the connector stops or Context
	// is done before that; the source must then pass the message again. With AckMode Immediately it
	// is called with true when the flow starts. It must not block.
	Settled func(done bool)

	replayed chan<- error // of Replay, instead of Settled: gets how the only run ended
}

// Feed makes a consumer of the configuration take its messages from the returned Feed, and sets its
// flow. It must be called before Start and not concurrently with other calls. The consumer does not
// subscribe to its topics; ShareGroup, Partition, Retained and Ledger do not apply.
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

// Take passes a message to the consumer. It must be called after Start. It waits until MaxInFlight
// and MaxInFlightBytes allow another message. Messages are taken in the order of the calls. Take
// returns an error if ctx is done or the connector is stopping or not running; Settled is not
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

// watch leaves messages that wait for another attempt when their context is done.
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

// end waits until Take accepts nothing more, after the connector has started to stop.
func (f *Feed) end() {
	<-f.turn
	f.turn <- struct{}{}
}

// over reports whether the message is from a Feed and its Context is done.
func (a *arrival) over() bool {
	return a.fed != nil && a.fed.Context != nil && a.fed.Context.Err() != nil
}

// wantedBack returns the Done channel of the Context of a message, or nil if it has none.
func (a *arrival) wantedBack() <-chan struct{} {
	if a.fed == nil || a.fed.Context == nil {
		return nil
	}
	return a.fed.Context.Done()
}
