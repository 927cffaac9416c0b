package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	sessionsSuffix = "-sessions" // appended to the name of the bucket of the leases

	// sessionPatience limits one attempt to create a session, before another process may try.
	sessionPatience = 30 * time.Second
)

// sessions creates the sessions of a division at the Server before any share is processed, because
// a session does not get messages published before it exists. The holder of the lease of a share
// creates its session and then puts a mark into a bucket. All processes wait until each share has
// its mark. The marks are permanent, so later starts do not wait.
type sessions struct {
	leases   *Leases
	config   func(i int) *connector.Config
	filters  []packets.Subscription
	identity string // identifies the configuration; part of each mark
	log      *slog.Logger

	made  chan struct{} // signalled when this process has made a mark
	ready chan struct{} // closed when all marks have been seen

	mu      sync.Mutex
	kv      jetstream.KeyValue // nil until the bucket was found or created
	missing []int              // at the last check
}

func newSessions(cfg *connector.Config, leases *Leases, config func(i int) *connector.Config, log *slog.Logger) *sessions {
	s := &sessions{
		leases: leases, config: config, filters: filtersOf(cfg), log: log,
		made: make(chan struct{}, 1), ready: make(chan struct{}),
	}
	for i := range leases.cfg.Count {
		s.missing = append(s.missing, i)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %d\n", cfg.General.BrokerURL, cfg.General.ClientID, leases.cfg.Count)
	for _, f := range s.filters {
		fmt.Fprintf(sum, "%d %q\n", f.QoS, f.Filter)
	}
	s.identity = hex.EncodeToString(sum.Sum(nil)[:12])
	return s
}

// filtersOf returns the subscriptions of the consumers, each Topic Filter once, sorted.
func filtersOf(cfg *connector.Config) []packets.Subscription {
	granted := make(map[string]packets.QoS)
	for _, p := range cfg.Consumers {
		for _, t := range p.Topics {
			qos := p.QoS
			if t.HasQoS {
				qos = t.QoS
			}
			granted[t.Topic] = max(granted[t.Topic], qos)
		}
	}
	var subs []packets.Subscription
	for _, filter := range slices.Sorted(maps.Keys(granted)) {
		subs = append(subs, packets.Subscription{Filter: filter, QoS: granted[filter]})
	}
	return subs
}

func (s *sessions) key(i int) string { return s.leases.cfg.Group + "." + strconv.Itoa(i) }

// bucket opens or creates the bucket of the marks. It is not that of the leases, whose entries
// expire.
func (s *sessions) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kv != nil {
		return s.kv, nil
	}
	name := s.leases.cfg.Bucket + sessionsSuffix
	kv, err := s.leases.js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = s.leases.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: name, Description: "sessions of mqtt311 that are made", History: 1, Storage: jetstream.FileStorage,
			Replicas: s.leases.cfg.Replicas,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("jetstream: bucket %s: %w", name, err)
	}
	s.kv = kv
	return kv, nil
}

// await creates the session of a share that this process holds, unless it exists, and waits until
// all exist.
func (s *sessions) await(ctx context.Context, i int) error {
	select {
	case <-s.ready:
		return nil
	default:
	}
	if err := s.ensure(ctx, i); err != nil {
		return err
	}
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ensure creates the session of a share and its mark, unless it has one.
func (s *sessions) ensure(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, sessionPatience)
	defer cancel()
	kv, err := s.bucket(ctx)
	if err != nil {
		return err
	}
	e, err := kv.Get(ctx, s.key(i))
	switch {
	case err == nil && s.marks(e):
		return nil
	case err != nil && !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("jetstream: the mark of session %d: %w", i, err)
	}
	cfg := s.config(i)
	if err := s.visit(ctx, cfg); err != nil {
		return fmt.Errorf("jetstream: session %s cannot be made: %w", cfg.General.ClientID, err)
	}
	if _, err := kv.Put(ctx, s.key(i), []byte(s.identity+" "+s.leases.cfg.Name)); err != nil {
		return fmt.Errorf("jetstream: the mark of session %s: %w", cfg.General.ClientID, err)
	}
	s.log.Info("a session is made", "share", i, "client_id", cfg.General.ClientID)
	select {
	case s.made <- struct{}{}:
	default:
	}
	return nil
}

