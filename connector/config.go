package connector

import (
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// Config is a connector with its operations: every row of the platform's tables, and
// extensions whose zero values change nothing.
type Config struct {
	General   General
	Advanced  Advanced
	Extension Extension
	Consumers map[string]ConsumerParams
	Producers map[string]ProducerParams

	// Connections are further connections, by name. Producers publish over them to other servers:
	// see [ProducerParams.Connection]. Consumers do not use them.
	Connections map[string]Connection

	// NATS is a stream between a consumer and its flow, and who keeps leases. If nil, there is neither.
	NATS *NATS
}

// A Connection is the settings of a connection.
//
// In [Config.Connections] those for consumers have no effect: Order, StallTimeout, Unmatched,
// ErrorFormat, QoS0Overflow and ProducerConnection.
type Connection struct {
	General   General
	Advanced  Advanced
	Extension Extension
}

// own returns the settings of the connector's own connection.
func (cfg *Config) own() *Connection {
	return &Connection{General: cfg.General, Advanced: cfg.Advanced, Extension: cfg.Extension}
}

// General is the tab 通用配置.
type General struct {
	// BrokerURL is the Server's address, host:port or host:port/path; the path counts
	// for WebSocket only. A scheme is allowed if it fits Protocol.
	BrokerURL string

	// Protocol is the kind of connection. If zero, TCP.
	Protocol Protocol

	// ClientID names the session at the Server. One connection has it at a time.
	// "${random}" in it, or "${random:8}" for 8 letters, is different for each
	// Connector.
	ClientID string

	// UserName and Password are sent if not empty. A password needs a user name.
	UserName string
	Password Secret

	// UserNameFrom and PasswordFrom say where they are read at every attempt to connect,
	// instead of UserName and Password. If nil, those.
	UserNameFrom *SecretSource
	PasswordFrom *SecretSource

	// TLSClientCert and TLSClientKey are the certificate that the connector shows, both
	// or neither. TLSServerCert is trusted instead of the system's roots: authorities,
	// or the Server's own certificate. Each is a path or PEM text.
	TLSClientCert string
	TLSClientKey  Secret
	TLSServerCert string

	// TLSClientKeyFrom says where the PEM text of the key is read for every connection, instead
	// of TLSClientKey. If nil, that.
	TLSClientKeyFrom *SecretSource
}

// Advanced is the tab 高级配置. Durations that are nil are unset.
type Advanced struct {
	WillEnabled  bool
	WillTopic    string
	WillPayload  string
	WillQoS      packets.QoS
	WillRetained bool

	// CleanSession asks the Server to forget the session with the connection. If nil,
	// true, as on the platform: then messages that are not acknowledged are lost with the
	// connection.
	CleanSession *bool

	// Order makes flows run one after the other in the order of arrival.
	Order bool

	KeepAlive   *time.Duration // nil: 30 s; 0 turns it off
	PingTimeout *time.Duration // nil: 10 s

	// ConnectTimeout covers name resolution, TCP, TLS, WebSocket and CONNACK. If nil,
	// 30 seconds.
	ConnectTimeout *time.Duration

	AutoReconnect        bool
	MaxReconnectInterval *time.Duration // nil: 30 s
	ConnectRetry         bool
	ConnectRetryInterval *time.Duration // nil: 30 s

	// WriteTimeout is how long a write may make no progress. If nil, 30 seconds.
	WriteTimeout *time.Duration
}

// Clean returns CleanSession with its default.
func (a *Advanced) Clean() bool { return a.CleanSession == nil || *a.CleanSession }

// Extension is what the platform does not have.
type Extension struct {
	// FailoverURLs are further servers, as BrokerURL, that share the sessions of the first,
	// as the nodes of a cluster do. They are tried in turn.
	FailoverURLs []string

	// Proxy leads connections through a proxy: socks5://host:port or http://host:port,
	// with user:password@ before the host if it wants them; or "env", for what ALL_PROXY,
	// HTTPS_PROXY and NO_PROXY say. If empty, none.
	Proxy Secret

	// ProxyFrom says where Proxy is read at every attempt to connect. If nil, Proxy.
	ProxyFrom *SecretSource

	// TLSMinVersion is "1.2" or "1.3". If empty, "1.2".
	TLSMinVersion string

	// TLSServerName is the name that the Server's certificate must bear. If empty, the
	// host of BrokerURL.
	TLSServerName string

	// TLSInsecureSkipVerify accepts any certificate; for test set-ups.
	TLSInsecureSkipVerify bool

	// TLSALPN lists protocols to offer, such as "mqtt".
	TLSALPN []string

	// WSHeaders are sent with the WebSocket handshake; they may hold tokens.
	WSHeaders map[string]Secret

	// WSHeadersFrom says where further headers are read for every handshake.
	WSHeadersFrom map[string]SecretSource

	// MaxPacketSize is the largest incoming packet in bytes. If zero, 16 MiB.
	MaxPacketSize int

	// MaxInflight is how many messages of QoS 1 and 2 may be on their way to the Server without an
	// answer, of all producers and dead letters of a connection together; MaxInflightQoS2 is how many
	// of them may be of QoS 2. If zero, 100 and 16; at most 16,384. See [client.Config].
	MaxInflight     int
	MaxInflightQoS2 int

	// QoS0Overflow says which message of QoS 0 gives way when the consumers do not keep up
	// and reading cannot pause any longer. If zero, the oldest.
	QoS0Overflow client.OverflowPolicy

	// AckTimeout bounds how long a producer waits for the Server. If nil, 30 seconds.
	AckTimeout *time.Duration

	// ProducerConnection says whether producers and dead letters have a Network Connection of
	// their own, with "-producers" behind the ClientID. If zero, they share that of the
	// consumers.
	ProducerConnection ProducerConnection

	// StallTimeout is how long a message may be unacknowledged before that is an error of the
	// connector, for Health, the log and OnError. If nil, 5 minutes; if zero, for ever.
	StallTimeout *time.Duration

	// TopicCharacters says what a topic may hold that a producer makes of a template, unless the
	// producer says it itself. If zero, StrictTopics.
	TopicCharacters TopicCharacters

	// Oversize says what becomes of messages above MaxPacketSize, and Malformed of those whose
	// topic section 4.7 does not allow. If zero, they are skipped.
	Oversize  FaultPolicy
	Malformed FaultPolicy

	// Unmatched says what becomes of messages that match no consumer.
	Unmatched Unmatched

	// ErrorFormat is the form of the errors that messages carry. If zero, the platform's.
	ErrorFormat ErrorFormat

	// SessionStore keeps the session on disk. If nil, it ends with the process.
	SessionStore *SessionStore
}

// A SessionStore says where the session is kept through the end of the process: what was
// published at QoS 1 and 2 and is not finished, which messages of QoS 2 were taken over, and
// the ledger. One running process uses it.
type SessionStore struct {
	// Dir is a folder for the stores of any number of connectors; each has a folder of its own
	// in it. It is made if it is not there.
	Dir string

	// Sync says when what was written is synced. If zero, always.
	Sync wal.Sync

	// MaxBytes and MaxMessages bound what waits to be published. If zero, 256 MiB and
	// 100,000 messages. If negative, unbounded.
	MaxBytes    int
	MaxMessages int

	// AllowShared accepts folders that others can write to, or that belong to another
	// user: for volumes whose permissions somebody else sets. See [wal.Options].
	AllowShared bool
}

// ConsumerParams are the input of a Consumer operation.
type ConsumerParams struct {
	Topics  []TopicQoS  // 订阅主题: Topic Filters, one at the least
	QoS     packets.QoS // for the topics without one of their own
	AckMode AckMode

	// Concurrency is how many flows run at once, unless Order makes it one. If zero, 64.
	Concurrency int

	// OrderBy says which flows run one after the other. If zero, all of the consumer
	// with Advanced.Order, none without.
	OrderBy OrderBy

	// MaxInFlight and MaxInFlightBytes bound what was taken from the connection and not
	// settled. If zero, 256 messages and 16 MiB.
	MaxInFlight      int
	MaxInFlightBytes int

	// FlowTimeout bounds one run of the flow. If nil or zero, none.
	FlowTimeout *time.Duration

	OnFailure OnFailure

	// ShareGroup subscribes as a member of a group, "$share/group/topic", where the
	// Server has shared subscriptions.
	ShareGroup string

	// Partition takes a share of the topics by their hash, for Servers without shared
	// subscriptions. If nil, all.
	Partition *Partition

	// Retained says what happens to messages that the Server had kept.
	Retained RetainedPolicy

	// MimeType and Encoding are what the payload's Entity says of itself.
	MimeType string
	Encoding string

	// TriggerOnError also runs the flow when the consumer itself fails, on a message with its
	// error set and an empty payload: when the connection fails or is lost, when a topic is
	// refused or granted at a lower QoS, when a message stalls. Nothing is acknowledged
	// then, and a failure of the flow is logged.
	TriggerOnError bool

	// Ledger keeps in the session store how often a message was tried, so that a message that
	// kills the process is not tried for ever, and which flows ended while an earlier one
	// holds their acknowledgement, so that a crash does not run them again. It costs a
	// synced write before each run.
	Ledger bool

	// ExtendedAttributes adds what else is known of a message to the attributes: see
	// AttributeRetained and those behind it.
	ExtendedAttributes bool
}

// A Partition is one of Count processes that divide the messages among them: it takes
// those whose key's hash (FNV-1a, 32 bits) modulo Count is Index, and acknowledges the
// others at once, because another process takes them. All Count processes have to run.
type Partition struct {
	Index, Count int

	// Lease lets processes come and go: each takes as many of the Count shares as the others, by leases that NATS
	// servers keep, and Index is not used. It is the URL of a server, or [LeaseByNATS]. All consumers have the same
	// Partition then. A Connector is one process of them: package connector/jetstream and the command mqtt311-nats run
	// such a configuration, and New refuses it.
	Lease string

	// Key is a template, as ${payload.device}: messages with one key go to one process. If
	// empty, or "topic", the topic is the key, and so it is for messages that the template does
	// not fit.
	Key string
}

// TopicQoS is a Topic Filter and, if HasQoS, a QoS of its own.
type TopicQoS struct {
	Topic  string
	QoS    packets.QoS
	HasQoS bool
}

// OnFailure says what happens to a message whose flow failed.
type OnFailure struct {
	// Retries is how often the flow is run again, in place, with growing pauses. If
	// negative or unset, until it succeeds: the platform's "流运行失败的信息会重试".
	Retries *int

	InitialDelay *time.Duration // nil or 0: 200 ms
	MaxDelay     *time.Duration // nil or 0: 30 s

	// RetryOn lists the error types that are worth another run, with all that are narrower;
	// an error of another type uses the retries up at once. If empty, all.
	RetryOn []flow.ErrorType

	// Then says what happens when the retries are used up.
	Then Disposition

	// DeadLetterTopic and DeadLetterFile are where Then DeadLetter puts a message; one
	// of them.
	DeadLetterTopic string
	DeadLetterFile  string

	// DeadLetterMaxOversize is how large, in bytes with its fixed header, a message above MaxPacketSize may be that
	// goes to DeadLetterFile: it is put there and synced before it is acknowledged, and no flow runs
	// for it. If nil, as large as MQTT allows; if 0, none is put there.
	DeadLetterMaxOversize *int

	// DeadLetterMeta also publishes a [DeadLetterRecord] without the payload, as JSON, to the
	// topic with "/meta" behind it.
	DeadLetterMeta bool
}

// ProducerParams are the input of a Producer operation.
type ProducerParams struct {
	// Topic is a Topic Name, or a template: ${payload.path} ${attribute.name}
	// ${variable.name}.
	Topic string

	// Payload is a template for the content. If nil, the payload of the message is
	// published as it is.
	Payload *string

	QoS      packets.QoS
	Retained bool

	// KeepRetained publishes with the retained flag that the message came with, instead of Retained and
	// RetainedFrom. A server sets the flag only on a message that it had kept [MQTT-3.3.1-8], never on a
	// live one [MQTT-3.3.1-9], so live messages are not retained. If the message has the attribute
	// "retained", that decides. Outside the flow of a consumer a message without it is not retained.
	KeepRetained bool

	// Connection names the connection of Config.Connections that the producer publishes over. If empty,
	// the connector's own.
	//
	// A message is published at least once, also at QoS 2: when the process ends after the
	// message was published or stored and before the incoming one was acknowledged, the incoming
	// one comes again and is published again.
	Connection string

	// QoSFrom and RetainedFrom are templates whose text says it for each message, instead of
	// QoS and Retained. If empty, those.
	QoSFrom      string
	RetainedFrom string

	// TopicCharacters says what a topic may hold that is made of a template. If zero, that of
	// Extension.
	TopicCharacters TopicCharacters

	// DoneWhen says when Run is done. If zero, when the Server has answered.
	DoneWhen DoneWhen

	// AckTimeout bounds how long one message waits for the Server. If nil, that of
	// Extension.
	AckTimeout *time.Duration

	// MaxInFlight is how many messages of the producer may be on their way. If zero,
	// only Extension.MaxInflight bounds it.
	MaxInFlight int
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
