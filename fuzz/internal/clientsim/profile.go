package clientsim

import (
	"math/rand/v2"
	"time"

	"github.com/mqtt311/mqtt311/client"
)

// A profile is what a seed draws before its run: sizes, rates of faults in percent, and what kind of
// server the client meets.
type profile struct {
	lives      int  // processes before the last one, which has no faults
	publishers int  // goroutines that publish
	publishes  int  // how often each publishes in a life
	qos2       bool // everything is at QoS 2; only an aim sets it
	requests   int  // SUBSCRIBE and UNSUBSCRIBE in a life
	incoming   int  // messages from the server, in all lives
	hurry      int  // how many in a hundred calls have a context that ends soon
	idle       time.Duration

	durable, clean  bool
	manual, handler bool          // how the program consumes
	slow            int           // it sometimes stands still for long with a message
	config          client.Config // sizes and times
	segment         int64
	maxBytes        int64

	delay  time.Duration // longest delay of the network
	store  time.Duration // longest delay of the Store
	stall  int           // the Store stalls
	cut    int           // a connection is cut after some byte
	reset  bool          // and that looks like a close by the server
	hole   int           // a connection goes dead in one direction
	refuse int           // the network or the server refuses
	mute   int           // the server does not answer CONNECT
	closes int           // the server closes after a packet that it received, in a thousand
	die    int           // a process dies
	abort  int           // a process ends by Abort
	power  int           // the power fails with it
	eio    int           // the disk fails

	methodA bool // QoS 2 messages are passed on at PUBREL, not at PUBLISH
	reorder bool // acknowledgements leave the server in any order
	noise   bool // it sends acknowledgements of nothing
	window  int

	older       int  // a process starts from an older copy of its store; must be below 100, or each copy is of an empty disk
	restarts    int  // how often the server comes back from a snapshot
	quota       int  // messages of QoS 2 that the server holds between PUBLISH and PUBREL; 0: any number
	quotaCloses bool // it closes over a PUBLISH above the quota; otherwise that one waits
}

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

// upTo returns a duration of at most d.
func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d) + 1)) }

// some returns one of the values at random.
func some[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

func draw(r *rand.Rand) profile {
	const ms = time.Millisecond
	p := profile{
		lives: r.IntN(5), publishers: 1 + r.IntN(3), publishes: 2 + r.IntN(14), requests: r.IntN(4), incoming: some(r, r.IntN(25), r.IntN(25), r.IntN(100)),
		hurry: some(r, 0, 50, 90), idle: some(r, 0, 20*ms, 200*ms, 5*time.Second),
		durable: !chance(r, 15), clean: chance(r, 10), manual: chance(r, 60), handler: chance(r, 30),
		segment: some[int64](r, 2048, 8192, 64<<10), maxBytes: some[int64](r, 0, 0, 16<<10),
		delay: some(r, 0, 2*ms, 30*ms, 300*ms), store: some(r, 0, ms, 20*ms, 200*ms), stall: some(r, 0, 0, 3),
		cut: some(r, 0, 50, 90), reset: chance(r, 20), hole: some(r, 0, 10, 30), refuse: some(r, 0, 20), mute: some(r, 0, 20),
		closes: some(r, 0, 0, 0, 30), die: 70, abort: 30, power: some(r, 0, 50, 100), eio: some(r, 0, 0, 10),
		methodA: chance(r, 50), reorder: chance(r, 20), noise: chance(r, 15), window: 1 << r.IntN(5),
	}
	p.config = client.Config{
		ClientID: "c", CleanSession: p.clean, ManualAck: p.manual, ConnectRetry: true,
		KeepAlive:            time.Duration(1+r.IntN(10)) * time.Second,
		PingTimeout:          time.Duration(1+r.IntN(4)) * time.Second,
		ConnectTimeout:       time.Duration(1+r.IntN(4)) * time.Second,
		WriteTimeout:         time.Duration(1+r.IntN(4)) * time.Second,
		MaxReconnectInterval: some(r, 20*ms, 500*ms, 5*time.Second),
		MaxInflight:          1 << r.IntN(5), MaxInflightQoS2: 1 << r.IntN(4),
		QueueMessages: 1 + r.IntN(20), WhenFull: some(r, client.QueueWait, client.QueueWait, client.QueueFail, client.QueueDropOldest),
		InboxMessages: some(r, 1+r.IntN(12), 32), QoS0Overflow: client.OverflowPolicy(r.IntN(2)),
		LendPayloads: chance(r, 30), QueueQoS0: chance(r, 50), FiltersPerPacket: 1 + r.IntN(3),
		FailQoS1: chance(r, 20), NoScrub: !chance(r, 10),
	}
	p.slow = some(r, 0, 0, 10)
	p.config.InboxBytes = some(r, 2048, 512)
	if !p.clean {
		p.older, p.restarts = some(r, 0, 0, 0, 50), some(r, 0, 0, 0, 1+r.IntN(4))
	}
	p.quota, p.quotaCloses = some(r, 0, 0, 1+r.IntN(8)), chance(r, 50)
	if p.older > 0 || p.restarts > 0 {
		p.config.NoScrub = false // NoScrub permits losses after a rollback
	}
	if !p.durable {
		p.lives = 0 // nothing is promised beyond the only process
	}
	return p
}
