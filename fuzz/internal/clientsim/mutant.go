package clientsim

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A Mutant is a bug put in where the client meets its Store, its connection and its Config: to the
// rest of the world it looks like a bug in the client.
type Mutant int

// The mutants.
const (
	None            Mutant = iota
	SaidTooEarly           // a Commit returns before it is durable, so a Send leaves before its Save
	DropCommits            // some Commits are not made
	SwapCommits            // a Commit is made after the next one
	KeepForgotten          // nothing is ever forgotten
	DropReleased           // PUBLISH again after PUBREC
	DropReceived           // no recognition of incoming messages after a crash
	RolledBack             // a process starts from the disk that the one before it started from
	NoPing                 // PINGREQ is not sent
	LatePing               // PINGREQ is sent after the keep alive interval is over
	DropAcks               // some acknowledgements are not sent
	DoubleAcks             // acknowledgements are sent twice
	StaleAcks              // acknowledgements are sent on the next connection
	EarlyAcks              // acknowledgements are sent before the program took the message over
	NoDup                  // a message sent again looks like a new one
	AlwaysDup              // a new message looks like one sent again
	SwapPublishes          // a PUBLISH is sent after the next one
	DoublePublish          // a QoS 0 message is sent twice
	AfterDisconnect        // a packet is sent after DISCONNECT
	DropAnswers            // some acknowledgements of the server are not seen, like after a lost wake-up
	SeeAcks                // the client sees an acknowledgement that the server did not send
	NoSession              // Session Present 1 is taken for 0
	BlameLinks             // a broken link counts as the server's close
	WiderWindow            // one message more is in flight than is allowed
	ForgetSession          // CleanSession 1 instead of 0
	NeverCloses            // a connection is not closed, so a goroutine stays
	mutants

	// These are for the tests of the simulation itself.
	Hangs  // a Commit waits for a lock that is never released
	Panics // a Commit panics
	allMutants
)

var mutantNames = [allMutants]string{
	"none", "said too early", "commits dropped", "commits swapped", "nothing forgotten", "publish again after PUBREC",
	"no inbound recognition", "rolled back", "no ping", "late ping", "acknowledgements dropped", "acknowledgements doubled",
	"acknowledgements over a stale link", "acknowledged early", "no DUP", "always DUP", "publishes swapped", "publish doubled",
	"after DISCONNECT", "answers dropped", "answers invented", "session not seen", "broken links count", "window too wide",
	"session forgotten", "connections not closed", mutants: "", "hangs", "panics",
}

// String names the bug.
func (m Mutant) String() string { return mutantNames[m] }

// Mutants returns all of them.
func Mutants() []Mutant {
	var all []Mutant
	for m := None + 1; m < mutants; m++ {
		all = append(all, m)
	}
	return all
}

// mutateConfig changes the configuration of the client, but not the one that the oracle uses.
func (p *process) mutateConfig() {
	switch p.w.o.Mutant {
	case LatePing:
		p.config.KeepAlive *= 2
	case EarlyAcks:
		p.config.ManualAck = false
	case WiderWindow:
		p.config.MaxInflight++
	case ForgetSession:
		p.config.CleanSession = true
	}
}

func (p *process) mutateStore(s client.Store) client.Store {
	switch p.w.o.Mutant {
	case SaidTooEarly, DropCommits, SwapCommits, KeepForgotten, DropReleased, DropReceived, Hangs, Panics:
		return &badStore{Store: s, m: p.w.o.Mutant, r: p.random(5)}
	}
	return s
}

// A badStore breaks the promises of a Store. The client calls Commit from one goroutine at a time.
type badStore struct {
	client.Store
	m    Mutant
	r    *rand.Rand
	held []client.Change
}

// Commit implements client.Store.
func (s *badStore) Commit(changes []client.Change) error {
	switch s.m {
	case Hangs:
		var stuck sync.Mutex
		stuck.Lock()
		stuck.Lock()
	case Panics:
		panic("a bug")
	case SaidTooEarly:
		own := cloneChanges(changes)
		go func() {
			time.Sleep(50 * time.Millisecond)
			_ = s.Store.Commit(own) // fails if the process has died
		}()
		return nil
	case DropCommits:
		if chance(s.r, 10) {
			return nil
		}
	case SwapCommits:
		if s.held == nil {
			s.held = cloneChanges(changes)
			return nil
		}
		changes, s.held = append(slices.Clone(changes), s.held...), nil
	default:
		changes = slices.DeleteFunc(slices.Clone(changes), s.drops)
	}
	return s.Store.Commit(changes)
}

