package connector

import (
	"cmp"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"slices"
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
	name    string
	params  ConsumerParams
	flow    Flow // nil: a program pulls
	conn    *Connector
	filters []string       // as matched: without $share/group/
	key     *flow.Template // of Partition; nil: the topic
	log     *slog.Logger

	ordered                      OrderBy
	concurrency, most, mostBytes int

	jobs       sync.WaitGroup // those that are not settled
	triggering atomic.Bool    // its flow runs on an error of the connector
	room       chan struct{}  // tells take that something was settled

	mu       sync.Mutex
	ready    jobs // they may run now
	lanes    map[string]*lane
	paused   map[*job]struct{}
	pulled   map[*job]struct{} // a program has them
	inFlight int               // jobs that are not settled
	bytes    int               // their payloads
	full     bool              // take waits
	idle     []*waiter
	waking   bool // one of those was woken, or a worker is starting
	workers  int
	stopping bool // nothing that the Server keeps begins any more
	over     bool // nothing begins any more
}

func (c *Connector) newConsumer(name string, p ConsumerParams, f Flow) *consumer {
	k := &consumer{
		name: name, params: p, flow: f, conn: c,
		log:         c.log.With("consumer", name),
		concurrency: cmp.Or(p.Concurrency, defaultConcurrency),
		most:        cmp.Or(p.MaxInFlight, defaultInFlight),
		mostBytes:   cmp.Or(p.MaxInFlightBytes, defaultInFlightBytes),
		room:        make(chan struct{}, 1),
		lanes:       make(map[string]*lane),
		paused:      make(map[*job]struct{}),
		pulled:      make(map[*job]struct{}),
	}
	if k.ordered = k.order(); k.ordered == OrderConnection {
		k.concurrency = 1
	}
	for _, t := range p.Topics {
		k.filters = append(k.filters, matched(t.Topic))
	}
	if p.Partition != nil && p.Partition.Key != "" && p.Partition.Key != keyTopic {
		k.key, _ = flow.ParseTemplate(p.Partition.Key) // Check has read it
	}
	return k
}

func matched(filter string) string {
	if _, rest, ok := packets.ParseShared(filter); ok {
		return rest
	}
	return filter
}

// order returns which flows of the consumer run one after the other.
func (k *consumer) order() OrderBy {
	switch {
	case k.params.OrderBy != OrderDefault:
		return k.params.OrderBy
	case k.conn.cfg.Advanced.Order:
		return OrderConnection
	}
	return OrderNone
}

// subscribed returns the filter that the Server is asked for.
func (p *ConsumerParams) subscribed(t TopicQoS) string {
	if p.ShareGroup == "" {
		return t.Topic
	}
	return "$share/" + p.ShareGroup + "/" + t.Topic
}

func (k *consumer) subscriptions() []packets.Subscription {
	var subs []packets.Subscription
	for _, t := range k.params.Topics {
		s := packets.Subscription{Filter: t.Topic, QoS: k.params.QoS}
		if t.HasQoS {
			s.QoS = t.QoS
		}
		s.Filter = k.params.subscribed(t)
		subs = append(subs, s)
	}
	return subs
}

func (k *consumer) wants(topic string) bool { return k.filter(topic) >= 0 }

// filter returns which topic of the parameters matches; below zero if none does.
func (k *consumer) filter(topic string) int {
	return slices.IndexFunc(k.filters, func(f string) bool { return packets.Match(f, topic) })
}

const keyTopic = "topic"

// elsewhere reports whether another process of the partition has a message. All of them have to
// agree, so that a message without its key goes by its topic.
func (k *consumer) elsewhere(d *client.Delivery) bool {
	p := k.params.Partition
	if p == nil {
		return false
	}
	key := d.Topic
	if k.key != nil {
		if s, err := k.key.Text(NewMessage(d.Topic, d.Payload, d.QoS, d.PacketID)); err == nil {
			key = s
		}
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	return int64(h.Sum32())%int64(p.Count) != int64(p.Index)
}

// skips reports whether a message of the consumer's topics is not for its flow.
func (k *consumer) skips(d *client.Delivery) bool {
	if k.elsewhere(d) {
		return true
	}
	switch k.params.Retained {
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
