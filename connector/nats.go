package connector

import (
	"errors"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// NATS configures a NATS JetStream stream between a consumer and its flow, and the servers for
// leases. A Connector does not use it; package connector/jetstream and the command mqtt311-nats do.
type NATS struct {
	// URLs are the servers, in the form nats://host:port or tls://host:port.
	URLs []string

	// UserName and Password, Token, or Credentials authenticate the client; set one of the three.
	// Credentials is the text of a .creds file, with a JWT and a seed. Those with a source are read
	// at every attempt to connect.
	UserName        string
	Password        Secret
	PasswordFrom    *SecretSource
	Token           Secret
	TokenFrom       *SecretSource
	Credentials     Secret
	CredentialsFrom *SecretSource

	// TLSServerCert is trusted instead of the system's roots. TLSClientCert and its key are
	// presented to the server. Each is a path or PEM data.
	TLSServerCert    string
	TLSClientCert    string
	TLSClientKey     Secret
	TLSClientKeyFrom *SecretSource

	// Stream is the name of the stream: letters, digits, - and _. If empty, there is no stream, and
	// the servers only keep leases.
	Stream string

	// Consumer is the name of the consumer whose messages go into the stream, and whose flow runs
	// for messages from it. It may be empty if there is only one.
	Consumer string

	// Prefix is the first part of the subjects of the stream. If empty, "mqtt".
	Prefix string

	// Partitions is the maximum number of processes that can share the work, 1 to 1,024. It cannot
	// be changed for an existing stream. If zero, 16.
	Partitions int

	// Replicas is the number of servers that keep each message and each lease: 1, 3 or 5. If zero,
	// 1.
	Replicas int

	// Key is a template such as ${payload.device}: messages with the same key keep their order. If
	// it is empty, or fails for a message, the key is the topic.
	Key string

	// MessageID is a template, such as ${payload.id}, of a text that the sender makes different for each message. It is
	// then the idempotency key, so that the stream recognises a message that its sender or the MQTT Server sent twice. If
	// empty, and for messages that the template does not fit, the key is the one that the consumer makes.
	MessageID string

	// Strict sends the messages of a partition to the stream one at a time, so that none can
	// overtake one that failed.
	Strict bool

	// MaxBytes limits the size of the stream in bytes. While it is full, messages stay at the MQTT
	// Server. If zero, only the limits of the NATS server apply.
	MaxBytes int

	// Keep is how long messages stay in the stream, so that they can be replayed. If nil or zero,
	// they are removed when they are done. If set, they are removed at that age, done or not.
	Keep *time.Duration

	// Duplicates is how long the stream recognises duplicates of a message. If nil or zero, two
	// minutes.
	Duplicates *time.Duration

	// AckTimeout is how long to wait for the server to acknowledge a message before it is sent
	// again. If nil or zero, 5 seconds.
	AckTimeout *time.Duration

	// Group is the name of the group of processes that share the messages of the stream: letters,
	// digits, - and _. With Keep there may be several groups, each of which gets all messages. If
	// empty, "flows".
	Group string

	// Bucket is the key-value bucket of the leases. If empty, "mqtt311-leases". LeaseTTL is how
	// long a process that has died keeps its partitions. If nil or zero, 10 seconds. It is a
	// property of the bucket.
	Bucket   string
	LeaseTTL *time.Duration
}

// LeaseByNATS is the value of Lease of a [Partition] for leases on the servers of [Config.NATS].
const LeaseByNATS = "nats"

// NATSConsumer returns the name of the consumer whose messages go into the NATS stream, or "" if it
// is unknown.
func (cfg *Config) NATSConsumer() string {
	switch {
	case cfg.NATS == nil:
		return ""
	case cfg.NATS.Consumer != "":
		return cfg.NATS.Consumer
	case len(cfg.Consumers) == 1:
		return sortedKeys(cfg.Consumers)[0]
	}
	return ""
}

// leased returns why a Connector cannot run a configuration by itself.
func (cfg *Config) leased() error {
	if cfg.Lease() == nil {
		return nil
	}
	return flow.NewError(flow.TypeConfig, errors.New("partitions by lease are run by connector/jetstream, or the command mqtt311-nats"))
}

// Lease returns the Partition of consumers that are divided among processes by leases, or nil if
// there is none. All such consumers have the same one.
func (cfg *Config) Lease() *Partition {
	for _, p := range cfg.Consumers {
		if p.Partition != nil && p.Partition.Lease != "" {
			return p.Partition
		}
	}
	return nil
}
