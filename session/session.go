package session

import (
	"errors"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// Config is fixed for the life of a Session. The zero value is usable with a
// ClientID, or with CleanSession.
type Config struct {
	// ClientID names the session at the Server, section 3.1.3.1. It may be empty
	// only with CleanSession [MQTT-3.1.3-7].
	ClientID string

	// CleanSession asks the Server to forget the session when the Network
	// Connection ends, section 3.1.2.4.
	CleanSession bool

	// KeepAlive is how long the Client stays silent at the most, section
	// 3.1.2.10. CONNECT carries it in whole seconds, rounded up; 65,535 seconds
	// at the most. If zero, 30 seconds. If negative, keep alive is off.
	KeepAlive time.Duration

	// PingTimeout is how long the Server may stay silent after a PINGREQ. If zero
	// or negative, 10 seconds.
	PingTimeout time.Duration

	// MaxInflight is how many PUBLISH packets of QoS 1 and 2 may be unanswered at a time. If zero
	// or negative, 100: services of several vendors allow no more. A larger one counts as 16,384.
	MaxInflight int

	// MaxInflightQoS2 is how many of those may be of QoS 2, on their way from PUBLISH to PUBCOMP.
	// If zero or negative, 16: mosquitto 2.0.11 loses every 21st message when more than 20 are on
	// their way and the connection ends.
	MaxInflightQoS2 int

	// QueueMessages and QueueBytes bound the messages of QoS 1 and 2 that wait to
	// be sent, and the topics and payloads of all that are unfinished. A message
	// beyond is refused with ErrQueueFull; when nothing is unfinished one message
	// of any size is taken. If zero, 1,000 messages and 64 MiB. If negative,
	// unbounded.
	QueueMessages int
	QueueBytes    int

	// FiltersPerPacket is how many filters a SUBSCRIBE or UNSUBSCRIBE carries at
	// the most; some services allow eight. If zero or negative, 8.
	FiltersPerPacket int

	// FailQoS1 ends a QoS 1 message that may have left with ErrUnknown when a
	// clean session is lost, instead of publishing it anew.
	FailQoS1 bool

	// RepublishQoS2 publishes a QoS 2 message anew whose first copy may have
	// arrived in a session that was lost. Without it nothing arrives twice: a
	// clean session ends it with ErrUnknown, and a persistent one completes it.
	RepublishQoS2 bool

	// NoScrub disables releasing Packet Identifiers at the Server before their first use at QoS 2,
	// and again when the Server seems to have come back from an older copy of its state. It is for
	// a Server that closes over a PUBREL it does not know. A QoS 2 message can then be lost if the
	// Server still has the session of an earlier process without a store.
	NoScrub bool

	// Durable makes the Session put out Save and Forget. Without it nothing
	// outlives the process and no output waits for a record.
	Durable bool
}

const (
	defaultKeepAlive   = 30 * time.Second
	defaultPingTimeout = 10 * time.Second
	maxKeepAlive       = 65535 * time.Second
	defaultInflight    = 100
	defaultInflight2   = 16
	maxDistance        = 16384 // between the oldest unfinished PUBLISH and the newest one sent
	defaultMessages    = 1000
	defaultBytes       = 64 << 20
	defaultFilters     = 8
)

func (c *Config) setDefaults() {
	if c.KeepAlive == 0 {
		c.KeepAlive = defaultKeepAlive
	}
	if c.PingTimeout <= 0 {
		c.PingTimeout = defaultPingTimeout
	}
	if c.MaxInflight <= 0 {
		c.MaxInflight = defaultInflight
	}
	c.MaxInflight = min(c.MaxInflight, maxDistance)
	if c.MaxInflightQoS2 <= 0 {
		c.MaxInflightQoS2 = defaultInflight2
	}
	c.MaxInflightQoS2 = min(c.MaxInflightQoS2, maxDistance)
	if c.QueueMessages == 0 {
		c.QueueMessages = defaultMessages
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = defaultBytes
	}
	if c.FiltersPerPacket <= 0 {
		c.FiltersPerPacket = defaultFilters
	}
}

// Check returns every mistake in c, joined, as [New] does.
func (c Config) Check() error { return c.check() }

func (c *Config) check() error {
	var errs []error
	if c.ClientID == "" && !c.CleanSession {
		errs = append(errs, errors.New("session: an empty ClientID needs CleanSession [MQTT-3.1.3-7]"))
	}
	if c.KeepAlive > maxKeepAlive {
		errs = append(errs, errors.New("session: KeepAlive of "+c.KeepAlive.String()+" is above 18h12m15s (section 3.1.2.10)"))
	}
	probe := packets.Connect{ClientID: c.ClientID, CleanSession: true}
	if err := probe.Check(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// phase is where the Network Connection is.
type phase byte

const (
	offline phase = iota // no Network Connection
	opening              // CONNECT sent, no CONNACK yet
	up                   // CONNACK accepted
	closing              // Close was put out
)

// A Session is the state of one Client at one Server. Its methods must not be
// called by two goroutines at once.
type Session struct {
	cfg      Config
	outputs  []Output
	taken    int
	records  *[]Record // of outputs; nil: it is not durable
	logged   uint64    // number of the newest Save or Forget
	counters Counters

	// Valid for the session: survives the Network Connection [MQTT-3.1.2-4]
	// [MQTT-4.1.0-2].
	send sender
	recv receiver
	subs subscriptions
	// The message of PublishFor, until its outputs are taken: at QoS 0 one points to it. It is
	// filled in field by field, because a copy of what was just written makes the processor wait.
	publishing packets.Publish

	// Valid from one Network Connection to the next.
	suspected *suspicions // nil: none

	// Valid for one Network Connection.
	conn connection
	keep keepAlive
}

// New returns a Session without history. The error joins every mistake in cfg.
func New(cfg Config) (*Session, error) { return Restore(cfg, nil) }

func newSession(cfg Config) (*Session, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	s := &Session{cfg: cfg}
	if cfg.Durable {
		s.records = new([]Record)
	}
	return s, nil
}

// Next returns the next output to perform. It, and what it points to, is valid until the
// next input, or until Next returns false.
func (s *Session) Next() (*Output, bool) {
	if s.taken == len(s.outputs) {
		clear(s.outputs) // keeps nothing alive
		s.outputs, s.taken = s.outputs[:0], 0
		s.publishing.Payload = nil
		if s.records != nil {
			clear(*s.records)
			*s.records = (*s.records)[:0]
		}
		return nil, false
	}
	s.taken++
	return &s.outputs[s.taken-1], true
}

// Deadline returns when [Session.Tick] is due; the zero time is never. It changes
// with every input.
func (s *Session) Deadline() time.Time {
	if s.conn.phase != up {
		return time.Time{}
	}
	at := earliest(s.keep.deadline(), earliest(s.send.stuckAt(), s.conn.probationEnds()))
	at = earliest(at, s.sweepAt())
	if s.suspected != nil {
		at = earliest(at, earliest(s.lapseAt(), s.suspected.asideEnds()))
	}
	return at
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Tick tells that time has passed. It may come early, late or repeatedly: extra
// calls do nothing. After it Deadline is later than now, or zero.
func (s *Session) Tick(now time.Time) {
	if s.conn.phase != up {
		return
	}
	if at := s.send.stuckAt(); !at.IsZero() && !now.Before(at) {
		s.notify(Event{Kind: EventStuck, Count: s.send.inflight})
		if c := &s.send.scrub; c.untouched() && !now.Before(c.stuckAt()) && s.keep.lastReceived.After(c.since) {
			s.scrubSuspected(now) // the Server lives, and does not answer
		}
		s.close(ErrStuck)
		return
	}
	s.keepTick(now)
	s.sweepTick(now)
	if at := s.conn.probationEnds(); !at.IsZero() && !now.Before(at) {
		s.conn.held = false // also if something else holds the message back
	}
	s.pump(now)
}

// Tail returns the number of the newest Save or Forget; zero before the first.
func (s *Session) Tail() uint64 { return s.logged }

// Counters returns what was counted so far.
func (s *Session) Counters() Counters { return s.counters }

// Outstanding reports whether an own request waits for the Server on this Network
// Connection, or to be sent on it: a driver that stops reading then could wait for ever.
func (s *Session) Outstanding() bool {
	x := &s.send
	asked := x.inflight > 0 || len(s.subs.requests) > 0 || x.scrub.busy || s.sweepBusy()
	return asked || !x.hold && (x.cursor < x.end() || s.subs.heldBack())
}

// Unfinished returns the number of outgoing messages of QoS 1 and 2 that are not
// done, and the bytes of their topics and payloads.
func (s *Session) Unfinished() (messages, bytes int) { return s.send.live, s.send.bytes }

// Limits returns the configuration with its defaults.
func (s *Session) Limits() Config { return s.cfg }

// Up reports whether the Server has accepted the Network Connection.
func (s *Session) Up() bool { return s.conn.phase == up }

// put adds an output for the caller to fill in where it lies: copying one costs more than
// what is in most of them.
func (s *Session) put(op Op) *Output {
	n := len(s.outputs)
	if n == cap(s.outputs) {
		s.outputs = append(make([]Output, 0, max(1, 2*n)), s.outputs...)
	}
	s.outputs = s.outputs[:n+1]
	o := &s.outputs[n] // zero: Next clears what it has handed out
	o.Op = op
	return o
}

func (s *Session) notify(e Event) { s.put(Notify).Event = &e }

// save puts out a record and returns its number; 0 if the Session is not durable.
func (s *Session) save(r Record) uint64 { return s.log(Save, r) }

func (s *Session) forget(r Record) uint64 { return s.log(Forget, r) }

func (s *Session) log(op Op, r Record) uint64 {
	if !s.cfg.Durable {
		return 0
	}
	s.logged++
	*s.records = append(*s.records, r)
	o := s.put(op)
	o.N, o.Record = s.logged, &(*s.records)[len(*s.records)-1]
	return s.logged
}

// transmit puts out a Send and returns its number.
func (s *Session) transmit(t packets.Type, p packets.Packet, id uint16, after uint64) uint64 {
	s.conn.sends++
	o := s.put(Send)
	o.N, o.After, o.Type, o.Packet, o.PacketID = s.conn.sends, after, t, p, id
	return s.conn.sends
}

func (s *Session) done(t Token, caller any, err error, after uint64) {
	o := s.put(Done)
	o.Token, o.For, o.Err, o.After = t, caller, err, after
}

// close ends the Network Connection; err says why.
func (s *Session) close(err error) {
	s.conn.phase, s.conn.closedBy = closing, ByUs
	s.put(Close).Err = err
}

func (s *Session) violation(t packets.Type, spec, reason string) {
	s.close(&ProtocolError{Packet: t, Spec: spec, Reason: reason}) // [MQTT-4.8.0-1]
}

// Tokens carry their kind in the two top bits, so that no table maps them back.
const (
	tokenPublish Token = 1 << 62 // QoS 1 and 2: the sequence number
	tokenQoS0    Token = 2 << 62 // the number of the Send
	tokenRequest Token = 3 << 62
	tokenKind    Token = 3 << 62
)

// Abandon ends every operation, because the driver gives up for good: nothing will
// be sent any more. What never left ends with ErrNotSent, what may have left with
// ErrUnknown. Records stay: a durable Session goes on with the next [Restore]. It is
// called without a Network Connection.
func (s *Session) Abandon() {
	x := &s.send
	for i := range x.n {
		d := x.entry(i)
		switch {
		case d.stage == over || d.silent:
		case d.stage == queued && !d.before:
			s.done(tokenPublish|Token(d.seq), d.caller, ErrNotSent, 0)
		default:
			s.done(tokenPublish|Token(d.seq), d.caller, ErrUnknown, 0)
		}
		d.silent = true
	}
	for w := range s.subs.order.all() {
		if w.op == nil {
			continue
		}
		err := ErrNotSent
		if w.op.left {
			err = ErrUnknown
		}
		s.answer(w, 0, err)
	}
}
