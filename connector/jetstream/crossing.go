package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errNoAnswer is why messages are sent again: the oldest was not answered within Config.AckTimeout.
var errNoAnswer = errors.New("jetstream: the stream does not answer")

// A passage is a message being sent to the stream.
type passage struct {
	delivery *connector.Delivery
	message  *nats.Msg
	key      string // messages with the same key keep their order

	failures int // in a row
}

// A crossing is the state of one Run of a gateway: the messages in flight. Answers arrive in its
// own inbox, on a goroutine of the subscription, which settles the messages: all that arrived with
// one read together, so that their PUBACKs are sent with one write. PublishMsgAsync of the library
// would cost two channels, a timer and two more goroutine switches for each message.
type crossing struct {
	gateway *Gateway
	life    context.Context // of Run; its Err may know before its Done that a lease is over
	nc      *nats.Conn
	inbox   string // prefix of the reply subjects, followed by the number of the question
	answers *nats.Subscription
	changes chan nats.Status
	ended   context.CancelFunc
	helpers sync.WaitGroup

	settling sync.Mutex // held while an answer is processed

	mu     sync.Mutex
	over   bool
	number uint64                // number of the last question
	asked  map[uint64]*passage   // messages sent and not answered, by number
	oldest uint64                // number of the oldest question in asked
	since  time.Time             // when it became the oldest, or was asked
	open   map[*passage]struct{} // messages not settled
	lanes  map[string][]*passage // with OrderStrict, by key: the first is in flight, the others wait
	empty  chan struct{}         // closed when open is empty; nil unless a goroutine waits for that
}

// cross starts a crossing.
func (g *Gateway) cross(life context.Context) (*crossing, error) {
	c := &crossing{
		gateway: g, life: life, nc: g.stream.js.Conn(), inbox: nats.NewInbox() + ".",
		asked: make(map[uint64]*passage), open: make(map[*passage]struct{}), lanes: make(map[string][]*passage),
	}
	var err error
	if c.answers, err = c.nc.Subscribe(c.inbox+"*", c.answered); err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	c.changes = c.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	var ctx context.Context
	ctx, c.ended = context.WithCancel(context.Background())
	c.helpers.Go(func() { c.watch(ctx) })
	return c, nil
}

// end gives back the messages that are not settled. After that no more are settled.
func (c *crossing) end() {
	c.mu.Lock()
	c.over = true
	left := c.open
	c.open = nil
	c.mu.Unlock()
	c.answers.Unsubscribe()
	c.nc.RemoveStatusListener(c.changes)
	c.ended()
	c.helpers.Wait()
	c.settling.Lock() // the last answer
	defer c.settling.Unlock()
	for p := range left {
		p.delivery.Release()
	}
}

// rest waits until everything is settled, for at most Config.AckTimeout.
func (c *crossing) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.gateway.stream.cfg.AckTimeout)
	defer cancel()
	c.mu.Lock()
	if len(c.open) == 0 {
		c.mu.Unlock()
		return
	}
	empty := make(chan struct{})
	c.empty = empty
	c.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// take starts the passage of a message, in the order of the calls.
func (c *crossing) take(p *passage) {
	c.mu.Lock()
	c.open[p] = struct{}{}
	if c.gateway.opts.Order == OrderStrict {
		c.lanes[p.key] = append(c.lanes[p.key], p)
		if len(c.lanes[p.key]) > 1 {
			c.mu.Unlock()
			return
		}
	}
	c.mu.Unlock()
	c.send(p)
}

// send sends a message without waiting for the answer. After the end of Run's context it sends nothing: a process that
// was stopped and goes on would put into the stream what another one has put there meanwhile. Without a connection the
// message is sent later: the library would buffer it, once for each attempt.
func (c *crossing) send(p *passage) {
	c.mu.Lock()
	if c.over || c.life.Err() != nil {
		c.mu.Unlock()
		return
	}
	c.number++
	n := c.number
	if len(c.asked) == 0 {
		c.oldest, c.since = n, time.Now()
	}
	c.asked[n] = p
	c.mu.Unlock()
	p.message.Reply = c.inbox + strconv.FormatUint(n, 10)
	err := nats.ErrDisconnected
	if c.nc.IsConnected() {
		err = c.nc.PublishMsg(p.message)
	}
	if err != nil && c.question(n) != nil {
		c.judge(p, nil, err)
	}
}

