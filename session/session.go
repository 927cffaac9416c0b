package session

import (
	"errors"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// Config configures a Session and cannot be changed later. ClientID is required unless CleanSession
// is set; all other fields have defaults.
type Config struct {
	// ClientID identifies the session to the Server (section 3.1.3.1). It may be empty only with
	// CleanSession [MQTT-3.1.3-7].
	ClientID string

	// CleanSession asks the Server for a session that ends with the Network Connection (section
	// 3.1.2.4).
	CleanSession bool

	// KeepAlive is the longest time that the Client sends nothing (section 3.1.2.10). CONNECT
	// carries it in seconds, rounded up, at most 65,535. If zero, 30 seconds. If negative, keep
	// alive is off.
	KeepAlive time.Duration

	// PingTimeout is how long to wait for the Server to send anything after a PINGREQ. If zero or
	// negative, 10 seconds.
	PingTimeout time.Duration

	// MaxInflight is how many PUBLISH packets of QoS 1 and 2 may be unacknowledged at a time. If
	// zero or negative, 100, the limit of several hosted services. The maximum is 16,384.
	MaxInflight int

	// MaxInflightQoS2 is how many of those may be QoS 2 messages, which count from PUBLISH to
	// PUBCOMP. If zero or negative, 16: mosquitto 2.0.11 loses every 21st message if the connection
	// ends while more than 20 are in flight.
	MaxInflightQoS2 int

	// QueueMessages limits the number of messages of QoS 1 and 2 that wait to be sent, and
	// QueueBytes the total size of the topics and payloads of all unfinished ones. Publish returns
	// ErrQueueFull for a message that would exceed them; if nothing is unfinished, it accepts one
	// message of any size. If zero, 1,000 messages and 64 MiB. If negative, there is no limit.
	QueueMessages int
	QueueBytes    int

	// FiltersPerPacket is the maximum number of filters in one SUBSCRIBE or UNSUBSCRIBE. If zero or
	// negative, 8, the limit of some services.
	FiltersPerPacket int

	// FailQoS1 makes QoS 1 messages that may have been sent fail with ErrUnknown when a clean
	// session is lost, instead of publishing them again.
	FailQoS1 bool

	// RepublishQoS2 publishes a QoS 2 message again if it may have been sent in a session that the
	// Server has lost; it may then arrive twice. Without RepublishQoS2 nothing arrives twice: with
	// a clean session such a message fails with ErrUnknown, and with a persistent one its delivery
	// is completed.
	RepublishQoS2 bool

	// NoScrub disables scrubbing. Scrubbing releases each Packet Identifier at the Server, with
	// PUBREL, before its first use at QoS 2, and again if the Server seems to have been restored
	// from an older copy of its state. NoScrub is for Servers that close the connection when they
	// receive a PUBREL for an unknown identifier. With it a QoS 2 message can be lost if the Server
	// still has the session of an earlier process that had no store.
	NoScrub bool

	// Durable makes the Session put out Save and Forget. Without it the state is lost when the
	// process ends, and no output waits for a record.
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

// Check returns the error that [New] would return for c, or nil.
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

// phase is the state of the Network Connection.
type phase byte

const (
	offline phase = iota // no Network Connection
	opening              // CONNECT sent, no CONNACK yet
	up                   // CONNACK accepted
	closing              // Close was put out
)

// A Session is the protocol state of one Client with one Server. It is not safe for concurrent use.
type Session struct {
	cfg      Config
	outputs  []Output
	taken    int
	records  *[]Record // of outputs; nil if the Session is not durable
	logged   uint64    // number of the last Save or Forget
	counters Counters

	// Valid for the session: survives the Network Connection [MQTT-3.1.2-4]
	// [MQTT-4.1.0-2].
	send sender
	recv receiver
	subs subscriptions
	// The message of PublishFor, until its outputs are taken; at QoS 0 an output points to it. It
	// is assigned field by field, because copying a struct that was just written stalls the
	// processor.
	publishing packets.Publish

	// Valid from one Network Connection to the next.
	suspected *suspicions // nil: none

	// Valid for one Network Connection.
	conn connection
	keep keepAlive
}

// New returns a Session without earlier state. If cfg is invalid, the error joins all problems
// found.
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

// Next returns the next output to perform, or false if there is none. The output and what it points
// to are valid until the next input, or until Next returns false.
func (s *Session) Next() (*Output, bool) {
	if s.taken == len(s.outputs) {
		clear(s.outputs) // retain nothing
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

// Deadline returns the time at which [Session.Tick] must be called; the zero time means never.
// Every input may change it.
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

// Tick reports that time has passed. It may be called early, late or repeatedly; extra calls do
// nothing. After Tick, Deadline is later than now or zero.
func (s *Session) Tick(now time.Time) {
	if s.conn.phase != up {
		return
	}
	if at := s.send.stuckAt(); !at.IsZero() && !now.Before(at) {
		s.notify(Event{Kind: EventStuck, Count: s.send.inflight})
		if c := &s.send.scrub; c.untouched() && !now.Before(c.stuckAt()) && s.keep.lastReceived.After(c.since) {
			s.scrubSuspected(now) // the Server is alive but does not answer
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

// Tail returns the number of the latest Save or Forget, or zero before the first.
func (s *Session) Tail() uint64 { return s.logged }

// Counters returns the current counts.
func (s *Session) Counters() Counters { return s.counters }

// Outstanding reports whether a request of the client waits for an answer on this Network
// Connection, or to be sent on it. A driver that stopped reading would then never see the answer.
func (s *Session) Outstanding() bool {
	x := &s.send
	asked := x.inflight > 0 || len(s.subs.requests) > 0 || x.scrub.busy || s.sweepBusy()
	return asked || !x.hold && (x.cursor < x.end() || s.subs.heldBack())
}

// Unfinished returns the number of unfinished outgoing messages of QoS 1 and 2 and the total size
// of their topics and payloads in bytes.
func (s *Session) Unfinished() (messages, bytes int) { return s.send.live, s.send.bytes }

// Limits returns the configuration with the defaults filled in.
func (s *Session) Limits() Config { return s.cfg }

// Up reports whether a Network Connection is up that the Server has accepted.
func (s *Session) Up() bool { return s.conn.phase == up }

// put adds an output and returns a pointer for the caller to fill in: copying an Output would cost
// more than setting its few fields.
func (s *Session) put(op Op) *Output {
	n := len(s.outputs)
	if n == cap(s.outputs) {
		s.outputs = append(make([]Output, 0, max(1, 2*n)), s.outputs...)
	}
	s.outputs = s.outputs[:n+1]
	o := &s.outputs[n] // zero, because Next clears returned outputs
	o.Op = op
	return o
}

func (s *Session) notify(e Event) { s.put(Notify).Event = &e }

// save puts out a Save and returns its number, or 0 if the Session is not durable.
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

// The two top bits of a Token are its kind, so that no table is needed.
const (
	tokenPublish Token = 1 << 62 // QoS 1 and 2: the sequence number
	tokenQoS0    Token = 2 << 62 // the number of the Send
	tokenRequest Token = 3 << 62
	tokenKind    Token = 3 << 62
)

// Abandon ends all requests because the driver will send nothing more: those that were never sent
// with ErrNotSent, the others with ErrUnknown. The records stay, so a durable Session continues
// with the next [Restore]. It must be called while there is no Network Connection.
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