// marks reports whether an entry is the mark of a session for this configuration.
func (s *sessions) marks(e jetstream.KeyValueEntry) bool {
	identity, _, _ := strings.Cut(string(e.Value()), " ")
	return e.Operation() == jetstream.KeyValuePut && identity == s.identity
}

// maker returns the name of the process that created a session for another configuration.
func maker(e jetstream.KeyValueEntry) string {
	_, name, _ := strings.Cut(string(e.Value()), " ")
	return name
}

// visit connects, subscribes and disconnects. It acknowledges nothing, so that messages that arrive
// meanwhile stay in the session [MQTT-4.4.0-1]. It must read them nevertheless, because the answer
// to SUBSCRIBE may come after them.
func (s *sessions) visit(ctx context.Context, cfg *connector.Config) error {
	own, err := cfg.ClientConfig()
	if err != nil {
		return err
	}
	own.ManualAck, own.NoReconnect, own.Will = true, true, nil
	// All messages of the session are for the connector, which may accept oversize ones.
	own.SkipOversize, own.TakeOversize, own.MaxPacketSize = false, nil, 1+4+packets.MaxRemainingLength
	own.OnEvent, own.Trace, own.Logger = nil, nil, nil
	c, err := client.New(own)
	if err != nil {
		return err
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer c.Abort() // which ends the loop
	reading.Go(func() {
		for _, err := range c.Messages(context.WithoutCancel(ctx)) {
			if err != nil {
				return
			}
		}
	})
	if err := c.Connect(ctx); err != nil {
		return err
	}
	granted, err := c.Subscribe(ctx, s.filters...)
	if err != nil {
		return err
	}
	for i, qos := range granted {
		if qos == packets.AtMostOnce {
			return fmt.Errorf("the server grants QoS 0 for %q, and would keep nothing", s.filters[i].Filter)
		}
	}
	return c.Close(ctx)
}

// watch looks for the marks until all are there, or ctx ends.
func (s *sessions) watch(ctx context.Context) {
	tick := time.NewTicker(s.leases.cfg.TTL / beatsPerTTL)
	defer tick.Stop()
	said := -1 // how many were missing
	for ctx.Err() == nil {
		missing, others, err := s.look(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Warn("the marks of the sessions cannot be read", "error", err.Error())
		case err == nil && len(missing) == 0:
			close(s.ready)
			if said >= 0 {
				s.log.Info("all sessions are made", "sessions", s.leases.cfg.Count)
			}
			return
		case err == nil && len(missing) != said:
			said = len(missing)
			s.log.Info("flows begin when each share has its session", "missing", missing, "made_for_another_configuration_by", others)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-s.made:
		}
	}
}

// look asks the server which shares have no mark, and which processes have put marks for another
// configuration.
func (s *sessions) look(ctx context.Context) (missing []int, others []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.leases.cfg.TTL)
	defer cancel()
	kv, err := s.bucket(ctx)
	if err != nil {
		return nil, nil, err
	}
	entries, err := kv.Watch(ctx, s.leases.cfg.Group+".*")
	if err != nil {
		return nil, nil, fmt.Errorf("jetstream: bucket %s: %w", kv.Bucket(), err)
	}
	defer entries.Stop()
	marked := make(map[string]bool)
	for {
		select {
		case e, ok := <-entries.Updates():
			if ok && e != nil { // nil ends what there is
				if marked[e.Key()] = s.marks(e); !marked[e.Key()] {
					others = append(others, maker(e))
				}
				continue
			}
			if !ok {
				return nil, nil, fmt.Errorf("jetstream: bucket %s: the server has stopped telling its entries", kv.Bucket())
			}
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("jetstream: bucket %s: %w", kv.Bucket(), ctx.Err())
		}
		break
	}
	for i := range s.leases.cfg.Count {
		if !marked[s.key(i)] {
			missing = append(missing, i)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing = missing
	slices.Sort(others)
	return missing, slices.Compact(others), nil
}

// Missing returns the shares whose session is not known to exist. No flow runs until there are
// none: see [Division.Run].
func (d *Division) Missing() []int {
	d.sessions.mu.Lock()
	defer d.sessions.mu.Unlock()
	return slices.Clone(d.sessions.missing)
}