// drops reports whether a change is to be left out.
func (s *badStore) drops(c client.Change) bool {
	if s.m == KeepForgotten {
		return c.Forget
	}
	kind := session.RecordReleased
	if s.m == DropReceived {
		kind = session.RecordReceived
	}
	if c.Forget {
		return false
	}
	r, err := session.ParseRecord(c.Key, c.Value)
	return err == nil && r.Kind == kind
}

func cloneChanges(changes []client.Change) []client.Change {
	own := slices.Clone(changes)
	for i := range own {
		own[i].Key, own[i].Value = slices.Clone(own[i].Key), slices.Clone(own[i].Value)
	}
	return own
}

func (p *process) mutateConn(c *conn) net.Conn {
	switch p.w.o.Mutant {
	case NoPing, DropAcks, DoubleAcks, StaleAcks, NoDup, AlwaysDup, SwapPublishes, DoublePublish, AfterDisconnect,
		DropAnswers, SeeAcks, NoSession, BlameLinks, NeverCloses:
		b := &badConn{conn: c, m: p.w.o.Mutant, r: p.w.random(3*partConn + c.number)}
		if b.m == StaleAcks && p.stale != nil {
			b.stale = p.stale
		}
		return b
	}
	return c
}

// A badConn changes packets in transit.
type badConn struct {
	*conn
	m     Mutant
	r     *rand.Rand
	stale []byte // an acknowledgement of the previous connection
	held  []byte
	in    []byte // read, not a whole packet yet
	ready []byte // to be given to the client
}

// packet splits the first packet from b.
func packet(b []byte) (whole, rest []byte, t packets.Type) {
	_, n, err := packets.Parse(b)
	if err != nil {
		return nil, b, 0
	}
	return b[:n:n], b[n:], packets.Type(b[0] >> 4)
}

// Write implements net.Conn.
func (c *badConn) Write(b []byte) (int, error) {
	var out []byte
	for rest := b; len(rest) > 0; {
		one, more, t := packet(rest)
		if one == nil {
			out = append(out, rest...)
			break
		}
		rest = more
		out = append(out, c.leaves(slices.Clone(one), t)...)
	}
	if len(out) > 0 {
		if _, err := c.conn.Write(out); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// leaves returns the bytes to send in place of a packet.
func (c *badConn) leaves(b []byte, t packets.Type) []byte {
	const dup = 1 << 3
	ack := t == packets.PUBACK || t == packets.PUBREC || t == packets.PUBCOMP
	qos := b[0] >> 1 & 3
	switch {
	case c.m == NoPing && t == packets.PINGREQ, c.m == DropAcks && ack && chance(c.r, 20):
		return nil
	case c.m == DoubleAcks && ack && t != packets.PUBCOMP:
		return append(b, b...)
	case c.m == StaleAcks && ack:
		if c.p.stale = slices.Clone(b); c.stale != nil {
			b, c.stale = append(c.stale, b...), nil
		}
	case c.m == NoDup && t == packets.PUBLISH:
		b[0] &^= dup
	case c.m == AlwaysDup && t == packets.PUBLISH && qos > 0:
		b[0] |= dup
	case c.m == DoublePublish && t == packets.PUBLISH && qos == 0:
		return append(b, b...)
	case c.m == AfterDisconnect && t == packets.DISCONNECT:
		return append(b, byte(packets.PINGREQ)<<4, 0)
	case c.m == SwapPublishes && t == packets.PUBLISH && qos > 0:
		if c.held == nil {
			c.held = b
			return nil
		}
		b, c.held = append(b, c.held...), nil
	}
	return b
}

// Read implements net.Conn.
func (c *badConn) Read(b []byte) (int, error) {
	for len(c.ready) == 0 {
		n, err := c.conn.Read(b)
		if c.m == BlameLinks && errors.Is(err, errCut) {
			err = io.EOF
		}
		if err != nil {
			return n, err
		}
		c.in = append(c.in, b[:n]...)
		for {
			one, rest, t := packet(c.in)
			if one == nil {
				break
			}
			c.in = rest
			c.ready = append(c.ready, c.comes(slices.Clone(one), t)...)
		}
	}
	n := copy(b, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// comes returns the bytes to receive in place of a packet.
func (c *badConn) comes(b []byte, t packets.Type) []byte {
	ack := t == packets.PUBACK || t == packets.PUBREC || t == packets.PUBCOMP
	switch {
	case c.m == DropAnswers && ack && chance(c.r, 20):
		return nil
	case c.m == SeeAcks && t == packets.PUBACK:
		id := uint16(b[2])<<8 | uint16(b[3])
		return append(b, packets.AppendAck(nil, t, id+1)...)
	case c.m == NoSession && t == packets.CONNACK:
		b[2] = 0
	}
	return b
}

// Close implements net.Conn.
func (c *badConn) Close() error {
	if c.m == NeverCloses {
		return nil
	}
	return c.conn.Close()
}
