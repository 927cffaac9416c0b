package torture

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A tale is a made-up history. Its steps are a tenth of a second apart.
type tale struct {
	at     int64
	events []Event
}

func at(tenths int) int64 {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano() + int64(tenths)*1e8
}

func newTale() *tale {
	s := &tale{at: at(0)}
	return s.add(Event{Who: Consumer, What: began}).add(Event{Who: Consumer, What: opened}).
		add(Event{Who: Publisher, What: began}).add(Event{Who: Publisher, What: opened})
}

func (s *tale) add(e Event) *tale {
	s.at += 1e8
	e.At = s.at
	if e.Since != 0 {
		e.Since += s.at
	}
	if e.Until != 0 {
		e.Until += s.at
	}
	s.events = append(s.events, e)
	return s
}

func (s *tale) told(who, what string, qos byte, n int) *tale {
	return s.add(Event{Who: who, What: what, QoS: qos, N: n})
}

func (s *tale) wire(who, what, packet string, qos byte, n int, id uint16) *tale {
	return s.add(Event{Who: who, What: what, Text: packet, QoS: qos, N: n, ID: id})
}

// out is a message from the publisher that the broker acknowledges.
func (s *tale) out(qos byte, n int) *tale {
	id := uint16(100 + n)
	s.told(Publisher, intend, qos, n).told(Publisher, accepted, qos, n).wire(Publisher, sent, publish, qos, n, id)
	if qos == 1 {
		return s.wire(Publisher, came, puback, qos, n, id)
	}
	if qos == 2 {
		s.wire(Publisher, came, pubrec, qos, n, id).wire(Publisher, sent, pubrel, qos, n, id).wire(Publisher, came, pubcomp, qos, n, id)
	}
	return s
}

// in is a message from the broker that the application finishes.
func (s *tale) in(qos byte, n int) *tale { return s.inAs(qos, n, uint16(200+n)) }

func (s *tale) inAs(qos byte, n int, id uint16) *tale {
	s.wire(Consumer, came, publish, qos, n, id).told(Consumer, noted, qos, n)
	if qos == 1 {
		return s.wire(Consumer, sent, puback, qos, n, id)
	}
	if qos == 2 {
		s.wire(Consumer, sent, pubrec, qos, n, id).told(Consumer, finished, qos, n).
			wire(Consumer, came, pubrel, qos, n, id).wire(Consumer, sent, pubcomp, qos, n, id)
	}
	return s
}

// check returns the findings as "who fault".
func (s *tale) check(p Promise) (found []string) {
	for _, f := range s.verdict(p).Findings {
		found = append(found, fmt.Sprint(f.Who, " ", f.Fault))
	}
	return found
}

func (s *tale) verdict(p Promise) *Verdict {
	events := slices.Clone(s.events)
	slices.SortStableFunc(events, func(a, b Event) int { return int(a.At - b.At) })
	return Check(p, events)
}

func says(who string, f Fault) []string { return []string{fmt.Sprint(who, " ", f)} }

var strict = Promise{QoS2: true, Ordered: true}

func TestCheckerAcceptsWhatIsRight(t *testing.T) {
	s := newTale()
	for qos := byte(0); qos <= 2; qos++ {
		for n := range 3 {
			s.out(qos, n).in(qos, n)
		}
	}
	s.out(0, 3)                                                                      // lost, which QoS 0 allows
	s.told(Publisher, intend, 1, 3)                                                  // in flight at a kill
	s.out(1, 4).in(1, 4).in(1, 4)                                                    // twice, which QoS 1 allows
	s.told(Publisher, intend, 2, 3).told(Publisher, unsent, 2, 3)                    // not sent, as the client said
	s.wire(Publisher, sent, publish, 1, 5, 9).told(Publisher, intend, 1, 5).in(1, 5) // sent by a client that was killed before it could report it
	v := s.verdict(strict)
	require.Empty(t, v.Findings)
	require.Equal(t, [3]int{4, 4, 3}, v.Accepted)
	require.Equal(t, [3]int{3, 5, 3}, v.Delivered)
	require.Equal(t, [3]int{0, 1, 0}, v.Again)
}

