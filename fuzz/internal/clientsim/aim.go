package clientsim

import "time"

// An aim narrows what a seed draws to what a rare fault needs: a bug that shows once in many thousand
// seeds shows within a few hundred narrowed ones.
var aims = map[string]func(*profile){
	"": func(*profile) {},

	// A process ends during QoS 2, and the next one starts from an older copy of the store that lacks those
	// messages: the server still holds Packet Identifiers that the new process will use.
	"older-copy": func(p *profile) {
		*p = profile{
			lives: 5, publishers: p.publishers, publishes: 4 + p.publishes, qos2: true, idle: 20 * time.Millisecond,
			durable: true, segment: p.segment, config: p.config, window: p.window, methodA: p.methodA,
			delay: 30 * time.Millisecond, store: time.Millisecond, die: 80, abort: p.abort, older: 50,
		}
		c := &p.config
		c.CleanSession, c.NoScrub = false, false
		c.ManualAck, c.QueueMessages = false, 20
	},
}

// aim narrows a profile. It reports whether the aim exists.
func (p *profile) aim(name string) bool {
	narrow, ok := aims[name]
	if ok {
		narrow(p)
	}
	return ok
}
