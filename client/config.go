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

// Config configures a Client. Dial is required, and a ClientID or CleanSession. A
// Client keeps its own copy.
type Config struct {
	// Dial opens a Network Connection, section 4.2. It is called for every attempt
	// and must end when its context does.
	Dial func(ctx context.Context) (net.Conn, error)

	// Fallbacks open Network Connections to further servers that share the sessions of
	// the first, as the nodes of a cluster do. When an attempt fails the next one is
	// tried at once, and the pause comes after a round of all; the one that worked stays.
	Fallbacks []func(ctx context.Context) (net.Conn, error)

	// ClientID names the session at the Server, section 3.1.3.1. Two clients with the same ClientID
	// take the session from each other. It may be empty only with CleanSession.
	ClientID string

	// UserName and Password are sent with CONNECT, section 3.1.3.4. If both are empty, neither is
	// sent. Beside a Password an empty UserName is sent, because a Password needs one
	// [MQTT-3.1.2-22]. Beside a UserName a nil Password is not sent, and an empty one is.
	UserName string
	Password []byte

	// Credentials is asked before every attempt, instead of UserName and Password, for tokens
	// that expire. What it returns is sent as those are. Its error fails the attempt.
	Credentials func(ctx context.Context) (userName string, password []byte, err error)

	// CleanSession asks the Server for a session that ends with the Network
	// Connection, section 3.1.2.4. Every CONNECT says the same.
	// Messages that are not acknowledged are then lost with the connection.
	CleanSession bool

	// Will is published by the Server when the Network Connection ends without
	// DISCONNECT, section 3.1.2.5. If nil, none.
	Will *packets.Will

	// KeepAlive is how long the client stays silent at the most, section 3.1.2.10;
	// whole seconds reach the Server, rounded up. If zero, 30 seconds. If negative,
	// keep alive is off and a dead peer may go unnoticed.
	KeepAlive time.Duration

	// PingTimeout is how long the Server may stay silent after a PINGREQ. A dead
	// peer is found within KeepAlive and PingTimeout. If zero or negative, 10
	// seconds.
	PingTimeout time.Duration

	// ConnectTimeout bounds one attempt from name resolution to CONNACK. If zero,
	// 30 seconds. If negative, only the context of Connect bounds it.
	ConnectTimeout time.Duration

	// WriteTimeout is how long a write may make no progress; it goes in pieces of
	// at most 64 KiB. If zero, 30 seconds. If negative, none.
	WriteTimeout time.Duration

	// ConnectRetry makes Connect try again until its context ends; without it the
	// first failure is returned.
	ConnectRetry bool

	// ConnectRetryInterval is the pause between those attempts. If zero or
	// negative, the back-off of reconnecting.
	ConnectRetryInterval time.Duration

	// NoReconnect ends the client when the Network Connection is lost.
	NoReconnect bool

	// MaxReconnectInterval caps the pause between attempts to reconnect: 250 ms,
	// doubling, with full jitter, and after a connection that held for 30 seconds at
	// most one second. If zero or negative, 30 seconds.
	MaxReconnectInterval time.Duration

	// StopWhenRefused ends the client when the Server refuses a CONNECT for a
	// reason that is not going to pass (return codes 1, 2, 4 and 5). Without it the
	// client tries again at MaxReconnectInterval.
	StopWhenRefused bool

	// MaxInflight is how many PUBLISH packets of QoS 1 and 2 may be unanswered. If zero or
	// negative, 100: services of several vendors allow no more. A larger one counts as 16,384.
	MaxInflight int

	// MaxInflightQoS2 is how many of those may be of QoS 2, on their way from PUBLISH to PUBCOMP.
	// If zero or negative, 16: mosquitto 2.0.11 loses every 21st message when more than 20 are on
	// their way and the connection ends.
	MaxInflightQoS2 int

	// QueueMessages and QueueBytes bound what waits to be sent at QoS 1 and 2,
	// connected or not. If zero, 1,000 messages and 64 MiB, with a Store 100,000 and
	// 256 MiB. If negative, unbounded.
	QueueMessages int
	QueueBytes    int

	// WhenFull says what a Publish does when that is reached.
	WhenFull QueuePolicy

	// InboxMessages and InboxBytes bound what was received and not yet taken by the
	// application. If zero or negative, 256 messages and 16 MiB. An empty inbox
	// takes any legal packet. When reading cannot pause any longer the inbox may double; small
	// messages may exceed the count while their size plus 512 bytes each fits InboxBytes.
	// With CleanSession nothing can be left to the Server: then reading goes on with one packet after
	// each pause of up to eight seconds, and when the connection ends with what has come by then.
	InboxMessages int
	InboxBytes    int

	// MaxPacketSize is the largest packet that is accepted, in bytes with its fixed
	// header. If zero or negative, 16 MiB.
	MaxPacketSize int

	// TakeOversize is called with a message that SkipOversize skips, before it is acknowledged, and reads as
	// much of its payload as it wants; it may put it into a file, for example. Taken says whether it
	// did, for the event. If nil, such payloads are discarded.
	//
	// After an error a message of QoS 1 or 2 is not acknowledged: the connection ends with that error, and
	// the Server sends the message again on the next one. At QoS 0 and in a clean session, where
	// nothing comes again, it is skipped all the same, and the event has the error.
	//
	// Nothing else is received meanwhile. Keep alive goes on, also while the payload is not read for
	// long. TakeOversize does not use the payload after it has returned, and returns soon when ctx ends,
	// which is when the connection does: Close and the next connection wait for that. A message that
	// the session recognises is not offered again.
	TakeOversize func(ctx context.Context, m *IncomingError, payload io.Reader) (taken bool, err error)

	// SkipOversize acknowledges and discards a PUBLISH above MaxPacketSize. It is counted, and the
	// event MessageSkipped has an [*IncomingError] that says what it was. Without SkipOversize the
	// connection ends, and with the third in a row the client: a Server sends what is not acknowledged
	// again after each reconnect. Messages of QoS 0, which it does not, end no client.
	SkipOversize bool

	// SkipMalformed does the same with a PUBLISH whose Topic Name is malformed, such as one with U+0000, if the
	// packet behind it can be read. One of QoS 1 or 2 whose Packet Identifier cannot be read is not
	// acknowledged.
	SkipMalformed bool

	// QoS0Overflow says what happens to QoS 0 messages when the inbox is full and
	// reading cannot pause any longer.
	QoS0Overflow OverflowPolicy

	// LendPayloads makes a Delivery and its Payload valid only until the loop over Messages
	// steps on, or until the last handler returned: their memory is then used again. It
	// saves two allocations a message. With ManualAck, and when a loop breaks off, they stay valid.
	LendPayloads bool

	// ManualAck leaves acknowledging to [Delivery.Ack]. Without it a message is
	// acknowledged when its handler returned or the iterator steps on.
	ManualAck bool

	// QueueQoS0 keeps QoS 0 messages, within QueueMessages and QueueBytes, while no
	// connection is up, instead of failing them with ErrNotConnected.
	QueueQoS0 bool

	// FiltersPerPacket is how many filters go into one SUBSCRIBE. If zero or
	// negative, 8.
	FiltersPerPacket int

	// FailQoS1 and RepublishQoS2 say what becomes of messages that may have left
	// when the Server's session is lost: see [session.Config].
	FailQoS1      bool
	RepublishQoS2 bool

	// NoScrub disables releasing Packet Identifiers before their first use at QoS 2: see
	// [session.Config].
	NoScrub bool

	// Store keeps the session through the end of the process: see package client/wal. New
	// reads it. The Client does not close it, and it must stay open until the Client is
	// closed. If nil, what is unfinished is gone with the process.
	Store Store

	// OnEvent is told what happens to the connection, in order, on a goroutine of
	// its own. It may block; events beyond 1,024 waiting ones are dropped and
	// counted.
	OnEvent func(Event)

	// Trace is told about every packet when it leaves or has come, in order, on a goroutine of its
	// own: one line without payload, user name and password. It is for finding faults: it costs
	// time, and beyond 1,024 waiting lines some are dropped and counted.
	Trace func(Packet)

	// Logger is told about connections at Info and about what is unusual at Warn, never about
	// credentials or payloads. Whatever the Server does, of each message there are at most 100 lines
	// in ten seconds; the next one says as left_out how many there were between. If nil, nothing is
	// logged.
	Logger *slog.Logger
}

// QueuePolicy says what gives way when the queue of outgoing messages is full.
type QueuePolicy byte

// The queue policies.
const (
	QueueWait       QueuePolicy = iota // the caller waits until its context ends
	QueueFail                          // the new message: ErrQueueFull at once
	QueueDropOldest                    // the oldest that was never sent: it ends with ErrQueueFull
)

// OverflowPolicy says which QoS 0 message gives way when the inbox is full.
type OverflowPolicy byte

// The overflow policies.
const (
	OverflowDropOldest OverflowPolicy = iota // the oldest QoS 0 message in the inbox
	OverflowDropNewest                       // the one that just came
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

// own makes c independent of what the caller does with its own copy.
func (c *Config) own() {
	c.Fallbacks = slices.Clone(c.Fallbacks)
	c.Password = slices.Clone(c.Password)
	if c.Will != nil {
		will := *c.Will
		will.Payload = slices.Clone(will.Payload)
		c.Will = &will
	}
}

// check returns every mistake in c, joined.
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
	// One at a time, because a packet reports one fault.
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

// fault is the text of a mistake in a field of CONNECT that has the same name in Config.
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
