package sim

import (
	"math/rand/v2"
	"time"
)

// The kinds of steps of a run.
const (
	stepPublish = iota
	stepIncoming
	stepSubscribe
	stepWithdraw
	stepOpen
	stepWrite
	stepRead
	stepBrokerRead
	stepBrokerAnswer
	stepBrokerSend
	stepSync
	stepAppend
	stepAck
	stepTime
	stepDisconnect
	stepCut
	stepHole
	stepCrash
	stepLoseSession
	steps
)

// baseWeight is the relative probability of each step when it is possible; a seed varies it.
var baseWeight = [steps]int{
	stepPublish: 30, stepIncoming: 30, stepSubscribe: 8, stepWithdraw: 3, stepOpen: 60,
	stepWrite: 100, stepRead: 100, stepBrokerRead: 100, stepBrokerAnswer: 80, stepBrokerSend: 60,
	stepSync: 40, stepAppend: 5, stepAck: 50, stepTime: 15,
	stepDisconnect: 2, stepCut: 8, stepHole: 2, stepCrash: 4, stepLoseSession: 10,
}

// A profile is what a seed draws before its run: sizes, rates of faults, and what
// kind of broker it meets.
type profile struct {
	weight [steps]int

	publishes, incoming, requests int // how many of each there are

	durable, clean bool
	failQoS1       bool
	republish      bool // QoS 2 messages are published anew when a session is lost
	inflight       int
	keepAlive      time.Duration
	firstSeq       uint64
	lateForgets    bool
	powerLoss      bool
	byPeer         bool // some cuts count as the broker's closes

	methodA     bool // QoS 2 messages are passed on at PUBREL, not at PUBLISH
	reorder     bool // acknowledgements leave the broker in any order
	window      int
	lieAbsent   bool // says Session Present 0 and goes on with the session
	liePresent  bool // says Session Present 1 after it lost the session
	refuses     bool // refuses some CONNECTs
	noise       bool // sends acknowledgements of nothing
	loses       bool // loses its session
	identifiers int  // how many Packet Identifiers the broker uses

	scrub bool // identifiers are released before their first use at QoS 2
	wipes bool // the disk is sometimes lost with the process
}

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func draw(r *rand.Rand, limit int) profile {
	p := profile{
		publishes: 5 + r.IntN(25), incoming: r.IntN(20), requests: r.IntN(6),
		durable: !chance(r, 15), clean: chance(r, 15), failQoS1: chance(r, 20),
		inflight:    1 << r.IntN(5),
		keepAlive:   -1,
		lateForgets: chance(r, 40), powerLoss: chance(r, 70), byPeer: chance(r, 20),
		methodA: chance(r, 50), reorder: chance(r, 25), window: 1 << r.IntN(5),
		refuses: chance(r, 10), noise: chance(r, 15), identifiers: 20 + r.IntN(80),
	}
	if chance(r, 10) {
		p.window = 1
	}
	if chance(r, 70) {
		p.keepAlive = time.Duration(5+r.IntN(20)) * time.Second
	}
	if chance(r, 30) {
		p.firstSeq = 32767*uint64(1+r.IntN(3)) - uint64(r.IntN(40)) // the identifiers wrap
	}
	switch r.IntN(10) {
	case 0, 1:
		p.loses = true
	case 2:
		p.loses, p.liePresent = true, true
	case 3:
		p.lieAbsent = true
	}
	p.republish = chance(r, 20) && !p.lieAbsent && !p.liePresent
	if limit > 0 {
		p.publishes, p.incoming, p.requests = min(p.publishes, limit), min(p.incoming, limit), min(p.requests, limit)
	}
	for i, w := range baseWeight {
		p.weight[i] = w << 2 >> r.IntN(4)
	}
	// Rates of faults are random as well; some runs lack a kind of fault.
	for _, fault := range []int{stepCut, stepHole, stepCrash, stepLoseSession, stepDisconnect} {
		if chance(r, 30) {
			p.weight[fault] = 0
		}
	}
	if !p.durable {
		p.weight[stepCrash] = 0 // without a store nothing is promised beyond the process
	}
	if p.keepAlive < 0 {
		p.weight[stepHole] = 0 // without keep alive nothing would detect it
	}
	p.scrub = chance(r, 12)
	p.wipes = p.scrub && p.durable && !p.clean && !p.liePresent && chance(r, 50)
	return p
}

// Faults that can be switched off, to make a failing run shorter.
var faults = []int{
	stepCut, stepHole, stepCrash, stepLoseSession, stepDisconnect, stepWithdraw, stepSubscribe, stepIncoming, stepPublish,
}
