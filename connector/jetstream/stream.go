package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// logger returns log, or one that drops everything if it is nil.
func logger(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// Config configures a stream for MQTT messages.
type Config struct {
	// Name is the name of the stream at the server: letters, digits, - and _.
	Name string

	// Prefix is the first part of subjects, which have the form PREFIX.PARTITION.TOPIC; see
	// [TopicSubject]. If empty, "mqtt". Streams of the same account need different prefixes.
	Prefix string

	// Partitions is the maximum number of processes that can share the work. It cannot be changed
	// for an existing stream, because keys would move to other partitions and lose their order. If
	// zero, 16.
	Partitions int

	// Replicas is the number of servers of a cluster that keep each message: 1, 3 or 5. If zero, 1.
	Replicas int

	// MaxBytes limits the size of the stream in bytes. While it is full, the gateway waits, and
	// messages stay at the MQTT Server; none are removed. If zero or negative, only the limits of
	// the NATS server apply.
	MaxBytes int64

	// Keep is how long messages stay in the stream, so that they can be replayed. If zero, they are
	// removed when they are done. If set, they are removed at that age, done or not.
	Keep time.Duration

	// AckTimeout is how long to wait for the server to acknowledge the oldest message that was
	// sent, before all unacknowledged ones are sent again. If zero or negative, 5 seconds.
	AckTimeout time.Duration

	// Duplicates is how long the stream recognises duplicates of a message by its idempotency key.
	// If zero, two minutes.
	Duplicates time.Duration
}

// The metadata of a stream that must not change.
const (
	metaPartitions = "mqtt311.partitions"
	metaPrefix     = "mqtt311.prefix"
)

const (
	defaultPrefix     = "mqtt"
	defaultPartitions = 16
	defaultDuplicates = 2 * time.Minute
	defaultAckTimeout = 5 * time.Second
	maxPartitions     = 1024
)

// A Stream is a stream at a NATS server. It is safe for concurrent use.
type Stream struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	cfg    Config
}

// check fills in the defaults and returns all problems, joined.
func (cfg *Config) check() error {
	cfg.Prefix = cmp.Or(cfg.Prefix, defaultPrefix)
	cfg.Partitions = cmp.Or(cfg.Partitions, defaultPartitions)
	cfg.Replicas = cmp.Or(cfg.Replicas, 1)
	cfg.Duplicates = cmp.Or(cfg.Duplicates, defaultDuplicates)
	if cfg.AckTimeout <= 0 {
		cfg.AckTimeout = defaultAckTimeout
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("jetstream: "+format, args...)) }
	if !plainName(cfg.Name) {
		bad("Config.Name is %q: it has to be letters, digits, - and _", cfg.Name)
	}
	if !plainName(cfg.Prefix) {
		bad("Config.Prefix is %q: it has to be letters, digits, - and _", cfg.Prefix)
	}
	if cfg.Partitions < 1 || cfg.Partitions > maxPartitions {
		bad("Config.Partitions is %d: it has to be 1 to %d", cfg.Partitions, maxPartitions)
	}
	if cfg.Replicas != 1 && cfg.Replicas != 3 && cfg.Replicas != 5 {
		bad("Config.Replicas is %d: it has to be 1, 3 or 5", cfg.Replicas)
	}
	if cfg.Keep < 0 || cfg.Duplicates < 0 {
		bad("Config.Keep and Config.Duplicates cannot be negative")
	}
	if cfg.Keep > 0 && cfg.Duplicates > cfg.Keep {
		bad("Config.Duplicates is %s: it cannot be above Keep, %s", cfg.Duplicates, cfg.Keep)
	}
	return errors.Join(errs...)
}

// plainName reports whether s is a valid name for streams, consumers and subjects.
func plainName(s string) bool {
	return s != "" && len(s) <= 200 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// Open returns the stream with the given configuration, creating it if it does not exist. An
// existing stream is not changed: if it has another prefix or number of partitions, could lose
// messages that are not done, or has fewer replicas or a shorter window for duplicates than asked
// for, Open returns an error that says so.
//
// The caller must close nc after use. It should have been made with nats.MaxReconnects(-1).
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Stream, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	s := &Stream{js: js, cfg: cfg}
	stream, err := js.Stream(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, cfg.wanted())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
			stream, err = js.Stream(ctx, cfg.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("jetstream: stream %s: %w", cfg.Name, err)
	}
	if err := cfg.fits(stream.CachedInfo().Config); err != nil {
		return nil, err
	}
	s.stream = stream
	return s, nil
}

