package connector

import (
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// Config configures a connector with its consumers and producers. It has every setting of the
// platform's forms, and extensions whose zero values change nothing.
type Config struct {
	General   General
	Advanced  Advanced
	Extension Extension
	Consumers map[string]ConsumerParams
	Producers map[string]ProducerParams

	// Connections are additional connections, by name, over which producers publish to other
	// servers: see [ProducerParams.Connection]. Consumers do not use them.
	Connections map[string]Connection

	// NATS configures a stream between a consumer and its flow, and the servers for leases. If nil,
	// there is neither.
	NATS *NATS
}

// A Connection configures a connection.
//
// In [Config.Connections] the settings for consumers have no effect: Order, StallTimeout,
// Unmatched, ErrorFormat, QoS0Overflow and ProducerConnection.
type Connection struct {
	General   General
	Advanced  Advanced
	Extension Extension
}

// own returns the settings of the main connection.
func (cfg *Config) own() *Connection {
	return &Connection{General: cfg.General, Advanced: cfg.Advanced, Extension: cfg.Extension}
}

// General has the settings of the platform's tab 通用配置 (general settings).
type General struct {
	// BrokerURL is the Server's address, host:port or host:port/path; the path is used only for
	// WebSocket. It may have a scheme that agrees with Protocol.
	BrokerURL string

	// Protocol is the protocol below MQTT. If zero, TCP.
	Protocol Protocol

	// ClientID identifies the session to the Server. Only one connection can use it at a time.
	// "${random}" in it, or "${random:8}" for 8 letters, is replaced by random letters for each
	// Connector.
	ClientID string

	// UserName and Password are sent if not empty. A password requires a user name.
	UserName string
	Password Secret

	// UserNameFrom and PasswordFrom, if not nil, replace UserName and Password. They are read at
	// every attempt to connect.
	UserNameFrom *SecretSource
	PasswordFrom *SecretSource

	// TLSClientCert and TLSClientKey are the certificate that the connector presents and its key;
	// set both or neither. TLSServerCert holds the certificates that are trusted instead of the
	// system's roots: certificate authorities, or the Server's own certificate. Each is a path or
	// PEM data.
	TLSClientCert string
	TLSClientKey  Secret
	TLSServerCert string

	// TLSClientKeyFrom, if not nil, replaces TLSClientKey. The key, as PEM data, is read for every
	// connection.
	TLSClientKeyFrom *SecretSource
}

// Advanced has the settings of the platform's tab 高级配置 (advanced settings). A nil duration means
// the default.
type Advanced struct {
	WillEnabled  bool
	WillTopic    string
	WillPayload  string
	WillQoS      packets.QoS
	WillRetained bool

	// CleanSession asks the Server for a session that ends with the connection; messages that are
	// not acknowledged by then are lost. If nil, true, as on the platform.
	CleanSession *bool

	// Order makes the flows of a consumer run one at a time, in the order in which messages
	// arrived.
	Order bool

	KeepAlive   *time.Duration // nil: 30 s; 0 turns it off
	PingTimeout *time.Duration // nil: 10 s

	// ConnectTimeout limits an attempt to connect, from name resolution to CONNACK. If nil, 30
	// seconds.
	ConnectTimeout *time.Duration

	AutoReconnect        bool
	MaxReconnectInterval *time.Duration // nil: 30 s
	ConnectRetry         bool
	ConnectRetryInterval *time.Duration // nil: 30 s

	// WriteTimeout is how long a write of up to 64 KiB may take. If nil, 30 seconds.
	WriteTimeout *time.Duration
}

// Clean returns CleanSession, or its default if it is nil.
func (a *Advanced) Clean() bool { return a.CleanSession == nil || *a.CleanSession }

// Extension has settings that the platform does not have.
type Extension struct {
	// FailoverURLs are further servers, in the form of BrokerURL, that share their sessions with
	// the first, as the nodes of a cluster do. They are tried in turn.
	FailoverURLs []string

	// Proxy is the URL of a proxy, socks5://host:port or http://host:port, optionally with
	// user:password@ before the host; or "env" to use the environment variables ALL_PROXY,
	// HTTPS_PROXY and NO_PROXY. If empty, no proxy is used.
	Proxy Secret

	// ProxyFrom, if not nil, replaces Proxy. It is read at every attempt to connect.
	ProxyFrom *SecretSource

	// TLSMinVersion is "1.2" or "1.3". If empty, "1.2".
	TLSMinVersion string

	// TLSServerName is the name that the Server's certificate must be valid for. If empty, the host
	// of BrokerURL.
	TLSServerName string

	// TLSInsecureSkipVerify accepts any server certificate. It is meant for tests.
	TLSInsecureSkipVerify bool

	// TLSALPN lists the application protocols to offer, such as "mqtt".
	TLSALPN []string

	// WSHeaders are sent with the WebSocket handshake. They may contain tokens.
	WSHeaders map[string]Secret

	// WSHeadersFrom has further headers, which are read for every handshake.
	WSHeadersFrom map[string]SecretSource

	// MaxPacketSize is the size of the largest incoming packet that is accepted, in bytes. If zero,
	// 16 MiB.
	MaxPacketSize int

	// MaxInflight is how many messages of QoS 1 and 2, from all producers and dead letters of a
	// connection together, the Server may leave unacknowledged at a time; MaxInflightQoS2 is how
	// many of them may be of QoS 2. If zero, 100 and 16; at most 16,384. See [client.Config].
	MaxInflight     int
	MaxInflightQoS2 int

	// QoS0Overflow says which message of QoS 0 is dropped when the consumers do not keep up and
	// reading cannot pause any longer. If zero, the oldest.
	QoS0Overflow client.OverflowPolicy

	// AckTimeout is how long a producer waits for the Server. If nil, 30 seconds.
	AckTimeout *time.Duration

	// ProducerConnection says whether producers and dead letters use a Network Connection of their
	// own, whose ClientID ends in "-producers". If zero, they share that of the consumers.
	ProducerConnection ProducerConnection

	// StallTimeout is how long a message may be unacknowledged before the connector reports an
	// error in Health, in the log and to OnError. If nil, 5 minutes. If zero, there is no limit.
	StallTimeout *time.Duration

	// TopicCharacters says which characters a topic that a producer makes from a template may
	// contain, unless the producer has its own setting. If zero, StrictTopics.
	TopicCharacters TopicCharacters

	// Oversize says what to do with messages larger than MaxPacketSize, and Malformed with messages
	// whose topic is malformed (section 4.7). If zero, they are skipped.
	Oversize  FaultPolicy
	Malformed FaultPolicy

	// Unmatched says what to do with messages that match no consumer.
	Unmatched Unmatched

	// ErrorFormat is the format of the errors that messages carry. If zero, that of the platform.
	ErrorFormat ErrorFormat

	// SessionStore keeps the session on disk. If nil, it is lost when the process ends.
	SessionStore *SessionStore
}

// A SessionStore configures the store that keeps the session across restarts of the process:
// unfinished outgoing messages of QoS 1 and 2, the incoming QoS 2 messages that were acknowledged,
// and the ledger. Only one running process can use it.
type SessionStore struct {
	// Dir is a folder for the stores of any number of connectors, each of which gets a folder of
	// its own in it. It is created if it does not exist.
	Dir string

	// Sync says when writes are synced to the disk. If zero, always.
	Sync wal.Sync

	// MaxBytes and MaxMessages limit the messages that wait to be published. If zero, 256 MiB and
	// 100,000 messages. If negative, there is no limit.
	MaxBytes    int
	MaxMessages int

	// AllowShared accepts folders that other users can write to or own, for volumes whose
	// permissions cannot be changed. See [wal.Options].
	AllowShared bool
}

// ConsumerParams are the parameters of a consumer.
type ConsumerParams struct {
	Topics  []TopicQoS  // 订阅主题: Topic Filters, at least one
	QoS     packets.QoS // for topics without their own QoS
	AckMode AckMode

	// Concurrency is how many flows may run at a time. With Advanced.Order it is one. If zero, 64.
	Concurrency int

	// OrderBy says which flows must run one at a time. If zero, all of the consumer with
	// Advanced.Order, and none without.
	OrderBy OrderBy

	// MaxInFlight and MaxInFlightBytes limit the messages that were taken from the connection and
	// are not settled. If zero, 256 messages and 16 MiB.
	MaxInFlight      int
	MaxInFlightBytes int

	// FlowTimeout limits one run of the flow. If nil or zero, there is no limit.
	FlowTimeout *time.Duration

	OnFailure OnFailure

	// ShareGroup makes the consumer subscribe as a member of a group, to "$share/group/topic", on
	// Servers with shared subscriptions.
	ShareGroup string

	// Partition divides messages among processes by a hash of their topic, for Servers without
	// shared subscriptions. If nil, the consumer takes all.
	Partition *Partition

	// Retained says what to do with retained messages.
	Retained RetainedPolicy

	// MimeType and Encoding are the MIME type and encoding of the payload's Entity.
	MimeType string
	Encoding string

	// TriggerOnError also runs the flow for errors of the consumer itself: the connection fails or
	// is lost, a topic is refused or granted at a lower QoS, a message stalls. The flow gets a
	// message with the error and an empty payload. Nothing is acknowledged then; if the flow fails,
	// that is only logged.
	TriggerOnError bool

	// Ledger keeps in the session store how often each message was tried, so that a message that
	// kills the process is not tried forever. It also keeps which flows have ended but cannot be
	// acknowledged before an earlier one, so that they do not run again after a crash. It costs a
	// synced write before each run.
	Ledger bool

	// ExtendedAttributes adds further attributes to messages: see AttributeRetained and the
	// constants after it.
	ExtendedAttributes bool
}

// A Partition is the share of one of Count processes that divide the messages among them. The
// process takes the messages for which the hash of the key (FNV-1a, 32 bits) modulo Count is Index,
// and acknowledges all others at once, since other processes take them. All Count processes must
// run.
type Partition struct {
	Index, Count int

	// Lease divides the Count shares evenly among the processes that are running, by leases on NATS
	// servers; Index is not used. It is the URL of a NATS server, or [LeaseByNATS]. All consumers
	// must then have the same Partition. New refuses such a configuration: it is for package
	// connector/jetstream and the command mqtt311-nats.
	Lease string

	// Key is a template such as ${payload.device}: messages with the same key go to the same
	// process. If it is empty or "topic", the key is the topic, as it is for messages for which the
	// template fails.
	Key string
}

// A TopicQoS is a Topic Filter, with a QoS of its own if HasQoS is true.
type TopicQoS struct {
	Topic  string
	QoS    packets.QoS
	HasQoS bool
}

// OnFailure says what happens to a message whose flow failed.
type OnFailure struct {
	// Retries is how often the flow is run again, after increasing pauses. If nil or negative, it
	// is run until it succeeds, as on the platform: "流运行失败的信息会重试".
	Retries *int

	InitialDelay *time.Duration // nil or 0: 200 ms
	MaxDelay     *time.Duration // nil or 0: 30 s

	// RetryOn lists the error types after which the flow is run again; each includes its subtypes.
	// After any other error the message is treated as if its retries were used up. If empty, all
	// types are retried.
	RetryOn []flow.ErrorType

	// Then says what to do when the retries are used up.
	Then Disposition

	// DeadLetterTopic or DeadLetterFile is where messages are put if Then is DeadLetter. Set one of
	// them.
	DeadLetterTopic string
	DeadLetterFile  string

	// DeadLetterMaxOversize is the size of the largest message, in bytes including the fixed
	// header, that is written to DeadLetterFile if it is larger than MaxPacketSize. Such a message
	// is written and synced before it is acknowledged; no flow runs for it. If nil, any size that
	// MQTT allows; if 0, no such message is written.
	DeadLetterMaxOversize *int

	// DeadLetterMeta also publishes a [DeadLetterRecord] as JSON, without the payload, to
	// DeadLetterTopic with "/meta" appended.
	DeadLetterMeta bool
}

// ProducerParams are the parameters of a producer.
type ProducerParams struct {
	// Topic is a Topic Name, or a template with ${payload.path}, ${attribute.name} or
	// ${variable.name}.
	Topic string

	// Payload is a template for the payload. If nil, the payload of the message is published
	// unchanged.
	Payload *string

	QoS      packets.QoS
	Retained bool

	// KeepRetained publishes each message with the retained flag with which it arrived, instead of
	// Retained and RetainedFrom. A Server sets the flag only on messages that it sends because of a
	// new subscription [MQTT-3.3.1-8], not on live ones [MQTT-3.3.1-9], so live messages are
	// published without it. An attribute "retained" of the message takes precedence. Outside the
	// flow of a consumer, a message without this attribute is not retained.
	KeepRetained bool

	// Connection is the name of the connection in Config.Connections over which the producer
	// publishes. If empty, it is the main connection of the connector.
	//
	// Messages are published at least once, even at QoS 2: if the process dies after a message was
	// published or stored, and before the incoming one was acknowledged, the incoming one is
	// delivered again and published again.
	Connection string

	// QoSFrom and RetainedFrom, if not empty, are templates for the QoS and retained flag of each
	// message, instead of QoS and Retained.
	QoSFrom      string
	RetainedFrom string

	// TopicCharacters says which characters a topic made from a template may contain. If zero, the
	// setting of Extension applies.
	TopicCharacters TopicCharacters

	// DoneWhen says when Run returns. If zero, when the Server has acknowledged the message.
	DoneWhen DoneWhen

	// AckTimeout is how long one message may wait for the Server. If nil, the setting of Extension
	// applies.
	AckTimeout *time.Duration

	// MaxInFlight is how many messages of the producer may be unacknowledged at a time. If zero,
	// only Extension.MaxInflight limits it.
	MaxInFlight int
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
