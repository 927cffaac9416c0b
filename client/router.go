package client

import (
	"strings"
	"time"
)

// A router finds the handlers for a Topic Name. It is a tree in which each edge is a level of a
// Topic Filter (section 4.7).
type router struct {
	root      node
	handlers  int       // in the tree
	unmatched Handler   // for messages that the tree does not match, or nil
	told      time.Time // when an unmatched message was last reported
}

type node struct {
	handlers []Handler // of filters that end here
	rest     []Handler // of filters that end here with "#", which also matches its parent level
	children map[string]*node
}

// empty reports whether there are no handlers.
func (r *router) empty() bool { return r == nil || r.handlers == 0 && r.unmatched == nil }

func (r *router) add(filter string, h Handler) {
	n := &r.root
	for level := range strings.SplitSeq(filter, "/") {
		if level == "#" {
			n.rest = append(n.rest, h)
			r.handlers++
			return
		}
		if n.children == nil {
			n.children = make(map[string]*node)
		}
		next := n.children[level]
		if next == nil {
			next = new(node)
			n.children[level] = next
		}
		n = next
	}
	n.handlers = append(n.handlers, h)
	r.handlers++
}

// remove removes the handlers for a filter and reports whether there was one.
func (r *router) remove(filter string) bool {
	if r == nil {
		return false
	}
	n := r.root.remove(filter, true)
	r.handlers -= n
	return n > 0
}

// remove removes the handlers for the rest of a filter, and branches that become empty. It returns
// the number of handlers removed. If more is false, the filter ends at this node.
func (n *node) remove(filter string, more bool) (removed int) {
	if !more {
		removed, n.handlers = len(n.handlers), nil
		return removed
	}
	level, rest, more := strings.Cut(filter, "/")
	if level == "#" {
		removed, n.rest = len(n.rest), nil
		return removed
	}
	next := n.children[level]
	if next == nil {
		return 0
	}
	removed = next.remove(rest, more)
	if len(next.handlers) == 0 && len(next.rest) == 0 && len(next.children) == 0 {
		delete(n.children, level)
	}
	return removed
}

// match returns the handlers whose filters match a Topic Name, or the handler for unmatched
// messages if there are none.
func (r *router) match(topic string) []Handler {
	// A filter that starts with a wildcard does not match "$SYS" and its like [MQTT-4.7.2-1].
	found := r.root.match(nil, topic, true, strings.HasPrefix(topic, "$"))
	if len(found) == 0 && r.unmatched != nil {
		found = append(found, r.unmatched)
	}
	return found
}

func (n *node) match(found []Handler, topic string, more, dollar bool) []Handler {
	if !dollar {
		found = append(found, n.rest...)
	}
	if !more {
		return append(found, n.handlers...)
	}
	level, rest, more := strings.Cut(topic, "/")
	if next := n.children[level]; next != nil {
		found = next.match(found, rest, more, false)
	}
	if next := n.children["+"]; next != nil && !dollar {
		found = next.match(found, rest, more, false)
	}
	return found
}