func (cfg *Config) wanted() jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:        cfg.Name,
		Description: "MQTT messages, divided by key",
		Subjects:    []string{cfg.Prefix + ".*.>"},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    cmp.Or(max(cfg.MaxBytes, 0), -1),
		Replicas:    cfg.Replicas,
		Duplicates:  cfg.Duplicates,
		Metadata:    map[string]string{metaPartitions: strconv.Itoa(cfg.Partitions), metaPrefix: cfg.Prefix},
	}
	if cfg.Keep > 0 {
		c.Retention, c.MaxAge = jetstream.LimitsPolicy, cfg.Keep
	}
	return c
}

// fits returns an error if an existing stream cannot be used.
func (cfg *Config) fits(has jetstream.StreamConfig) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("jetstream: stream %s "+format, append([]any{cfg.Name}, args...)...))
	}
	wanted := cfg.wanted()
	for _, key := range []string{metaPartitions, metaPrefix} {
		if has.Metadata[key] != wanted.Metadata[key] {
			bad("has %q as its metadata %s instead of %q: it was made with another configuration, or by something else", has.Metadata[key], key, wanted.Metadata[key])
		}
	}
	if has.Retention != wanted.Retention {
		bad("has the retention %s instead of %s", has.Retention, wanted.Retention)
	}
	if has.Storage != jetstream.FileStorage {
		bad("is kept in memory: its messages would be lost with the server's process")
	}
	if has.MaxAge > 0 && (cfg.Keep == 0 || has.MaxAge < cfg.Keep) {
		keep := "until they are done"
		if cfg.Keep > 0 {
			keep = "for " + cfg.Keep.String()
		}
		bad("removes messages that are %s old, which are to be kept %s", has.MaxAge, keep)
	}
	if has.MaxMsgsPerSubject > 0 && !has.DiscardNewPerSubject {
		bad("keeps %d messages of each subject and discards older ones, whether they are done or not", has.MaxMsgsPerSubject)
	}
	if has.NoAck {
		bad("acknowledges nothing")
	}
	if has.Sealed {
		bad("is sealed: it takes nothing any more")
	}
	if has.Mirror != nil {
		bad("is a mirror: it takes nothing but what its source has")
	}
	if !slices.Contains(has.Subjects, wanted.Subjects[0]) {
		bad("has the subjects %q, and not %q", has.Subjects, wanted.Subjects[0])
	}
	if has.Replicas < wanted.Replicas {
		bad("is kept by %d servers instead of %d: nats stream edit %s --replicas %d changes that", has.Replicas, wanted.Replicas, cfg.Name, wanted.Replicas)
	}
	if has.Duplicates < wanted.Duplicates {
		bad("knows messages again for %s instead of %s: nats stream edit %s --dupe-window %s changes that", has.Duplicates, wanted.Duplicates, cfg.Name, wanted.Duplicates)
	}
	if has.Discard != jetstream.DiscardNew && (has.MaxBytes > 0 || has.MaxMsgs > 0 || has.MaxMsgsPerSubject > 0) {
		bad("discards old messages when it is full, whether they are done or not")
	}
	return errors.Join(errs...)
}

// Partitions returns the number of partitions.
func (s *Stream) Partitions() int { return s.cfg.Partitions }

// partition returns the partition of a key.
func (s *Stream) partition(key string) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(s.cfg.Partitions))
}

// subject returns the subject for a topic in a partition.
func (s *Stream) subject(partition int, topic string) string {
	return s.cfg.Prefix + "." + strconv.Itoa(partition) + "." + TopicSubject(topic)
}

// A Backlog describes the messages of a stream that are not done.
type Backlog struct {
	Messages uint64
	Bytes    uint64
	Oldest   time.Time // when the oldest was stored; zero if there is none
}

// Backlog asks the server for the backlog. With Config.Keep it includes messages that are done.
func (s *Stream) Backlog(ctx context.Context) (Backlog, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return Backlog{}, fmt.Errorf("jetstream: stream %s: %w", s.cfg.Name, err)
	}
	b := Backlog{Messages: info.State.Msgs, Bytes: info.State.Bytes}
	if b.Messages > 0 {
		b.Oldest = info.State.FirstTime
	}
	return b, nil
}
