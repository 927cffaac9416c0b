package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/internal/loglimit"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// Config configures a Client. Dial is required, and so is ClientID unless CleanSession is set. New
// copies it; later changes have no effect.
type Config struct {
	// Dial opens a Network Connection (section 4.2). It is called for every attempt and must return
	// when its context is done.
	Dial func(ctx context.Context) (net.Conn, error)

	// Fallbacks open Network Connections to further servers that share their sessions with the
	// first, as the nodes of a cluster do. When an attempt fails, the next server is tried at once;
	// the client pauses only after all have failed. It keeps using the server that worked.
	Fallbacks []func(ctx context.Context) (net.Conn, error)

	// ClientID identifies the client and its session to the Server (section 3.1.3.1). Two clients
	// with the same ClientID keep disconnecting each other. It may be empty only with CleanSession.
	ClientID string

	// UserName and Password are sent with CONNECT (sections 3.1.3.4 and 3.1.3.5). If both are
	// empty, neither is sent. With a Password, an empty UserName is sent too, because a Password
	// requires one [MQTT-3.1.2-22]. With a UserName, an empty Password is sent but a nil one is
	// not.
	UserName string
	Password []byte

	// Credentials, if not nil, replaces UserName and Password. It is called before every attempt
	// and thus suits tokens that expire. If it returns an error, the attempt fails.
	Credentials func(ctx context.Context) (userName string, password []byte, err error)

	// CleanSession asks the Server for a session that ends with the Network Connection (section
	// 3.1.2.4). It is set in every CONNECT. Incoming messages that are not acknowledged when the
	// connection ends are lost.
	CleanSession bool

	// Will is the message that the Server publishes when the Network Connection ends without
	// DISCONNECT (section 3.1.2.5). If nil, there is none.
	Will *packets.Will

	// KeepAlive is the longest time that the client sends nothing (section 3.1.2.10). CONNECT
	// carries it in seconds, rounded up. If zero, the default of 30 seconds is used. If negative,
	// keep alive is off and a dead peer may go unnoticed.
	KeepAlive time.Duration

	// PingTimeout is how long the client waits for the Server to send anything after a PINGREQ. A
	// dead peer is detected within KeepAlive plus PingTimeout. If zero or negative, 10 seconds.
	PingTimeout time.Duration

	// ConnectTimeout limits one attempt to connect, from name resolution to CONNACK. If zero, 30
	// seconds. If negative, only the context of Connect limits it.
	ConnectTimeout time.Duration

	// WriteTimeout is how long writing one piece of at most 64 KiB may take before the connection
	// is closed. If zero, 30 seconds. If negative, there is no limit.
	WriteTimeout time.Duration

	// ConnectRetry makes Connect try again until its context is done, instead of returning the
	// first failure.
	ConnectRetry bool

	// ConnectRetryInterval is the pause between those attempts. If zero or negative, the pauses are
	// those between attempts to reconnect; see MaxReconnectInterval.
	ConnectRetryInterval time.Duration

	// NoReconnect closes the client when the Network Connection is lost, instead of reconnecting.
	NoReconnect bool

	// MaxReconnectInterval caps the pause between attempts to reconnect. The pause starts at 250 ms
	// and doubles, with full jitter; after a connection that lasted 30 seconds it is at most one
	// second. If zero or negative, the cap is 30 seconds.
	MaxReconnectInterval time.Duration

	// StopWhenRefused closes the client when the Server refuses CONNECT for a reason that is
	// unlikely to go away (return codes 1, 2, 4 and 5). Without it the client tries again every
	// MaxReconnectInterval.
	StopWhenRefused bool

	// MaxInflight is how many PUBLISH packets of QoS 1 and 2 may be unacknowledged at a time. If
	// zero or negative, 100, the limit of several hosted services. The maximum is 16,384.
	MaxInflight int

	// MaxInflightQoS2 is how many of those may be QoS 2 messages, which count from PUBLISH to
	// PUBCOMP. If zero or negative, 16: mosquitto 2.0.11 loses every 21st message if the connection
	// ends while more than 20 are in flight.
	MaxInflightQoS2 int

	// QueueMessages and QueueBytes limit the messages of QoS 1 and 2 that wait to be sent, whether
	// connected or not. If zero, 1,000 messages and 64 MiB, or 100,000 messages and 256 MiB with a
	// Store. If negative, there is no limit.
	QueueMessages int
	QueueBytes    int

	// WhenFull says what Publish does when one of these limits is reached.
	WhenFull QueuePolicy

	// InboxMessages and InboxBytes limit the inbox: the messages that were received and that the
	// application has not taken yet. If zero or negative, 256 messages and 16 MiB. An empty inbox
	// takes any packet that may be received. While the inbox is full, reading pauses; when it
	// cannot pause any longer, the inbox may grow to twice its limits. Small messages may exceed
	// the count as long as their sizes plus 768 bytes each fit InboxBytes.
	// With CleanSession nothing can be left to the Server: then reading goes on with one packet
	// after each pause of up to eight seconds, and when the connection ends with what has arrived by then.
	InboxMessages int
	InboxBytes    int

	// MaxPacketSize is the size of the largest packet that is accepted, in bytes including the
	// fixed header. If zero or negative, 16 MiB.
	MaxPacketSize int

	// TakeOversize is called with each message that SkipOversize skips, before it is acknowledged.
	// It may read as much of the payload as it wants, for example to write it to a file. The result
	// taken is reported by the event MessageSkipped. If TakeOversize is nil, such payloads are
	// discarded.
	//
	// If it returns an error, a message of QoS 1 or 2 is not acknowledged: the connection ends with
	// that error, and the Server sends the message again on the next connection. At QoS 0 and in a
	// clean session, where nothing is sent again, the message is skipped all the same, and the
	// event carries the error.
	//
	// Nothing else is received while it runs; keep alive goes on. TakeOversize must not use the
	// payload after it has returned, and must return soon after ctx is done, that is, after the
	// connection has ended: Close and the next connection wait for it. It is not called again for a
	// redelivered message that the session recognises.
	TakeOversize func(ctx context.Context, m *IncomingError, payload io.Reader) (taken bool, err error)

	// SkipOversize acknowledges and discards a PUBLISH larger than MaxPacketSize. It is counted in
	// Counters.Skipped and reported as the event MessageSkipped with an [*IncomingError]. Without
	// SkipOversize such a message ends the connection. After three such connections in a row the
	// client is closed, because the Server sends the unacknowledged message again each time;
	// messages of QoS 0, which are not sent again, do not count.
	SkipOversize bool

	// SkipMalformed does the same for a PUBLISH with a malformed Topic Name, such as one that
	// contains U+0000, provided that the next packet can be found. A message of QoS 1 or 2 is not
	// acknowledged if its Packet Identifier cannot be read.
	SkipMalformed bool

	// QoS0Overflow says which QoS 0 messages are dropped when the inbox is full and reading cannot
	// pause any longer.
	QoS0Overflow OverflowPolicy

	// LendPayloads saves two allocations per message by reusing the memory of a Delivery and its
	// Payload. They are then valid only until the loop over Messages advances or the last handler
	// returns. With ManualAck, and when a loop is left early, they stay valid.
	LendPayloads bool

	// ManualAck makes the application acknowledge each message with [Delivery.Ack]. Without it a
	// message is acknowledged when its handlers have returned or the loop over Messages advances.
	ManualAck bool

	// QueueQoS0 makes the client queue QoS 0 messages, within QueueMessages and QueueBytes, while
	// there is no connection. Without it they fail with ErrNotConnected.
	QueueQoS0 bool

	// FiltersPerPacket is the maximum number of Topic Filters in one SUBSCRIBE or UNSUBSCRIBE. If
	// zero or negative, 8.
	FiltersPerPacket int

	// FailQoS1 and RepublishQoS2 say what happens to messages that may have been sent when the
	// Server loses the session: see [session.Config].
	FailQoS1      bool
	RepublishQoS2 bool

	// NoScrub disables releasing Packet Identifiers before their first use at QoS 2: see
	// [session.Config].
	NoScrub bool

	// Store keeps the session across restarts of the process: see package client/wal. New loads it.
	// The Client does not close it; it must stay open until the Client is closed. If nil,
	// unfinished messages are lost when the process ends.
	Store Store

	// OnEvent is called with each event, in order, on a goroutine of its own. It may block; while
	// 1,024 events wait for it, further ones are dropped and counted in Stats.EventsDropped.
	OnEvent func(Event)

	// Trace is called with every packet sent or received, in order, on a goroutine of its own. The
	// text has no payload, user name or password. It is meant for debugging, since it costs time;
	// while 1,024 packets wait for it, further ones are dropped and counted in Stats.TracesDropped.
	Trace func(Packet)

	// Logger logs connections at Info and anything unusual at Warn, never credentials or payloads.
	// Each log message is written at most 100 times in ten seconds, whatever the Server does; the
	// attribute left_out of the next one is the number of those suppressed. If nil, nothing is
	// logged.
	Logger *slog.Logger
}

