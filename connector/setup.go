package connector

import (
	"slices"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// A setup is a configuration in force with what was made of it. It does not change: Reconfigure
// puts another one in its place.
type setup struct {
	cfg       Config  // what needs a restart is as New got it
	routes    []route // of its consumers, by name
	producers map[string]*Producer
	stray     strayRoute
	before    *setup // whose consumers take what matches none of these; nil: there is none
}

// A route leads messages to a consumer with the settings that it has in a setup.
type route struct {
	*consumer
	settings *settings
}

// A strayRoute is where messages go that match no consumer.
type strayRoute struct {
	then  Unmatched // of the configuration: a word, a name, or nothing
	taker *route    // takes them; nil: nobody does
	own   bool      // the taker is no consumer of the configuration: it only puts them away
	place deadLetterPlace
}

// now returns the setup that is in force.
func (c *Connector) now() *setup { return c.live.Load() }

// Consumers returns the parameters of the consumers that are in force, by name, after Reconfigure as well.
func (c *Connector) Consumers() map[string]ConsumerParams { return c.now().cfg.clone().Consumers }

// everyConsumer lists the consumers that there are, also those that no configuration has any more.
func (c *Connector) everyConsumer() []*consumer {
	c.flows.Lock()
	defer c.flows.Unlock()
	var all []*consumer
	for _, name := range sortedKeys(c.consumers) {
		all = append(all, c.consumers[name])
	}
	if c.unmatched.own != nil {
		all = append(all, c.unmatched.own)
	}
	return all
}

// subscriptions lists what the consumers want, each filter once and with the highest QoS
// of those who want it: a second one would replace the first [MQTT-3.8.4-3].
func (s *setup) subscriptions() []packets.Subscription {
	var subs []packets.Subscription
	at := make(map[string]int)
	for _, r := range s.routes {
		for _, sub := range r.settings.params.subscriptions() {
			i, ok := at[sub.Filter]
			if !ok {
				at[sub.Filter] = len(subs)
				subs = append(subs, sub)
			} else {
				subs[i].QoS = max(subs[i].QoS, sub.QoS)
			}
		}
	}
	return subs
}

// keepsLedger reports whether a consumer wants the ledger.
func (s *setup) keepsLedger() bool {
	return slices.ContainsFunc(s.routes, func(r route) bool { return r.settings.params.Ledger })
}

// takers appends the routes that a message takes. Skipped reports that it is for another process,
// or not wanted because it is retained, or is not. What matches no consumer of the configuration
// goes to those of the last one in which it did.
func (s *setup) takers(d *client.Delivery, to []route) (takers []route, skipped bool) {
	for ; s != nil && len(to) == 0 && !skipped; s = s.before {
		for _, r := range s.routes {
			switch {
			case !r.settings.wants(d.Topic):
			case r.settings.skips(d):
				skipped = true
			default:
				to = append(to, r)
			}
		}
	}
	return to, skipped
}
