package connector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// unmatched handles messages that match the topics of no consumer. Servers send them for
// subscriptions of an earlier configuration, messages addressed to this client only, and topics
// that differ from the subscribed ones.
type unmatched struct {
	own    *consumer // only puts them away; nil until needed
	seen   sightings
	mu     sync.Mutex
	gaveUp []string // filters that are no longer subscribed to
	held   []*arrival
}

// sightings limits how often an event is reported.
type sightings struct {
	mu     sync.Mutex
	most   int       // reports per minute; 0 means 1
	began  time.Time // start of the current minute
	told   int       // reports in the current minute
	untold uint64    // sightings since the last report
	last   time.Time
	what   string // the last one
}

// sightingsEvery is the period of sightings, and how long the last one counts as a problem.
const sightingsEvery = time.Minute

// saw records a sighting. If it should be reported, saw returns the number of sightings since the
// last report, and otherwise 0.
func (s *sightings) saw(what string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.last, s.what = now, what
	s.untold++
	if s.began.IsZero() || now.Sub(s.began) >= sightingsEvery {
		s.began, s.told = now, 0
	}
	if s.told >= max(s.most, 1) {
		return 0
	}
	n := s.untold
	s.told++
	s.untold = 0
	return n
}

// recent returns the last sighting if it was within the last minute, and otherwise "".
func (s *sightings) recent(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.IsZero() || now.Sub(s.last) >= sightingsEvery {
		return ""
	}
	return s.what
}

// A deadLetterPlace is where a consumer puts its dead letters.
type deadLetterPlace struct{ topic, file string }

// has reports whether messages with a topic are dead letters of this place.
func (p deadLetterPlace) has(topic string) bool {
	return p.topic != "" && (topic == p.topic || topic == p.topic+metaLevel)
}

// deadLetterPlaces returns the places of all consumers, each once and with the policy of the first
// consumer that has it.
func (cfg *Config) deadLetterPlaces() (places []deadLetterPlace, policies []OnFailure) {
	for _, name := range sortedKeys(cfg.Consumers) {
		f := cfg.Consumers[name].OnFailure
		p := deadLetterPlace{f.DeadLetterTopic, f.DeadLetterFile}
		if p != (deadLetterPlace{}) && !slices.Contains(places, p) {
			places, policies = append(places, p), append(policies, f)
		}
	}
	return places, policies
}

// strayRoute returns the destination of messages that match no consumer of a setup. The caller
// holds flows.
func (c *Connector) strayRoute(s *setup) strayRoute {
	u := strayRoute{then: s.cfg.Extension.Unmatched.canonical()}
	places, policies := s.cfg.deadLetterPlaces()
	switch u.then {
	case UnmatchedHold, UnmatchedDrop:
	case "", UnmatchedDeadLetter:
		if len(places) != 1 {
			return u // acknowledged; if configured, Check refuses it
		}
		f := policies[0]
		f.Then, f.Retries = DeadLetter, new(int)
		settings := c.newSettings(ConsumerParams{OnFailure: f}, nil)
		own := c.unmatched.own
		if own == nil {
			own = c.newConsumer("", settings)
			own.putsAway = true
			c.unmatched.own = own
		}
		own.apply(settings) // it has no lanes, so no jobs must be left
		u.place, u.own, u.taker = places[0], true, &route{own, settings}
	default:
		i := slices.IndexFunc(s.routes, func(r route) bool { return r.name == string(u.then) })
		u.taker = &s.routes[i] // verified by Check
	}
	return u
}

// routeUnmatched handles a message that matches no consumer.
func (c *Connector) routeUnmatched(ctx context.Context, to *strayRoute, a *arrival) {
	u := &c.unmatched
	if u.hasGivenUp(a.d.Topic) {
		c.stats.skipped.Add(1)
		c.settle(a)
		return
	}
	c.stats.unmatched.Add(1)
	became := "it is acknowledged"
	switch {
	case to.place.has(a.d.Topic): // it would be received again and again
		c.settle(a)
	case to.taker != nil:
		became = "it is a dead letter"
		if !to.own {
			became = "consumer " + string(to.then) + " takes it"
		}
		a.ours = to.taker.settings.copies()
		if to.taker.take(ctx, a, to.taker.settings) != nil {
			c.leave(a)
		}
	case to.then == UnmatchedHold && a.d.QoS > packets.AtMostOnce:
		became = "it is not acknowledged"
		a.d.Payload = nil // not needed any more
		if !u.hold(a) {
			c.leave(a)
		}
	default:
		c.settle(a)
	}
	n := u.seen.saw(a.d.Topic)
	switch {
	case n == 0:
	case to.then == "":
		c.report(unmatchedError(a.d, n, became))
	default:
		c.log.Warn("a message matches no consumer", "topic", a.d.Topic, "id", a.d.PacketID, "unmatched", string(to.then), "count", n)
	}
}

func unmatchedError(d *client.Delivery, n uint64, became string) *flow.Error {
	others := ""
	if n > 1 {
		others = fmt.Sprintf(" (and %d before it did not either)", n-1)
	}
	return flow.NewError(flow.TypeUnmatched, fmt.Errorf("a message on %s (%s, id %d) matches no consumer; %s%s", shownTopic(d.Topic), qosNames[d.QoS], d.PacketID, became, others))
}

// giveUp records filters that are no longer subscribed to, whose messages may still arrive for a
// while.
func (u *unmatched) giveUp(filters []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.gaveUp = append(u.gaveUp, filters...)
}

func (u *unmatched) hasGivenUp(topic string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.gaveUp, func(f string) bool { return packets.Match(plain(f), topic) || packets.Match(f, topic) })
}

// hold keeps a message until its session is lost. It returns false if that is the case already.
func (u *unmatched) hold(a *arrival) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !a.d.Unacked() { // otherwise forgetHeld comes later
		return false
	}
	u.held = append(u.held, a)
	return true
}

// forgetHeld drops the held messages, because their session was lost.
func (c *Connector) forgetHeld() {
	u := &c.unmatched
	u.mu.Lock()
	held := u.held
	u.held = nil
	u.mu.Unlock()
	for _, a := range held {
		c.leave(a)
	}
}

// fillUnmatched sets UnmatchedTopic in Health.
func (c *Connector) fillUnmatched(h *Health, now time.Time) {
	if c.now().stray.then == "" {
		h.UnmatchedTopic = c.unmatched.seen.recent(now)
	}
}

// checkUnmatched checks that the destination of `unmatched` exists and is unique.
func (c *checker) checkUnmatched(at string) {
	u := c.cfg.Extension.Unmatched
	word := u.canonical()
	names := sortedKeys(c.cfg.Consumers)
	if !word.isWord() {
		if _, ok := c.cfg.Consumers[string(u)]; u != "" && !ok {
			c.add("E152/name", at, string(u), append(slices.Clone(unmatchedWords), names...))
		}
		return
	}
	if i := slices.IndexFunc(names, func(name string) bool { return normal(name) == normal(string(word)) }); i >= 0 {
		c.add("E152/word", at, names[i])
	}
	switch places, _ := c.cfg.deadLetterPlaces(); {
	case word == UnmatchedHold:
		c.add("W231", at)
	case word == UnmatchedDeadLetter && len(places) == 0:
		c.add("E152/place", at)
	case word == UnmatchedDeadLetter && len(places) > 1:
		c.add("E152/places", at, strings.Join(placeNames(places), ", "))
	}
}

func placeNames(places []deadLetterPlace) (names []string) {
	for _, p := range places {
		names = append(names, p.topic+p.file) // one of them is empty
	}
	return names
}