// question removes and returns the question with a number, or nil if it was answered or given up.
func (c *crossing) question(n uint64) *passage {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil
	}
	p := c.asked[n]
	delete(c.asked, n)
	if n == c.oldest {
		for c.oldest < c.number && c.asked[c.oldest] == nil {
			c.oldest++
		}
		c.since = time.Now()
	}
	return p
}

// answered is called with each answer, one after the other.
func (c *crossing) answered(m *nats.Msg) {
	c.settling.Lock()
	defer c.settling.Unlock()
	n, err := strconv.ParseUint(m.Subject[len(c.inbox):], 10, 64)
	if err != nil {
		return
	}
	if p := c.question(n); p != nil {
		ack, err := c.read(m)
		c.judge(p, ack, err)
	}
}

// read decodes an answer of the stream.
func (c *crossing) read(m *nats.Msg) (*jetstream.PubAck, error) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return nil, jetstream.ErrNoStreamResponse
	}
	if number, ok := stored(m.Data, c.gateway.stream.cfg.Name); ok {
		return &jetstream.PubAck{Stream: c.gateway.stream.cfg.Name, Sequence: number}, nil
	}
	var answer struct {
		*jetstream.PubAck
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &answer); {
	case err != nil:
		return nil, fmt.Errorf("jetstream: the answer %.80q: %w", m.Data, err)
	case answer.Error != nil:
		return nil, answer.Error
	case answer.PubAck == nil || answer.Stream == "":
		return nil, jetstream.ErrInvalidJSAck
	}
	return answer.PubAck, nil
}

// stored quickly decodes the most common answer: {"stream":"NAME", "seq":1}.
func stored(answer []byte, stream string) (number uint64, ok bool) {
	rest, ok := bytes.CutPrefix(answer, []byte(`{"stream":"`))
	if !ok || len(rest) < len(stream) || string(rest[:len(stream)]) != stream {
		return 0, false
	}
	if rest, ok = bytes.CutPrefix(rest[len(stream):], []byte(`",`)); !ok {
		return 0, false
	}
	if rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " "), []byte(`"seq":`)); !ok || len(rest) < 2 || rest[len(rest)-1] != '}' {
		return 0, false
	}
	number, err := strconv.ParseUint(string(rest[:len(rest)-1]), 10, 64)
	return number, err == nil && number > 0
}

// judge settles a message, or sends it again after a pause.
func (c *crossing) judge(p *passage, ack *jetstream.PubAck, err error) {
	g := c.gateway
	switch {
	case err == nil:
		g.trouble.over(g.log)
		g.stored.Add(1)
		if ack.Duplicate {
			g.duplicates.Add(1)
		}
		c.settle(p, nil)
	case neverTaken(err):
		g.refused.Add(1)
		c.settle(p, flow.Permanent(fmt.Errorf("jetstream: stream %s refuses the message: %w", g.stream.cfg.Name, err)))
	default:
		g.again.Add(1)
		g.trouble.begins(g.log, err)
		p.failures++
		time.AfterFunc(pauseAfter(p.failures-1), func() { c.send(p) })
	}
}

// settle settles a message and sends the next of its lane.
func (c *crossing) settle(p *passage, err error) {
	c.mu.Lock()
	if _, ok := c.open[p]; !ok { // given back
		c.mu.Unlock()
		return
	}
	delete(c.open, p)
	if len(c.open) == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
	var next *passage
	if lane := c.lanes[p.key]; len(lane) > 1 {
		next, c.lanes[p.key] = lane[1], lane[1:]
	} else {
		delete(c.lanes, p.key)
	}
	c.mu.Unlock()
	p.delivery.Settle(err)
	if next != nil {
		c.send(next)
	}
}

// watch sends unanswered messages again when the oldest has waited too long or the connection was
// lost. It waits for a stream that answers slowly but in order, since sending more would not help.
func (c *crossing) watch(ctx context.Context) {
	timeout := c.gateway.stream.cfg.AckTimeout
	tick := time.NewTicker(timeout / 8)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			c.forget(now.Add(-timeout), errNoAnswer)
		case _, ok := <-c.changes:
			if !ok {
				return
			}
			c.forget(time.Now(), nats.ErrDisconnected)
		}
	}
}

// forget treats all sent messages as lost if the oldest has been the oldest since before the given
// time.
func (c *crossing) forget(before time.Time, err error) {
	c.mu.Lock()
	var lost []*passage
	if c.since.Before(before) {
		for _, n := range slices.Sorted(maps.Keys(c.asked)) {
			lost = append(lost, c.asked[n])
		}
		clear(c.asked)
	}
	c.mu.Unlock()
	for _, p := range lost {
		c.judge(p, nil, err)
	}
}
