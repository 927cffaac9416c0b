package lint

import "strings"

// Filters is a set of Topic Filters with owners that finds overlapping ones: filters that match the
// same message. It is a tree of topic levels, so its cost does not grow with the number of pairs.
type Filters struct {
	root  node
	steps int // left until Exhausted
}

// An Entry is a subscription of an owner. Entries with the same Subscribed are the same
// subscription, even if their owners differ.
type Entry struct {
	Owner      string // the name of the consumer
	Subscribed string // the filter as subscribed to, such as $share/group/filter
	Filter     string // the Topic Filter that messages match
}

type node struct {
	below map[string]*node

	// Entries whose filters end here: the last one, and up to two with different subscriptions, so
	// that at least one differs from that of any other entry.
	last, first, second *Entry
}

// maxSteps limits the work of a set: wildcards in many filters may make each search walk the whole
// tree.
const maxSteps = 4 << 20

// NewFilters returns an empty set.
func NewFilters() *Filters { return &Filters{steps: maxSteps} }

// Exhausted reports whether searching was given up because it took too long. Same, Other and
// Matching then return nil even if there is a match.
func (s *Filters) Exhausted() bool { return s.steps <= 0 }

// Add adds an entry, whose filter must be valid. The entries of an owner must be added one after
// another.
func (s *Filters) Add(e Entry) {
	n := &s.root
	for level := range strings.SplitSeq(e.Filter, "/") {
		next := n.below[level]
		if next == nil {
			if n.below == nil {
				n.below = make(map[string]*node)
			}
			next = new(node)
			n.below[level] = next
		}
		n = next
	}
	n.last = &e
	switch {
	case n.first == nil:
		n.first = &e
	case n.second == nil && n.first.Subscribed != e.Subscribed:
		n.second = &e
	}
}

// Same returns an entry of the same owner whose filter overlaps that of e, or nil if there is none.
func (s *Filters) Same(e Entry) *Entry {
	return s.overlapping(&s.root, strings.Split(e.Filter, "/"), true, func(n *node) *Entry {
		if n.last != nil && n.last.Owner == e.Owner {
			return n.last
		}
		return nil
	})
}

// Other returns an entry with another owner and another subscription whose filter overlaps that of
// e, or nil if there is none.
func (s *Filters) Other(e Entry) *Entry {
	return s.overlapping(&s.root, strings.Split(e.Filter, "/"), true, func(n *node) *Entry {
		for _, o := range []*Entry{n.first, n.second} {
			if o != nil && o.Owner != e.Owner && o.Subscribed != e.Subscribed {
				return o
			}
		}
		return nil
	})
}

// Matching returns an entry whose filter matches the Topic Name, or nil if there is none.
func (s *Filters) Matching(topic string) *Entry {
	return s.overlapping(&s.root, strings.Split(topic, "/"), true, func(n *node) *Entry { return n.first })
}

// overlapping searches below n for an entry whose filter overlaps the levels (section 4.7).
func (s *Filters) overlapping(n *node, levels []string, first bool, end func(*node) *Entry) *Entry {
	if s.steps--; s.steps <= 0 {
		return nil
	}
	if hash := n.below["#"]; hash != nil && !(first && system(levels)) {
		if e := end(hash); e != nil {
			return e // it matches what remains, and the level above
		}
	}
	if len(levels) == 0 {
		return end(n)
	}
	level, rest := levels[0], levels[1:]
	if level == "#" {
		return s.anything(n, first, end)
	}
	if level == "+" {
		for name, next := range n.below {
			if name != "#" && !(first && strings.HasPrefix(name, "$")) { // [MQTT-4.7.2-1]
				if e := s.overlapping(next, rest, false, end); e != nil {
					return e
				}
			}
		}
		return nil
	}
	for _, name := range []string{level, "+"} {
		if next := n.below[name]; next != nil && !(name == "+" && first && system(levels)) {
			if e := s.overlapping(next, rest, false, end); e != nil {
				return e
			}
		}
	}
	return nil
}

// anything searches for any entry at n or below: those that "#" overlaps.
func (s *Filters) anything(n *node, first bool, end func(*node) *Entry) *Entry {
	if s.steps--; s.steps <= 0 {
		return nil
	}
	if !first {
		if e := end(n); e != nil {
			return e
		}
	}
	for name, next := range n.below {
		if first && strings.HasPrefix(name, "$") { // [MQTT-4.7.2-1]
			continue
		}
		if e := s.anything(next, false, end); e != nil {
			return e
		}
	}
	return nil
}

func system(levels []string) bool { return len(levels) > 0 && strings.HasPrefix(levels[0], "$") }
