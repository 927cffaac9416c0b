package connector

import (
	"slices"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// A setup is a configuration in effect with what was created from it. It is immutable; Reconfigure
// replaces it.
type setup struct {
	cfg       Config  // settings that need a restart are as passed to New
	routes    []route // of its consumers, by name
	producers map[string]*Producer
	stray     strayRoute
	before    *setup // its consumers take what matches none of these; or nil
}

// A route passes messages to a consumer with its settings in a setup.
type route struct {
	*consumer
	settings *settings
}

// A strayRoute is the destination of messages that match no consumer.
type strayRoute struct {
	then  Unmatched // of the configuration: a word, a name, or nothing
	taker *route    // takes the messages, or nil
	own   bool      // the taker is not a consumer of the configuration: it only puts them away
	place deadLetterPlace
}

// now returns the setup in effect.
func (c *Connector) now() *setup { return c.live.Load() }

// Consumers returns the parameters of the consumers in force, by name. It follows Reconfigure.
func (c *Connector) Consumers() map[string]ConsumerParams { return c.now().cfg.clone().Consumers }

// everyConsumer returns all consumers, including those removed from the configuration.
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

// subscriptions returns the subscriptions of the consumers, each filter once and with the highest
// QoS requested, because a second one would replace the first [MQTT-3.8.4-3].
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

// keepsLedger reports whether a consumer uses the ledger.
func (s *setup) keepsLedger() bool {
	return slices.ContainsFunc(s.routes, func(r route) bool { return r.settings.params.Ledger })
}

// takers appends the routes of a message. skipped is set if it belongs to another process, or is
// excluded by Retained. A message that matches no consumer of the configuration goes to those of
// the last one in which it did.
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
