package connector

import (
	"cmp"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

const (
	defaultConcurrency   = 64
	defaultInFlight      = 256
	defaultInFlightBytes = 16 << 20
	defaultInitialDelay  = 200 * time.Millisecond
	defaultMaxDelay      = 30 * time.Second
)

// A consumer passes the messages of its topics to a flow, or to a program that pulls them. The
// states of a message are in machine.go.
type consumer struct {
	name  string
	pulls bool // a program pulls, instead of a flow
	fed   bool // its messages come from a Feed
	conn  *Connector
	live  atomic.Pointer[settings] // in force now: see now

	putsAway bool // it has no topics and no flow; its messages are dead letters

	log *slog.Logger

	jobs       sync.WaitGroup // jobs that are not settled
	triggering atomic.Bool    // its flow is running for an error of the connector
	room       chan struct{}  // signals take that a job was settled

	mu       sync.Mutex
	limits        // of the settings
	ready    jobs // jobs that may run now
	lanes    map[string]*lane
	line     *lane // of all messages, with OrderConnection; else nil
	paused   map[*job]struct{}
	pulled   map[*job]struct{} // jobs that a program has pulled
	behind   jobs              // jobs that wait until draining is 0
	nBehind  int               // number of those, including those being left
	draining int               // jobs that were taken before the order changed and are not settled
	inFlight int               // jobs that are not settled
	bytes    int               // their payloads
	taking   int               // calls of take that wait for room
	newest   uint64            // the number of the message that came last
	idle     []*waiter
	waking   bool // a waiter was woken, or a worker is starting
	workers  int
	trying   bool // the flow of a suspect is running
	stopping bool // no more messages are started that the Server keeps
	over     bool // no more messages are started
}

// settings are the parameters of a consumer and its flow. They are immutable; Reconfigure creates
// new ones.
type settings struct {
	params  ConsumerParams
	flow    flow.Flow      // nil if a program pulls
	filters []string       // as matched: see plain
	key     *flow.Template // of Partition; nil: the topic
	limits
}

// limits are the settings that decide when a message starts.
type limits struct {
	ordered                      OrderBy
	concurrency, most, mostBytes int
}

func (c *Connector) newConsumer(name string, s *settings) *consumer {
	k := &consumer{
		name: name, pulls: s.flow == nil, conn: c,
		log:    c.log.With("consumer", name),
		room:   make(chan struct{}, 1),
		lanes:  make(map[string]*lane),
		paused: make(map[*job]struct{}),
		pulled: make(map[*job]struct{}),
		limits: s.limits,
	}
	k.live.Store(s)
	k.keepLine()
	return k
}

// keepLine creates or drops the lane of all messages. The caller holds mu, unless k is new.
func (k *consumer) keepLine() {
	k.line = nil
	if k.ordered == OrderConnection {
		k.line = k.laneOf(OrderConnection, "")
	}
}

// now returns the settings in effect.
func (k *consumer) now() *settings { return k.live.Load() }

func (c *Connector) newSettings(p ConsumerParams, f flow.Flow) *settings {
	s := &settings{params: p, flow: f, limits: limits{
		ordered:     p.OrderBy,
		concurrency: cmp.Or(p.Concurrency, defaultConcurrency),
		most:        cmp.Or(p.MaxInFlight, defaultInFlight),
		mostBytes:   cmp.Or(p.MaxInFlightBytes, defaultInFlightBytes),
	}}
	switch {
	case s.ordered != OrderDefault:
	case c.cfg.Advanced.Order:
		s.ordered = OrderConnection
	default:
		s.ordered = OrderNone
	}
	if s.ordered == OrderConnection {
		s.concurrency = 1
	}
	for _, t := range p.Topics {
		s.filters = append(s.filters, plain(t.Topic))
	}
	if p.Partition != nil && p.Partition.Key != "" && p.Partition.Key != keyTopic {
		s.key, _ = flow.ParseTemplate(p.Partition.Key) // Check has read it
	}
	return s
}

// plain returns the Topic Filter that messages match: see packets.Undecorated.
func plain(filter string) string {
	if plain, ok := packets.Undecorated(filter); ok {
		return plain
	}
	return filter
}

// subscribed returns the filter to subscribe to.
func (p *ConsumerParams) subscribed(t TopicQoS) string {
	if p.ShareGroup == "" {
		return t.Topic
	}
	return "$share/" + p.ShareGroup + "/" + t.Topic
}

func (p *ConsumerParams) subscriptions() []packets.Subscription {
	var subs []packets.Subscription
	for _, t := range p.Topics {
		s := packets.Subscription{Filter: p.subscribed(t), QoS: p.QoS}
		if t.HasQoS {
			s.QoS = t.QoS
		}
		subs = append(subs, s)
	}
	return subs
}

func (s *settings) wants(topic string) bool { return s.filter(topic) >= 0 }

// filter returns the index of the topic that matches, or a negative number if none does.
func (s *settings) filter(topic string) int {
	i := slices.IndexFunc(s.filters, func(f string) bool { return f == topic || packets.Match(f, topic) })
	if i < 0 && strings.HasPrefix(topic, "$") { // of a server that does not know the prefix
		i = slices.IndexFunc(s.params.Topics, func(t TopicQoS) bool { return packets.Match(t.Topic, topic) })
	}
	return i
}

const keyTopic = "topic"

// elsewhere reports whether a message belongs to another process of the partition. All processes
// must agree, so a message for which the key fails uses its topic.
func (s *settings) elsewhere(d *client.Delivery) bool {
	p := s.params.Partition
	if p == nil {
		return false
	}
	key := d.Topic
	if s.key != nil {
		if text, err := s.key.Text(flow.NewMessage(d.Topic, d.Payload, d.QoS, d.PacketID)); err == nil {
			key = text
		}
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	return int64(h.Sum32())%int64(p.Count) != int64(p.Index)
}

// skips reports whether the flow must not run for a message that matches the consumer's topics.
func (s *settings) skips(d *client.Delivery) bool {
	if s.elsewhere(d) {
		return true
	}
	switch s.params.Retained {
	case RetainedSkip:
		return d.Retain
	case RetainedOnly:
		return !d.Retain
	}
	return false
}

// jitter returns the pause before attempt n+1. It is exponential between two limits, with full
// jitter, so that messages that failed together are not retried together.
func jitter(n int, first, most time.Duration) time.Duration {
	bound := first
	for range n - 1 {
		if bound >= most/2 {
			bound = most
			break
		}
		bound *= 2
	}
	return 1 + rand.N(min(bound, most))
}
