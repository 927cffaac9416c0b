package connector

import (
	"errors"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// NATS is a stream of NATS JetStream that stands between a consumer and its flow, and the servers that keep leases. A
// Connector does not use it: package connector/jetstream and the command mqtt311-nats do.
type NATS struct {
	// URLs are the servers, as nats://host:port, or tls://host:port.
	URLs []string

	// UserName and Password, Token, or Credentials say who the client is: one of the three. Credentials is the text of
	// a .creds file, with a JWT and a seed. What has a source is read at every attempt to connect.
	UserName        string
	Password        Secret
	PasswordFrom    *SecretSource
	Token           Secret
	TokenFrom       *SecretSource
	Credentials     Secret
	CredentialsFrom *SecretSource

	// TLSServerCert is trusted instead of the system's roots, and TLSClientCert with its key is shown. Each is a path or
	// PEM text.
	TLSServerCert    string
	TLSClientCert    string
	TLSClientKey     Secret
	TLSClientKeyFrom *SecretSource

	// Stream names the stream at the server: letters, digits, - and _. If empty, there is none, and the servers keep
	// leases alone.
	Stream string

	// Consumer is the one whose messages go into the stream, and whose flow runs for what comes out of it. If empty, the
	// only one.
	Consumer string

	// Prefix begins the subjects of the stream. If empty, "mqtt".
	Prefix string

	// Partitions is how many processes can share the work at most, 1 to 1,024. It does not change for the life of the
	// stream. If zero, 16.
	Partitions int

	// Replicas is how many servers keep each message, and each lease: 1, 3 or 5. If zero, 1.
	Replicas int

	// Key is a template, as ${payload.device}, of what messages have in common that keep their order. If empty, the
	// topic, which is also the key of messages that the template does not fit.
	Key string

	// MessageID is a template, as ${payload.id}, of what the sender of a message makes different for each. It is then the
	// idempotency key, so that the stream knows a message again whose sender or MQTT Server has sent it twice. If empty,
	// and for messages that the template does not fit, the key is what the consumer makes.
	MessageID string

	// Strict has one message of each partition on its way to the stream, so that none passes one that failed.
	Strict bool

	// MaxBytes bounds the stream. When it is full the MQTT Server keeps what comes. If zero, only the server bounds it.
	MaxBytes int

	// Keep is how long messages stay that are done, to be replayed. If nil or zero, they go when they are done. If it is
	// set, messages go when they are that old, whether they are done or not.
	Keep *time.Duration

	// Duplicates is how long the stream knows a message again. If nil or zero, two minutes.
	Duplicates *time.Duration

	// AckTimeout is how long the server may take to acknowledge a message before it is sent again. If nil or zero, 5
	// seconds.
	AckTimeout *time.Duration

	// Group names what works on the stream, letters, digits, - and _: with Keep several groups get all messages each. If
	// empty, "flows".
	Group string

	// Bucket is the key-value bucket of the leases. If empty, "mqtt311-leases". LeaseTTL is how long a partition stays
	// with a process that has died. If nil or zero, 10 seconds. It belongs to the bucket.
	Bucket   string
	LeaseTTL *time.Duration
}

// LeaseByNATS is the Lease of a [Partition] whose servers are those of [Config.NATS].
const LeaseByNATS = "nats"

// NATSConsumer returns the name of the consumer whose messages go into the stream of NATS; empty if it is not known.
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

// leased is why a Connector cannot run a configuration by itself.
func (cfg *Config) leased() error {
	if cfg.Lease() == nil {
		return nil
	}
	return flow.NewError(flow.TypeConfig, errors.New("partitions by lease are run by connector/jetstream, or the command mqtt311-nats"))
}

// Lease returns the partition by which consumers are divided among processes that hold leases; nil if none is. They all
// have the same.
func (cfg *Config) Lease() *Partition {
	for _, p := range cfg.Consumers {
		if p.Partition != nil && p.Partition.Lease != "" {
			return p.Partition
		}
	}
	return nil
}