// The checker finds each fault, and nothing else.
func TestCheckerFindsEveryFault(t *testing.T) {
	cut := Event{Who: Publisher, What: closed, Text: nemesis}
	for name, row := range map[string]struct {
		tale *tale
		want []string
	}{
		"lost at QoS 1": {newTale().out(1, 0), says(Broker, Lost)},
		"lost at QoS 2": {newTale().out(2, 0), says(Broker, Lost)},
		"acknowledged, and the application never had it": {
			newTale().out(1, 0).wire(Consumer, came, publish, 1, 0, 7).wire(Consumer, sent, puback, 1, 0, 7), says(Consumer, Swallowed)},
		"accepted and never sent": {newTale().told(Publisher, intend, 1, 0).told(Publisher, accepted, 1, 0), says(Publisher, Unfinished)},
		"accepted, sent and never acknowledged": {
			newTale().told(Publisher, intend, 1, 0).told(Publisher, accepted, 1, 0).wire(Publisher, sent, publish, 1, 0, 1), says(Publisher, Unfinished)},
		"twice under one identifier": {
			newTale().out(2, 0).wire(Consumer, came, publish, 2, 0, 7).told(Consumer, noted, 2, 0).told(Consumer, finished, 2, 0).
				wire(Consumer, came, publish, 2, 0, 7).told(Consumer, noted, 2, 0), says(Consumer, Duplicated)},
		"twice in one process, before it is on record": {
			newTale().out(2, 0).wire(Consumer, came, publish, 2, 0, 7).told(Consumer, noted, 2, 0).told(Consumer, noted, 2, 0), says(Consumer, Duplicated)},
		"twice, under another identifier":   {newTale().out(2, 0).inAs(2, 0, 7).inAs(2, 0, 8), says(Broker, Duplicated)},
		"again after PUBREL, by the broker": {newTale().out(2, 0).in(2, 0).in(2, 0), says(Broker, Duplicated)},
		"sent again after PUBREL": {
			newTale().out(2, 0).in(2, 0).wire(Publisher, sent, publish, 2, 0, 100), says(Publisher, Resent)},
		"sent again under another identifier": {
			newTale().out(1, 0).in(1, 0).wire(Publisher, sent, publish, 1, 0, 999), says(Publisher, Resent)},
		"QoS 0 sent again": {newTale().out(0, 0).wire(Publisher, sent, publish, 0, 0, 0), says(Publisher, Resent)},
		"not sent, and sent": {
			newTale().told(Publisher, intend, 1, 0).wire(Publisher, sent, publish, 1, 0, 1).told(Publisher, unsent, 1, 0), says(Publisher, Untrue)},
		"not sent, and there": {
			newTale().told(Publisher, intend, 1, 0).told(Publisher, unsent, 1, 0).in(1, 0), says(Publisher, Untrue)},
		"altered":           {newTale().add(Event{Who: Consumer, What: altered}), says(Consumer, Altered)},
		"invented":          {newTale().in(1, 4), says(Broker, Altered)},
		"left out of order": {newTale().out(1, 1).out(1, 0).in(1, 0).in(1, 1), says(Publisher, Disordered)},
		"came out of order": {newTale().out(1, 0).out(1, 1).in(1, 1).in(1, 0), says(Broker, Disordered)},
		"handed out of order": {
			newTale().out(1, 0).out(1, 1).wire(Consumer, came, publish, 1, 0, 7).wire(Consumer, came, publish, 1, 1, 8).
				told(Consumer, noted, 1, 1).told(Consumer, noted, 1, 0), append(says(Broker, Disordered), says(Consumer, Disordered)...)},
		"given up": {
			newTale().told(Publisher, intend, 1, 0).told(Publisher, accepted, 1, 0).add(cut).add(cut).told(Publisher, givenUp, 1, 0), says(Publisher, GivenUp)},
		"a late call":     {newTale().add(Event{Who: Publisher, What: late, Since: -11e8}), says(Publisher, Late)},
		"a silent client": {newTale().add(Event{Who: Consumer, What: silence, Since: -31e8}), says(Consumer, Silent)},
		"ended by itself": {newTale().add(Event{Who: Consumer, What: died}), says(Consumer, Ended)},
		"hung":            {newTale().add(Event{Who: Publisher, What: hung}), says(Publisher, Hung)},
		"acknowledged early": {
			newTale().out(1, 0).wire(Consumer, came, publish, 1, 0, 7).wire(Consumer, sent, puback, 1, 0, 7).told(Consumer, noted, 1, 0), says(Consumer, Early)},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, row.want, row.tale.check(strict)) })
	}
}

