package client

import "strings"

// A router finds the handlers for a Topic Name: a tree with a level of the Topic
// Filter on each branch, section 4.7.
type router struct {
	root node
}

type node struct {
	handlers []Handler // of filters that end here
	rest     []Handler // of filters that end here with "#", which also matches its parent level
	children map[string]*node
}

func (r *router) add(filter string, h Handler) {
	n := &r.root
	for level := range strings.SplitSeq(filter, "/") {
		if level == "#" {
			n.rest = append(n.rest, h)
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
}

// match returns the handlers whose filters match a Topic Name.
func (r *router) match(topic string) []Handler {
	// A filter that starts with a wildcard does not match "$SYS" and its like
	// [MQTT-4.7.2-1].
	return r.root.match(nil, topic, true, strings.HasPrefix(topic, "$"))
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