// QueuePolicy says what happens when the queue of outgoing messages is full.
type QueuePolicy byte

// The queue policies.
const (
	QueueWait       QueuePolicy = iota // the caller waits for room until its context is done
	QueueFail                          // the new message fails with ErrQueueFull at once
	QueueDropOldest                    // the oldest message that was never sent fails with ErrQueueFull
)

// OverflowPolicy says which QoS 0 message is dropped when the inbox is full.
type OverflowPolicy byte

// The overflow policies.
const (
	OverflowDropOldest OverflowPolicy = iota // the oldest QoS 0 message in the inbox
	OverflowDropNewest                       // the one that was just received
)

const (
	defaultConnectTimeout = 30 * time.Second
	defaultWriteTimeout   = 30 * time.Second
	defaultMaxReconnect   = 30 * time.Second
	defaultMaxPacket      = 16 << 20
	defaultInboxMessages  = 256
	defaultInboxBytes     = 16 << 20
	durableMessages       = 100_000
	durableBytes          = 256 << 20
)

var discard = slog.New(slog.DiscardHandler)

func (c *Config) setDefaults() {
	if c.MaxPacketSize <= 0 {
		c.MaxPacketSize = defaultMaxPacket
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = defaultWriteTimeout
	}
	if c.MaxReconnectInterval <= 0 {
		c.MaxReconnectInterval = defaultMaxReconnect
	}
	if c.InboxMessages <= 0 {
		c.InboxMessages = defaultInboxMessages
	}
	if c.InboxBytes <= 0 {
		c.InboxBytes = defaultInboxBytes
	}
	if c.Logger == nil {
		c.Logger = discard
	} else {
		c.Logger = slog.New(loglimit.New(c.Logger.Handler()))
	}
}