// An act excuses the faults that it explains, and no others.
func TestCheckerExcuses(t *testing.T) {
	// A broker that is rolled back by half a second, which is five tenths in this history.
	setBack := func(s *tale, since int) *tale {
		return s.add(Event{Who: Broker, What: act, Text: string(Rollback), Since: -int64(since) * 1e8, Until: 1e8})
	}
	t.Run("lost behind the snapshot", func(t *testing.T) {
		v := setBack(newTale().out(1, 0), 5).verdict(strict)
		require.Empty(t, v.Findings)
		require.Len(t, v.Excused, 1)
		require.Zero(t, v.Safe)
	})
	t.Run("lost before the snapshot", func(t *testing.T) {
		s := newTale().out(1, 0).add(Event{What: began, Who: Broker}).out(1, 1)
		s.at += 10e8
		require.Equal(t, append(says(Broker, Lost), says(Broker, Lost)...), setBack(s, 5).check(strict))
	})
	t.Run("lost after it came back", func(t *testing.T) {
		s := setBack(newTale(), 5)
		s.at += 20e8
		require.Equal(t, says(Broker, Lost), s.out(1, 0).check(strict))
	})
	t.Run("a kill of a broker that keeps its word", func(t *testing.T) {
		s := newTale().out(1, 0)
		s.at += 20e8
		s.add(Event{Who: Broker, What: act, Text: string(BrokerKill)})
		s.events[len(s.events)-1].Since = s.at
		require.Equal(t, says(Broker, Lost), s.check(strict))
	})
	t.Run("a stop takes nothing", func(t *testing.T) {
		s := newTale().out(1, 0).add(Event{Who: Broker, What: act, Text: string(BrokerStop), Since: -20e8, Until: 1e8})
		require.Equal(t, says(Broker, Lost), s.check(strict))
	})
	drops := Promise{QoS2: true, Drops: true}
	over := func(s *tale) *tale { return s.add(Event{Who: Publisher, What: closed, Text: Broker}) }
	t.Run("lost in the middle of a close, of a broker that does so", func(t *testing.T) {
		v := over(newTale().out(1, 0)).verdict(drops)
		require.Empty(t, v.Findings)
		require.Len(t, v.Excused, 1)
		require.Zero(t, v.Safe)
		require.Equal(t, says(Broker, Lost), over(newTale().out(1, 0)).check(strict))
		require.Equal(t, says(Broker, Lost), newTale().out(1, 0).check(drops), "the publisher's link is well")
		require.Equal(t, says(Broker, Lost), over(newTale().out(1, 0).out(1, 1).told(Consumer, noted, 1, 1)).check(drops), "it went on after it")
	})
	t.Run("lost in the middle of a close at QoS 2, of a broker that does so", func(t *testing.T) {
		released := func() *tale {
			s := newTale().out(2, 0)
			s.events, s.at = s.events[:len(s.events)-1], s.at-1e8 // without the PUBCOMP
			return s
		}
		again := func(s *tale) *tale {
			return s.wire(Publisher, sent, pubrel, 2, 0, 100).wire(Publisher, came, pubcomp, 2, 0, 100)
		}
		next := func(s *tale) *tale {
			s.events = append(s.events, Event{Who: Publisher, What: sent, Text: pubrel, QoS: 2, ID: 100, Conn: 1, At: s.at + 1})
			return s
		}
		require.Empty(t, next(over(released())).check(drops))
		require.Equal(t, says(Broker, Lost), next(over(released())).check(strict))
		require.Equal(t, says(Broker, Lost), over(again(released()).out(1, 1).told(Consumer, noted, 1, 1)).check(drops), "it answered PUBREL, and went on")
	})
	t.Run("again behind the snapshot", func(t *testing.T) {
		v := setBack(newTale().out(2, 0).in(2, 0), 5).in(2, 0).verdict(strict)
		require.Empty(t, v.Findings)
		require.Len(t, v.Excused, 1)
	})
	t.Run("again though the snapshot knows that it is done", func(t *testing.T) {
		s := newTale().out(2, 0).in(2, 0)
		s.at += 10e8
		require.Equal(t, says(Broker, Duplicated), setBack(s, 5).in(2, 0).check(strict))
	})
	t.Run("again though the snapshot knows, of a broker that forgets", func(t *testing.T) {
		s := newTale().out(2, 0).in(2, 0)
		s.at += 10e8
		require.Empty(t, setBack(s, 5).in(2, 0).check(Promise{QoS2: true, Forgets: 2 * time.Second}))
	})
	t.Run("again after PUBREL, of a broker that does so", func(t *testing.T) {
		v := newTale().out(2, 0).in(2, 0).in(2, 0).verdict(Promise{QoS2: true, Repeats: true})
		require.Empty(t, v.Findings)
		require.Len(t, v.Excused, 1)
	})
	t.Run("again under another identifier, of a broker that does so", func(t *testing.T) {
		s := newTale().out(2, 0).wire(Consumer, came, publish, 2, 0, 7).told(Consumer, noted, 2, 0).told(Consumer, finished, 2, 0).inAs(2, 0, 8)
		require.Empty(t, s.check(Promise{QoS2: true, Repeats: true}))
		require.Equal(t, says(Broker, Duplicated), s.check(strict))
	})
	t.Run("in work at a kill", func(t *testing.T) {
		s := newTale().out(2, 0).wire(Consumer, came, publish, 2, 0, 7).told(Consumer, noted, 2, 0).add(Event{Who: Consumer, What: began}).in(2, 0)
		v := s.verdict(strict)
		require.Empty(t, v.Findings)
		require.Equal(t, 1, v.InWork)
	})
	t.Run("a broker without QoS 2", func(t *testing.T) {
		require.Empty(t, newTale().out(2, 0).in(2, 0).in(2, 0).check(Promise{}))
	})
	t.Run("sent anew into a new session", func(t *testing.T) {
		s := newTale().out(2, 0).in(2, 0).add(Event{Who: Publisher, What: opened}).wire(Publisher, sent, publish, 2, 0, 55)
		require.Empty(t, s.check(strict))
		s = newTale().out(2, 0).in(2, 0).add(Event{Who: Publisher, What: opened, N: 1}).wire(Publisher, sent, publish, 2, 0, 55)
		require.Equal(t, says(Publisher, Resent), s.check(strict), "the session was there")
	})
	t.Run("closed over three times", func(t *testing.T) {
		s := newTale().told(Publisher, intend, 1, 0).told(Publisher, accepted, 1, 0)
		for range 3 {
			s.add(Event{Who: Publisher, What: closed, Text: Broker})
		}
		require.Empty(t, s.told(Publisher, givenUp, 1, 0).check(strict))
	})
	t.Run("the client's own closes are none", func(t *testing.T) {
		s := newTale().told(Publisher, intend, 1, 0).told(Publisher, accepted, 1, 0)
		for range 3 {
			s.add(Event{Who: Publisher, What: closed, Text: "client"})
		}
		require.Equal(t, says(Publisher, GivenUp), s.told(Publisher, givenUp, 1, 0).check(strict))
	})
	for _, what := range []string{late, silence} {
		t.Run(what+" of a process that was stopped", func(t *testing.T) {
			stopped := Event{Who: Consumer, What: act, Text: string(Stop), Until: 40e8}
			s := newTale().add(stopped)
			s.at += 40e8
			require.Empty(t, s.add(Event{Who: Consumer, What: what, Since: -39e8}).check(strict))
			s.at += 50e8
			require.Len(t, s.add(Event{Who: Consumer, What: what, Since: -40e8}).check(strict), 1, "another time")
		})
		t.Run(what+" of a machine that had no time", func(t *testing.T) {
			s := newTale()
			s.at += 40e8
			s.add(Event{Who: nemesis, What: hiccup, Since: -39e8})
			require.Empty(t, s.add(Event{Who: Consumer, What: what, Since: -39e8}).check(strict))
		})
	}
	t.Run("order is no promise", func(t *testing.T) {
		require.Empty(t, newTale().out(1, 0).out(1, 1).in(1, 1).in(1, 0).check(Promise{}))
	})
}
