package torture

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A Kind is a kind of act of the nemesis, the part of a torture that causes the faults.
type Kind string

// The kinds of acts. The first concern a client's process, the next its link and its disk, and the last
// the broker.
const (
	Kill       Kind = "kill" // SIGKILL, then a new process over the same store
	Stop       Kind = "stop" // SIGSTOP, then SIGCONT
	Cut        Kind = "cut"  // the connection ends after a number of bytes, with FIN or RST
	Dead       Kind = "dead" // bytes of one or both directions do not arrive for a while; then they do, or the connection is cut
	Refuse     Kind = "refuse"
	Delay      Kind = "delay"
	Stall      Kind = "stall" // the disk does not respond
	Full       Kind = "full"  // the disk is full
	BrokerKill Kind = "broker-kill"
	BrokerStop Kind = "broker-stop"
	Rollback   Kind = "rollback" // the broker comes back with an earlier copy of its folder
)

// Kinds are all kinds of acts.
var Kinds = []Kind{Kill, Stop, Cut, Dead, Refuse, Delay, Stall, Full, BrokerKill, BrokerStop, Rollback}

// often is how often a kind of act occurs, relative to the others.
var often = map[Kind]int{
	Kill: 30, Stop: 5, Cut: 20, Dead: 8, Refuse: 4, Delay: 5, Stall: 6, Full: 6, BrokerKill: 3, BrokerStop: 3, Rollback: 3,
}

// An Act is one act of the nemesis.
type Act struct {
	Kind Kind
	Who  string        // Publisher, Consumer or Broker
	At   time.Duration // when it begins, if the previous one in its lane is over by then
	Rest time.Duration // and has been over for so long
	Hold time.Duration // how long it lasts
	Up   bool          // for a link: in the direction of the broker
	Down bool          // and in the direction of the client
	Size int           // bytes until the cut, or left on the disk
	Hard bool          // RST instead of FIN; or a full disk whose freed space another program takes
}

// lane names what the act is done to. Acts in the same lane do not overlap.
func (a Act) lane() string {
	switch a.Kind {
	case Cut, Dead, Refuse, Delay:
		return "link of the " + a.Who
	case Stall, Full:
		return "disk of the " + a.Who
	}
	return a.Who
}

func (a Act) String() string { return fmt.Sprintf("%s %s", a.Kind, a.lane()) }

// A pace is the tempo of a history.
type pace struct {
	wait time.Duration // average time between acts in all lanes; half of it between kills and cuts
	hold time.Duration // the longest duration of an act
	down time.Duration // the longest duration of an act on a broker
	live time.Duration // average life of a broker between two acts
}

// plan draws a history of n acts. It depends only on its arguments. If n allows it, each kind occurs at
// least once.
func plan(seed uint64, n int, kinds []Kind, p pace) []Act {
	r := rand.New(rand.NewPCG(seed, 311))
	var urn []Kind
	for _, k := range kinds {
		urn = append(urn, slices.Repeat([]Kind{k}, often[k])...)
	}
	acts := make([]Act, n)
	var lasts time.Duration
	for i := range acts {
		kind := urn[r.IntN(len(urn))]
		if i < len(kinds) {
			kind = kinds[i]
		}
		acts[i] = draw(r, kind, p)
		if kind == Kill || kind == Cut {
			lasts += p.wait / 2
		} else {
			lasts += p.wait
		}
	}
	for i := range acts {
		acts[i].At = time.Duration(r.Int64N(int64(lasts)))
	}
	slices.SortFunc(acts, func(a, b Act) int { return cmp.Compare(a.At, b.At) })
	return acts
}

func draw(r *rand.Rand, kind Kind, p pace) Act {
	exp := func(mean time.Duration) time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
	a := Act{Kind: kind, Who: Publisher, Rest: exp(60 * time.Millisecond), Hold: min(exp(p.hold/5), p.hold), Hard: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		a.Who = Consumer
	}
	switch kind {
	case Kill:
		a.Hold = exp(20 * time.Millisecond)
	case Cut, Dead:
		switch r.IntN(3) {
		case 0:
			a.Up = true
		case 1:
			a.Down = true
		default:
			a.Up, a.Down = kind == Dead, true
		}
		// Short cuts are as likely as long ones: the range is 10, 80, 640 or 5,120 bytes.
		a.Size = r.IntN(10 << (r.IntN(4) * 3))
	case Full:
		a.Size = r.IntN(1 << (10 + r.IntN(8)))
	case BrokerKill, BrokerStop, Rollback:
		a.Who, a.Hold, a.Rest = Broker, time.Duration(r.Int64N(int64(p.down))), exp(p.live)
	}
	return a
}
