package torture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// A Fault is the kind of a Finding.
type Fault string

// The faults. A fault of the broker also fails a history, unless its Promise or an act explains it.
const (
	Lost       Fault = "lost"                 // the broker acknowledged it and the consumer never got it
	Swallowed  Fault = "swallowed"            // acknowledged to the broker and never passed to the application
	Unfinished Fault = "unfinished"           // accepted, and the broker never got it
	Duplicated Fault = "duplicated"           // passed to the application again at QoS 2
	Resent     Fault = "sent again"           // as a new message, or after its PUBREC, or at QoS 0
	Untrue     Fault = "not sent, and sent"   // although an error said that it was not
	Altered    Fault = "altered"              // or invented
	Disordered Fault = "out of order"         // within its topic
	GivenUp    Fault = "given up"             // though nobody closed over it three times
	Late       Fault = "late"                 // a call took longer than its context
	Silent     Fault = "keep alive missed"    // nothing was sent for longer than keep alive allows
	Ended      Fault = "ended by itself"      // a process ended
	Early      Fault = "acknowledged early"   // before the application had it
	Hung       Fault = "did not come to rest" // long after all acts had ended
)

// A Finding is one fault in a history.
type Finding struct {
	Fault Fault
	At    int64
	Who   string
	QoS   byte
	N     int // -1: not about a message
	Text  string
}

func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s", f.Who, f.Fault)
	if f.N >= 0 {
		s += fmt.Sprintf(", number %d at QoS %d", f.N, f.QoS)
	}
	if f.Text != "" {
		s += ": " + f.Text
	}
	return s
}

// A Verdict is the result of checking a history.
type Verdict struct {
	Findings []Finding // by time

	Accepted  [3]int    // by QoS
	Delivered [3]int    // at least once, of all
	Again     [3]int    // how many repeated deliveries
	Excused   []Finding // explained by an act on the broker, or by its known fault
	InWork    int       // delivered again at QoS 2 because the application was killed while processing it
	Safe      int       // messages of QoS 1 and 2 that nothing may lose
}

// Failed reports whether anything was found.
func (v *Verdict) Failed() bool { return len(v.Findings) > 0 }

// A life is the history of one message.
type life struct {
	key
	intended, taken, unsent, givenUp int64 // times; 0: it did not happen
	whyGivenUp                       string

	sent  []Event // about it, by the publisher: PUBLISH, PUBREL
	acks  []Event // about it, from the broker to the publisher
	came  []Event // PUBLISH and PUBREL from the broker to the consumer
	gave  []Event // acknowledgements of the consumer
	notes []int64 // when it reached the application
	ends  []int64 // when its acknowledgement was on record
}

// A checker judges a history: the events of all processes and of the wire.
type checker struct {
	promise Promise
	events  []Event // by time
	lives   map[key]*life
	acts    []Event            // on the broker
	away    map[string][]Event // when a process did not run, by process
	closes  map[string][]Event // of a link, by others than the client
	anew    map[string][]int64 // connections without the session
	runs    map[string][]int64 // starts of processes
	said    map[int]Event      // the last acknowledgement on each link of the publisher
	slow    []Event            // what took too long
	rests   bool               // the publisher has completed all accepted messages
	v       Verdict
}

// Check judges the events of a history, ordered by time, by the promise of its broker.
func Check(promise Promise, events []Event) *Verdict {
	c := &checker{
		promise: promise, events: events, lives: make(map[key]*life), said: make(map[int]Event),
		away: make(map[string][]Event), closes: make(map[string][]Event), anew: make(map[string][]int64), runs: make(map[string][]int64),
	}
	for i := range c.events {
		c.take(&c.events[i])
	}
	for i := range c.slow {
		c.lasted(&c.slow[i])
	}
	c.order()
	for _, k := range slices.SortedFunc(maps.Keys(c.lives), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.qos, b.qos), cmp.Compare(a.n, b.n))
	}) {
		l := c.lives[k]
		c.published(l)
		c.delivered(l)
		c.repeated(l)
	}
	slices.SortStableFunc(c.v.Findings, func(a, b Finding) int { return cmp.Compare(a.At, b.At) })
	return &c.v
}

func (c *checker) life(e *Event) *life {
	k := key{e.QoS, e.N}
	l := c.lives[k]
	if l == nil {
		l = &life{key: k}
		c.lives[k] = l
	}
	return l
}

func (c *checker) find(fault Fault, who string, at int64, l *life, text string, args ...any) {
	f := Finding{Fault: fault, Who: who, At: at, N: -1, Text: fmt.Sprintf(text, args...)}
	if l != nil {
		f.QoS, f.N = l.qos, l.n
	}
	c.v.Findings = append(c.v.Findings, f)
}

// take records an event, and checks it if it concerns no message.
func (c *checker) take(e *Event) {
	switch e.What {
	case began:
		c.runs[e.Who] = append(c.runs[e.Who], e.At)
	case intend:
		c.life(e).intended = e.At
	case accepted:
		c.life(e).taken = e.At
		c.v.Accepted[e.QoS]++
	case unsent:
		c.life(e).unsent = e.At
	case givenUp:
		c.life(e).givenUp, c.life(e).whyGivenUp = e.At, e.Text
	case noted:
		l := c.life(e)
		if l.notes = append(l.notes, e.At); len(l.notes) == 1 {
			c.v.Delivered[e.QoS]++
		} else {
			c.v.Again[e.QoS]++
		}
	case finished:
		c.life(e).ends = append(c.life(e).ends, e.At)
	case altered:
		c.find(Altered, e.Who, e.At, nil, "%s", e.Text)
	case died:
		c.find(Ended, e.Who, e.At, nil, "%s", e.Text)
	case hung:
		c.find(Hung, e.Who, e.At, nil, "%s", e.Text)
	case drained:
		c.rests = true
	case hiccup:
		c.away[e.Who] = append(c.away[e.Who], *e)
	case act:
		c.act(e)
	case opened:
		if e.N == 0 {
			c.anew[e.Who] = append(c.anew[e.Who], e.At)
		}
	case closed:
		if e.Text != "client" {
			c.closes[e.Who] = append(c.closes[e.Who], *e)
		}
	case sent, came:
		c.wire(e)
	case late, silence:
		c.slow = append(c.slow, *e)
	}
}

func (c *checker) act(e *Event) {
	switch kind := Kind(e.Text); kind {
	case BrokerKill, Rollback:
		c.acts = append(c.acts, *e)
	case Stop:
		c.away[e.Who] = append(c.away[e.Who], Event{Since: e.At, At: e.Until})
	}
}

func (c *checker) wire(e *Event) {
	l := c.life(e)
	switch {
	case e.Who == Publisher && e.What == sent:
		l.sent = append(l.sent, *e)
	case e.Who == Publisher:
		l.acks = append(l.acks, *e)
		c.said[e.Conn] = *e
	case e.What == came:
		l.came = append(l.came, *e)
	default:
		l.gave = append(l.gave, *e)
	}
}
