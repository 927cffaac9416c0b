package paho

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mqtt311/mqtt311/packets"
)

// A router finds the handlers for a message: those of all matching routes, in the order in which
// the routes were first added. It is safe for concurrent use; the list of routes is immutable and
// replaced on changes.
type router struct {
	mu     sync.Mutex
	routes atomic.Pointer[[]route]
}

type route struct {
	filter  string
	handler MessageHandler
}

func (r *router) all() []route {
	if all := r.routes.Load(); all != nil {
		return *all
	}
	return nil
}

// add adds a route, or replaces the handler of the route with the same filter.
func (r *router) add(filter string, h MessageHandler) {
	filter = undecorated(filter)
	r.mu.Lock()
	defer r.mu.Unlock()
	routes := slices.Clone(r.all())
	if i := indexOf(routes, filter); i >= 0 {
		routes[i].handler = h
	} else {
		routes = append(routes, route{filter, h})
	}
	r.routes.Store(&routes)
}

func (r *router) remove(filter string) {
	filter = undecorated(filter)
	r.mu.Lock()
	defer r.mu.Unlock()
	routes := slices.Clone(r.all())
	if i := indexOf(routes, filter); i >= 0 {
		routes = slices.Delete(routes, i, i+1)
		r.routes.Store(&routes)
	}
}

func indexOf(routes []route, filter string) int {
	return slices.IndexFunc(routes, func(r route) bool { return r.filter == filter })
}

// match appends the handlers for a Topic Name.
func (r *router) match(topic string, to []MessageHandler) []MessageHandler {
	for _, route := range r.all() {
		if route.filter == topic || matches(route.filter, topic) {
			to = append(to, route.handler)
		}
	}
	return to
}

// matches reports whether a filter matches a Topic Name (section 4.7). Unlike at the Server, a
// wildcard in the first level of a route also matches a name that starts with "$".
func matches(filter, topic string) bool {
	for {
		f, filterRest, moreFilter := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, topicRest, moreTopic := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !moreFilter:
			return !moreTopic
		case !moreTopic:
			return filterRest == "#" // "#" also matches its parent level
		}
		filter, topic = filterRest, topicRest
	}
}

// undecorated returns a filter such as $share/group/a or $queue/a without its prefix.
func undecorated(filter string) string {
	if plain, ok := packets.Undecorated(filter); ok {
		return plain
	}
	return filter
}