// own makes c independent of later changes by the caller.
func (c *Config) own() {
	c.Fallbacks = slices.Clone(c.Fallbacks)
	c.Password = slices.Clone(c.Password)
	if c.Will != nil {
		will := *c.Will
		will.Payload = slices.Clone(will.Payload)
		c.Will = &will
	}
}

// check returns all problems in c, joined.
func (c *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("client: Config."+format, args...)) }
	if c.Dial == nil {
		wrong("Dial is required: see package transport")
	}
	for i, dial := range c.Fallbacks {
		if dial == nil {
			wrong("Fallbacks[%d] is nil", i)
		}
	}
	if c.Credentials != nil && (c.UserName != "" || len(c.Password) > 0) {
		wrong("Credentials excludes UserName and Password")
	}
	if c.WhenFull > QueueDropOldest {
		wrong("WhenFull is %d, none of the queue policies", c.WhenFull)
	}
	if c.QoS0Overflow > OverflowDropNewest {
		wrong("QoS0Overflow is %d, none of the overflow policies", c.QoS0Overflow)
	}
	if most := packets.MaxRemainingLength + 5; c.MaxPacketSize > most {
		wrong("MaxPacketSize is %d bytes: no packet is larger than %d", c.MaxPacketSize, most)
	}
	// Checked one at a time, because a packet reports only one fault.
	login := loginOf(c.UserName, c.Password)
	for _, probe := range []packets.Connect{
		{HasUserName: login.HasUserName, UserName: login.UserName},
		{HasUserName: login.HasPassword, HasPassword: login.HasPassword, Password: login.Password},
	} {
		probe.CleanSession = true
		if err := probe.Check(); err != nil {
			wrong("%s", fault(err))
		}
	}
	if w := c.Will; w != nil {
		for _, will := range []packets.Will{
			{Topic: w.Topic},
			{Topic: "t", Payload: w.Payload},
			{Topic: "t", QoS: w.QoS},
		} {
			if err := (&packets.Connect{CleanSession: true, Will: &will}).Check(); err != nil {
				wrong("%s", fault(err))
			}
		}
	}
	return errors.Join(append(errs, c.session().Check())...)
}

// fault returns the text for an error in a field of CONNECT, with the name of the field in Config.
func fault(err error) string {
	var wrong *packets.EncodeError
	if !errors.As(err, &wrong) {
		return bare(err)
	}
	text := wrong.Field + ": " + wrong.Reason
	if wrong.Spec != "" {
		text += " [" + wrong.Spec + "]"
	}
	return text
}

func (c *Config) session() session.Config {
	if c.Store != nil && c.QueueMessages == 0 {
		c.QueueMessages = durableMessages
	}
	if c.Store != nil && c.QueueBytes == 0 {
		c.QueueBytes = durableBytes
	}
	return session.Config{
		ClientID:         c.ClientID,
		CleanSession:     c.CleanSession,
		KeepAlive:        c.KeepAlive,
		PingTimeout:      c.PingTimeout,
		MaxInflight:      c.MaxInflight,
		MaxInflightQoS2:  c.MaxInflightQoS2,
		QueueMessages:    c.QueueMessages,
		QueueBytes:       c.QueueBytes,
		FiltersPerPacket: c.FiltersPerPacket,
		FailQoS1:         c.FailQoS1,
		RepublishQoS2:    c.RepublishQoS2,
		NoScrub:          c.NoScrub,
	}
}

func loginOf(userName string, password []byte) session.Login {
	login := session.Login{UserName: userName, Password: password} // either may be empty [MQTT-3.1.2-19] [MQTT-3.1.2-21]
	login.HasUserName = userName != "" || len(password) > 0
	login.HasPassword = login.HasUserName && password != nil
	return login
}
