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

// unmatched is what becomes of messages that match the topics of no consumer. Servers send them: those of a
// subscription that an earlier configuration made, what was sent to this client alone, and topics that
// the server writes in another way than it is asked for them.
type unmatched struct {
	own    *consumer // puts them away, and does nothing else; nil: that was never needed
	seen   sightings
	mu     sync.Mutex
	gaveUp []string // filters that were subscribed to before, and are not any more
	held   []*arrival
}

// sightings limit how often something is reported.
type sightings struct {
	mu     sync.Mutex
	most   int       // reports within a minute; 0: one
	began  time.Time // of that minute
	told   int       // reports in it
	untold uint64    // sightings since the last report
	last   time.Time
	what   string // the newest one
}

// sightingsEvery is the minute of sightings; the newest one is trouble for as long.
const sightingsEvery = time.Minute

// saw notes a sighting. If it is to be reported, it returns the number of sightings since the last report;
// otherwise 0.
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

// recent returns the newest sighting if it came within the last minute; otherwise "".
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

// has reports whether messages of a topic are the dead letters of the place.
func (p deadLetterPlace) has(topic string) bool {
	return p.topic != "" && (topic == p.topic || topic == p.topic+metaLevel)
}

// deadLetterPlaces lists the places of all consumers, each once and with the policy of the first
// that has it.
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

// strayRoute finds who takes what matches no consumer of a setup. The caller holds flows.
func (c *Connector) strayRoute(s *setup) strayRoute {
	u := strayRoute{then: s.cfg.Extension.Unmatched.canonical()}
	places, policies := s.cfg.deadLetterPlaces()
	switch u.then {
	case UnmatchedHold, UnmatchedDrop:
	case "", UnmatchedDeadLetter:
		if len(places) != 1 {
			return u // it is acknowledged; as a setting Check refuses it
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
		own.apply(settings) // it has no lanes, so nothing is to be left
		u.place, u.own, u.taker = places[0], true, &route{own, settings}
	default:
		i := slices.IndexFunc(s.routes, func(r route) bool { return r.name == string(u.then) })
		u.taker = &s.routes[i] // Check has looked
	}
	return u
}

// routeUnmatched gives a message that matches no consumer to whoever takes it.
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
	case to.place.has(a.d.Topic): // it would come back again and again
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
		a.d.Payload = nil // nobody will ask for it
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

// giveUp notes filters that are not subscribed to any more: their messages may come for a while.
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

// hold keeps a message until its session is over; false if it is already.
func (u *unmatched) hold(a *arrival) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !a.d.Unacked() { // or forgetHeld comes later
		return false
	}
	u.held = append(u.held, a)
	return true
}

// forgetHeld lets go of what is held, because the session that it came in is over.
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

// fillUnmatched adds to Health the topic that no consumer has, if that is trouble.
func (c *Connector) fillUnmatched(h *Health, now time.Time) {
	if c.now().stray.then == "" {
		h.UnmatchedTopic = c.unmatched.seen.recent(now)
	}
}

// checkUnmatched checks that what `unmatched` names is there, and is one.
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
