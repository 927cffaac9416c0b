package torture

import (
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// The names of packets in a history.
var (
	publish = packets.PUBLISH.String()
	puback  = packets.PUBACK.String()
	pubrec  = packets.PUBREC.String()
	pubrel  = packets.PUBREL.String()
	pubcomp = packets.PUBCOMP.String()
)

const (
	// KeepAlive is the keep alive interval of the clients.
	KeepAlive = 2 * time.Second

	// silenceLimit is the silence after which a Server may close the connection [MQTT-3.1.2-24].
	silenceLimit = KeepAlive * 3 / 2

	// lag is by how much later than it was sent a packet may be seen by the proxy: machines are
	// shared.
	lag = int64(time.Second)

	// verdict is how often the broker must close over a message before it may be given up.
	verdict = 3
)

// lasted judges the time from e.Since to e.At. Times in which the process or the proxy did not run do
// not count.
func (c *checker) lasted(e *Event) {
	d := e.At - e.Since
	for _, who := range []string{e.Who, nemesis} {
		for _, a := range c.away[who] {
			d -= max(0, min(e.At, a.At)-max(e.Since, a.Since))
		}
	}
	if e.What == late && d > int64(lateBy) {
		c.find(Late, e.Who, e.At, nil, "%s", e.Text)
	}
	if e.What == silence && d > int64(silenceLimit) {
		c.find(Silent, e.Who, e.At, nil, "nothing left for %v", time.Duration(d).Round(time.Millisecond))
	}
}

// order checks three orders: the messages of a topic are first sent in order [MQTT-4.6.0-1], they are
// passed to the application in the order of arrival, and they arrive in order if the broker promises that.
func (c *checker) order() {
	var left, got [3]int // the highest number of each QoS
	var arrived [3]*life // the latest arrival that the application has seen, of each QoS
	seen := make(map[*life]bool)
	for i := range c.events {
		e := &c.events[i]
		if e.QoS == 0 {
			continue
		}
		switch {
		case e.Who == Publisher && e.What == sent && e.Text == publish:
			l := c.lives[key{e.QoS, e.N}]
			if e.At > l.sent[0].At {
				continue
			}
			if e.N < left[e.QoS] {
				c.find(Disordered, Publisher, e.At, l, "it left behind number %d", left[e.QoS])
			}
			left[e.QoS] = max(left[e.QoS], e.N)
		case e.What == noted:
			l := c.lives[key{e.QoS, e.N}]
			if seen[l] {
				continue
			}
			seen[l] = true
			if e.N < got[e.QoS] && c.promise.Ordered {
				c.find(Disordered, Broker, e.At, l, "it came behind number %d", got[e.QoS])
			}
			got[e.QoS] = max(got[e.QoS], e.N)
			at, once := l.arrival()
			if !once {
				continue
			}
			if before := arrived[e.QoS]; before != nil {
				if was, _ := before.arrival(); at < was {
					c.find(Disordered, Consumer, e.At, l, "it had arrived before number %d", before.n)
					continue
				}
			}
			arrived[e.QoS] = l
		}
	}
}

// arrival returns when the message first arrived at the consumer, and whether it arrived only once
// before the application had it.
func (l *life) arrival() (at int64, once bool) {
	n := 0
	for _, e := range l.came {
		if e.Text == publish && e.At <= l.notes[0] {
			at = e.At
			n++
		}
	}
	return at, n == 1
}

// published judges what the publisher did with a message.
func (c *checker) published(l *life) {
	switch {
	case l.unsent == 0:
	case len(l.sent) > 0:
		c.find(Untrue, Publisher, l.unsent, l, "it left at %s", clock(l.sent[0].At))
	case len(l.notes) > 0:
		c.find(Untrue, Publisher, l.unsent, l, "it came at %s", clock(l.notes[0]))
	}
	if l.givenUp > 0 {
		n := 0
		for _, e := range c.closes[Publisher] {
			if l.intended <= e.At && e.At <= l.givenUp {
				n++
			}
		}
		if n < verdict {
			c.find(GivenUp, Publisher, l.givenUp, l, "%s; the link was cut, or the broker closed, %d times", l.whyGivenUp, n)
		}
	}
	var id uint16
	var released, first int64
	for _, e := range l.sent {
		switch {
		case e.Text == pubrel:
			released = e.At
			continue
		case first == 0:
			first, id = e.At, e.ID
			continue
		case l.qos == 0:
			c.find(Resent, Publisher, e.At, l, "QoS 0 leaves once")
		case c.without(Publisher, first, e.At):
			id, released, first = e.ID, 0, e.At // a new session: the broker has forgotten the identifier
		case e.ID != id:
			c.find(Resent, Publisher, e.At, l, "under the identifiers %d and %d", id, e.ID)
		case released > 0:
			c.find(Resent, Publisher, e.At, l, "after its PUBREL [MQTT-4.3.3-1]")
		}
	}
}

// without reports whether the link began a connection without the session between two times.
func (c *checker) without(who string, from, to int64) bool {
	return slices.ContainsFunc(c.anew[who], func(at int64) bool { return from < at && at <= to })
}

// delivered judges whether a message arrived.
func (c *checker) delivered(l *life) {
	if len(l.notes) > 0 {
		if l.intended == 0 {
			c.find(Altered, Broker, l.notes[0], l, "nobody published it")
		}
		if len(l.gave) > 0 && l.gave[0].At < l.notes[0] {
			c.find(Early, Consumer, l.gave[0].At, l, "%s left before the application had it", l.gave[0].Text)
		}
	}
	if l.qos == 0 || l.taken == 0 && len(l.acks) == 0 {
		return // nothing was promised
	}
	why := ""
	switch {
	case c.rolledBack(l):
		why = "the broker was set back"
	case c.promise.Drops && c.dropped(l):
		why = "the broker closed over it"
	default:
		c.v.Safe++
	}
	switch {
	case len(l.notes) > 0 || l.givenUp > 0:
	case len(l.gave) > 0:
		c.find(Swallowed, Consumer, l.gave[0].At, l, "the consumer sent %s", l.gave[0].Text)
	case len(l.acks) == 0:
		c.find(Unfinished, Publisher, l.taken, l, "accepted, and the broker has acknowledged nothing")
	case why != "":
		c.excuse(Lost, l.acks[0].At, l, why)
	default:
		c.find(Lost, Broker, l.acks[0].At, l, "the broker sent %s", l.acks[0].Text)
	}
}

// rolledBack reports whether an act may have made the broker forget a message that it had
// acknowledged.
func (c *checker) rolledBack(l *life) bool {
	if len(l.acks) == 0 {
		return false
	}
	first, last := l.acks[0].At, l.acks[len(l.acks)-1].At
	return slices.ContainsFunc(c.acts, func(e Event) bool { return e.Since < last && first < e.At+lag })
}

// dropped reports whether the broker closed the publisher's link right over the message, see Promise.Drops: the
// last packet that it sent there is about the message, or it did not answer the PUBREL.
func (c *checker) dropped(l *life) bool {
	return slices.ContainsFunc(c.closes[Publisher], func(end Event) bool {
		justBefore := func(e Event) bool { return e.Conn == end.Conn && end.At-lag/10 <= e.At && e.At <= end.At }
		last := c.said[end.Conn]
		switch {
		case end.Text != Broker:
			return false
		case last.QoS == l.qos && last.N == l.n && justBefore(last):
			return true
		}
		return slices.ContainsFunc(l.sent, func(e Event) bool { return e.Text == pubrel && justBefore(e) }) &&
			!slices.ContainsFunc(l.acks, func(e Event) bool { return e.Conn == end.Conn && e.Text == pubcomp })
	})
}

func (c *checker) excuse(fault Fault, at int64, l *life, text string) {
	c.v.Excused = append(c.v.Excused, Finding{Fault: fault, Who: Broker, At: at, QoS: l.qos, N: l.n, Text: text})
}

// repeated checks messages that were delivered again at QoS 2.
func (c *checker) repeated(l *life) {
	if l.qos != 2 || !c.promise.QoS2 {
		return
	}
	for i := 1; i < len(l.notes); i++ {
		before, again := l.notes[i-1], l.notes[i]
		ended := slices.ContainsFunc(l.ends, func(at int64) bool { return before <= at && at <= again })
		if !ended && slices.ContainsFunc(c.runs[Consumer], func(at int64) bool { return before < at && at < again }) {
			c.v.InWork++
			continue
		}
		switch why, known := c.cameAgain(l, before, again); {
		case c.setBack(l, again):
			c.excuse(Duplicated, again, l, "the broker was set back")
		case why == "":
			c.find(Duplicated, Consumer, again, l, "it came under the same identifier, without PUBREL")
		case known && c.promise.Repeats:
			c.excuse(Duplicated, again, l, why)
		default:
			c.find(Duplicated, Broker, again, l, "%s", why)
		}
	}
}

// cameAgain returns the reason why the consumer could not recognise a repeated message; empty if it
// could. known reports whether the broker is known to do that, see Promise.Repeats.
func (c *checker) cameAgain(l *life, before, again int64) (why string, known bool) {
	released := false
	var first, last *Event
	for i := range l.came {
		e := &l.came[i]
		switch {
		case e.Text == pubrel && e.At < again:
			released = true
		case e.At <= before:
			first = e
		case e.At <= again:
			last = e
		}
	}
	switch {
	case released:
		return "the broker published it after its PUBREL [MQTT-4.3.3-1]", true
	case c.without(Consumer, before, again):
		return "the broker had lost the session", false
	case first != nil && last != nil && first.ID != last.ID:
		return "the broker published it under another identifier", true
	}
	return "", false
}

// setBack reports whether an act may have made the broker forget an acknowledgement of the
// consumer.
func (c *checker) setBack(l *life, again int64) bool {
	last := again
	for _, e := range l.gave {
		if e.Text == pubcomp && e.At < again {
			last = e.At
		}
	}
	return slices.ContainsFunc(c.acts, func(e Event) bool {
		return e.Since-int64(c.promise.Forgets) < last && e.At < again
	})
}

func clock(at int64) string { return time.Unix(0, at).Format("15:04:05.000") }
