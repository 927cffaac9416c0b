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

// A consumer gives the messages of its topics to a flow, or to a program that pulls them. What happens
// to each of them stands in machine.go.
type consumer struct {
	name  string
	pulls bool // a program pulls, instead of a flow
	fed   bool // its messages come from a Feed
	conn  *Connector
	live  atomic.Pointer[settings] // in force now: see now

	putsAway bool // it has no topics and runs nothing: what it gets is a dead letter

	log *slog.Logger

	jobs       sync.WaitGroup // those that are not settled
	triggering atomic.Bool    // its flow runs on an error of the connector
	room       chan struct{}  // tells take that something was settled

	mu       sync.Mutex
	limits        // of the settings
	ready    jobs // they may run now
	lanes    map[string]*lane
	line     *lane // of all messages, with OrderConnection; else nil
	paused   map[*job]struct{}
	pulled   map[*job]struct{} // a program has them
	behind   jobs              // they wait until draining is 0
	nBehind  int               // how many there are, with those that are being left
	draining int               // jobs that were taken before the order changed and are not settled
	inFlight int               // jobs that are not settled
	bytes    int               // their payloads
	taking   int               // calls of take that wait
	newest   uint64            // the number of the message that came last
	idle     []*waiter
	waking   bool // one of those was woken, or a worker is starting
	workers  int
	trying   bool // the flow of a suspect runs
	stopping bool // nothing that the Server keeps begins any more
	over     bool // nothing begins any more
}

// settings are the parameters of a consumer, and its flow. They do not change: Reconfigure makes new ones.
type settings struct {
	params  ConsumerParams
	flow    flow.Flow      // nil: a program pulls
	filters []string       // as matched: see plain
	key     *flow.Template // of Partition; nil: the topic
	limits
}

// limits are what decides when a message begins.
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

// keepLine makes the lane of all messages, or lets go of it. The caller holds mu, or nobody else knows k.
func (k *consumer) keepLine() {
	k.line = nil
	if k.ordered == OrderConnection {
		k.line = k.laneOf(OrderConnection, "")
	}
}

// now returns the settings that are in force.
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

// plain returns what the messages of a filter match: see packets.Undecorated.
func plain(filter string) string {
	if plain, ok := packets.Undecorated(filter); ok {
		return plain
	}
	return filter
}

// subscribed returns the filter that the Server is asked for.
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

// filter returns which topic of the parameters matches; below zero if none does.
func (s *settings) filter(topic string) int {
	i := slices.IndexFunc(s.filters, func(f string) bool { return f == topic || packets.Match(f, topic) })
	if i < 0 && strings.HasPrefix(topic, "$") { // of a server that does not know the decoration
		i = slices.IndexFunc(s.params.Topics, func(t TopicQoS) bool { return packets.Match(t.Topic, topic) })
	}
	return i
}

const keyTopic = "topic"

// elsewhere reports whether another process of the partition has a message. All of them have to
// agree, so that a message without its key goes by its topic.
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

// skips reports whether a message of the consumer's topics is not for its flow.
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

// jitter is the pause before attempt n+1: exponential between two bounds, with full
// jitter, so that messages that failed together do not come back together.
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
