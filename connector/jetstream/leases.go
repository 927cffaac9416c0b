package jetstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LeaseConfig is a number of shares that processes divide among them.
type LeaseConfig struct {
	// Bucket is the key-value bucket at the server, which is made if it is not there. If empty, "mqtt311-leases".
	Bucket string

	// Group names what is divided: letters, digits, - and _. All processes of a group have to have the same Count and
	// TTL.
	Group string

	// Count is the number of shares.
	Count int

	// TTL is how long a share stays with a process that has died. If zero or negative, 10 seconds. It belongs to the
	// bucket: groups with another TTL need another bucket.
	TTL time.Duration

	// Replicas is how many servers of a cluster keep the bucket. If zero, 1.
	Replicas int

	// Name names this process among the others, for people. If empty, that of the host and the number of the process.
	Name string

	// Logger gets what happens. If nil, nothing.
	Logger *slog.Logger
}

const (
	defaultBucket = "mqtt311-leases"
	defaultTTL    = 10 * time.Second

	// Of the TTL: how often leases are renewed, and by how much they end before the server's time does.
	beatsPerTTL  = 4
	marginPerTTL = 8

	// For how long a process takes nothing after it has failed, in beats: another one has a beat within that. It doubles
	// with each failure in a row, so that shares that others work on do not come back at once.
	minRestBeats = 2
	maxRestBeats = 64
)

// Leases divide shares among processes: each share has one owner at a time, each process about as many as the others,
// and those of a process that dies pass to others after TTL. Each time one is taken its epoch is higher.
type Leases struct {
	cfg LeaseConfig
	js  jetstream.JetStream
	kv  jetstream.KeyValue
	log *slog.Logger
	me  string // names the process at the server

	ended chan struct{} // signalled when a hold has returned

	silent time.Time // since when the server does not answer; the beat's own
	bucket time.Time // when the bucket was made that this process knows, by the server's clock; the beat's own
	known  time.Time // when this process first saw that bucket; the beat's own

	mu   sync.Mutex
	held map[int]*Lease
	rest time.Time // until when this process takes no more, because a hold has failed
	tire int       // how many beats its next rest has
}

// NewLeases makes the bucket if it is not there. A bucket with another TTL is an error.
func NewLeases(ctx context.Context, nc *nats.Conn, cfg LeaseConfig) (*Leases, error) {
	cfg.Bucket = cmp.Or(cfg.Bucket, defaultBucket)
	if cfg.TTL <= 0 {
		cfg.TTL = defaultTTL
	}
	cfg.Replicas = cmp.Or(cfg.Replicas, 1)
	var errs []error
	if !plainName(cfg.Group) {
		errs = append(errs, fmt.Errorf("jetstream: LeaseConfig.Group is %q: it has to be letters, digits, - and _", cfg.Group))
	}
	if cfg.Count < 1 || cfg.Count > maxPartitions {
		errs = append(errs, fmt.Errorf("jetstream: LeaseConfig.Count is %d: it has to be 1 to %d", cfg.Count, maxPartitions))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.Name == "" {
		host, _ := os.Hostname()
		cfg.Name = host + "-" + strconv.Itoa(os.Getpid())
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	kv, _, err := cfg.open(ctx, js)
	if err != nil {
		return nil, fmt.Errorf("jetstream: bucket %s: %w", cfg.Bucket, err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("jetstream: bucket %s: %w", cfg.Bucket, err)
	}
	if status.TTL() != cfg.TTL {
		return nil, fmt.Errorf("jetstream: bucket %s has the TTL %s instead of %s: use another bucket", cfg.Bucket, status.TTL(), cfg.TTL)
	}
	return &Leases{
		cfg: cfg, js: js, kv: kv, held: make(map[int]*Lease), me: rand.Text(), ended: make(chan struct{}, 1),
		log: logger(cfg.Logger).With("group", cfg.Group),
	}, nil
}

// open returns the bucket, and makes it if it is not there.
func (cfg *LeaseConfig) open(ctx context.Context, js jetstream.JetStream) (kv jetstream.KeyValue, made bool, err error) {
	kv, err = js.KeyValue(ctx, cfg.Bucket)
	if made = errors.Is(err, jetstream.ErrBucketNotFound); made {
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: cfg.Bucket, Description: "leases of mqtt311", TTL: cfg.TTL, History: 1, Storage: jetstream.FileStorage, Replicas: cfg.Replicas,
		})
	}
	return kv, made, err
}

// Held returns the shares that this process has now.
func (ls *Leases) Held() []int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var held []int
	for i, l := range ls.held {
		if l.Valid() {
			held = append(held, i)
		}
	}
	slices.Sort(held)
	return held
}

// Run takes shares and calls hold for each, in a goroutine of its own. When ctx ends, or another process is to have the
// share, the context of hold ends, and the lease stays valid until hold has returned; hold should not take longer than
// it must. The Lease has a context of its own, which ends when the share may be another's: then nothing of hold may go
// on. If hold returns before that, the share is given back. After an error of hold this process takes no share for half of
// TTL, and after more of them for longer, up to 16 times TTL. The others do not count it meanwhile, so that they may
// take what it cannot work on.
//
// Run returns when ctx has ended and each hold has returned. A server that cannot be reached is no error: what is held
// ends with its time, and is taken again when the server is back.
func (ls *Leases) Run(ctx context.Context, hold func(ctx context.Context, l *Lease) error) {
	beat := time.NewTicker(ls.cfg.TTL / beatsPerTTL)
	defer beat.Stop()
	for {
		ls.beat(ctx, hold)
		if ctx.Err() != nil && len(ls.leases()) == 0 {
			break
		}
		stopped := ctx.Done()
		if ctx.Err() != nil {
			stopped = nil
		}
		select {
		case <-beat.C:
		case <-ls.ended:
		case <-stopped:
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ls.cfg.TTL/beatsPerTTL)
	defer cancel()
	ls.kv.Delete(ctx, ls.workerKey())
}

func (ls *Leases) leases() map[int]*Lease {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return maps.Clone(ls.held)
}

// resting reports whether this process leaves what is free to others for now.
func (ls *Leases) resting() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return time.Now().Before(ls.rest)
}

// tired notes how a hold has ended.
func (ls *Leases) tired(failed bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	switch now := time.Now(); {
	case !failed:
		ls.tire = 0
	case now.After(ls.rest): // others may have failed at the same time
		ls.tire = min(max(minRestBeats, 2*ls.tire), maxRestBeats)
		ls.rest = now.Add(time.Duration(ls.tire) * ls.cfg.TTL / beatsPerTTL)
	}
}

func (ls *Leases) workerKey() string { return ls.cfg.Group + ".worker." + ls.me }

// value is what an entry of this process has.
func (ls *Leases) value() []byte { return []byte(ls.me + " " + ls.cfg.Name) }

func (ls *Leases) shareKey(i int) string { return ls.cfg.Group + ".share." + strconv.Itoa(i) }

// beat renews what is held, gives up what is too much, and takes what is free.
func (ls *Leases) beat(ctx context.Context, hold func(context.Context, *Lease) error) {
	request, cancel := context.WithTimeout(context.WithoutCancel(ctx), ls.cfg.TTL/beatsPerTTL)
	defer cancel()
	for _, l := range ls.leases() {
		ls.renew(request, l)
	}
	if ctx.Err() != nil {
		for _, l := range ls.leases() {
			l.leave()
		}
		return
	}
	resting := ls.resting()
	var err error
	if resting { // the others do not count it, and may take what it gave back
		err = ls.kv.Delete(request, ls.workerKey())
	} else {
		_, err = ls.kv.Put(request, ls.workerKey(), []byte(ls.cfg.Name))
	}
	if err != nil {
		ls.unanswered(err)
		ls.restore(ctx)
		return
	}
	if !ls.silent.IsZero() {
		ls.log.Info("the server of the leases answers again", "after", time.Since(ls.silent).Round(time.Millisecond))
		ls.silent = time.Time{}
	}
	workers, taken, err := ls.look(request)
	if err != nil {
		return
	}
	share := (ls.cfg.Count + workers - 1) / workers
	held := ls.leases()
	surplus := len(held) - share
	for _, i := range slices.Backward(slices.Sorted(maps.Keys(held))) {
		if surplus <= 0 {
			break
		}
		held[i].leave()
		surplus--
	}
	if resting || len(held) >= share {
		return
	}
	made, age, err := ls.made(request)
	if err != nil {
		return
	}
	if age = ls.age(made, age); age < ls.cfg.TTL { // somebody may have a lease of a bucket that was there before
		ls.log.Info("the bucket of the leases is new: shares are taken when it is as old as the TTL", "age", age)
		return
	}
	// Each process begins elsewhere, so that they do not all ask for the same.
	begin := int(ls.me[0])
	for n := range ls.cfg.Count {
		i := (begin + n) % ls.cfg.Count
		if len(held) >= share {
			break
		}
		if held[i] != nil || taken[i] {
			continue
		}
		if l := ls.acquire(ctx, request, i, made, hold); l != nil {
			held[i] = l
		}
	}
}

// look counts the processes of the group, and tells which shares somebody has.
func (ls *Leases) look(ctx context.Context) (workers int, taken map[int]bool, err error) {
	taken = make(map[int]bool)
	keys, err := ls.kv.ListKeysFiltered(ctx, ls.cfg.Group+".>")
	if err != nil {
		return 0, nil, err
	}
	for key := range keys.Keys() {
		kind, name, _ := strings.Cut(strings.TrimPrefix(key, ls.cfg.Group+"."), ".")
		if kind == "worker" {
			workers++
		} else if i, err := strconv.Atoi(name); err == nil {
			taken[i] = true
		}
	}
	return max(1, workers), taken, ctx.Err()
}

// made returns when the bucket was made, by the server's clock, and how old it is.
func (ls *Leases) made(ctx context.Context) (at time.Time, age time.Duration, err error) {
	status, err := ls.kv.Status(ctx)
	if err != nil {
		return time.Time{}, 0, err
	}
	info := status.(*jetstream.KeyValueBucketStatus).StreamInfo()
	return info.Created, info.TimeStamp.Sub(info.Created), nil
}

// age returns how old the bucket is that was made at a time: at least as old as this process has known it. What the server
// says is negative if its clock was set back since then.
func (ls *Leases) age(made time.Time, byServer time.Duration) time.Duration {
	if !made.Equal(ls.bucket) {
		ls.bucket, ls.known = made, time.Now()
	}
	return max(byServer, time.Since(ls.known))
}

// restore makes the bucket anew if somebody has deleted it. Whoever has a lease of the old one keeps it for its time, and
// nobody takes a share before that.
func (ls *Leases) restore(ctx context.Context) {
	request, cancel := context.WithTimeout(context.WithoutCancel(ctx), ls.cfg.TTL/beatsPerTTL)
	defer cancel()
	if _, made, err := ls.cfg.open(request, ls.js); made && err == nil {
		ls.log.Error("the bucket of the leases was deleted, and is made anew", "bucket", ls.cfg.Bucket)
	}
}

// epoch returns that of a share that was taken with a revision. A bucket that is made anew begins at revision 1 again, so the
// time when it was made, in microseconds, counts as well: no bucket gets as many revisions as microseconds pass.
func epoch(made time.Time, revision uint64) uint64 {
	return uint64(max(0, made.UnixMicro())) + revision
}

// acquire takes a share of the bucket that was made at a time; nil if another was faster.
func (ls *Leases) acquire(ctx, request context.Context, i int, made time.Time, hold func(context.Context, *Lease) error) *Lease {
	asked := time.Now()
	revision, err := ls.kv.Create(request, ls.shareKey(i), ls.value())
	if err != nil {
		return nil
	}
	if now, _, err := ls.made(request); err != nil || !now.Equal(made) {
		ls.kv.Delete(request, ls.shareKey(i), jetstream.LastRevision(revision)) // or it ends with its time
		return nil
	}
	l := newLease(context.WithoutCancel(ctx), i, epoch(made, revision), revision, ls.until(asked))
	life, leave := context.WithCancel(ctx)
	l.leave = leave
	ls.mu.Lock()
	ls.held[i] = l
	ls.mu.Unlock()
	ls.log.Info("share taken", "share", i, "epoch", l.Epoch)
	go func() {
		defer func() {
			leave()
			close(l.done)
			select {
			case ls.ended <- struct{}{}:
			default:
			}
		}()
		err := hold(life, l)
		failed := err != nil && life.Err() == nil && l.Valid()
		ls.tired(failed)
		if failed {
			ls.log.Error("a share cannot be worked on, and is given back", "share", i, "error", err.Error())
		}
	}()
	return l
}

func (ls *Leases) until(asked time.Time) time.Time {
	return asked.Add(ls.cfg.TTL - ls.cfg.TTL/marginPerTTL)
}

// renew makes a lease valid for longer, or gives it back if nobody works on it.
func (ls *Leases) renew(ctx context.Context, l *Lease) {
	select {
	case <-l.done:
		if l.Valid() {
			ls.kv.Delete(ctx, ls.shareKey(l.Index), jetstream.LastRevision(l.revision))
			ls.log.Info("share given back", "share", l.Index, "epoch", l.Epoch)
		}
		l.end(context.Canceled)
		ls.mu.Lock()
		delete(ls.held, l.Index)
		ls.mu.Unlock()
		return
	default:
	}
	if !l.Valid() { // its hold is to return
		l.end(ErrLeaseLost)
		l.leave()
		return
	}
	asked := time.Now()
	revision, err := ls.kv.Update(ctx, ls.shareKey(l.Index), ls.value(), l.revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !l.unanswered.IsZero() {
		// The request before was not answered. Perhaps the server got it.
		var e jetstream.KeyValueEntry
		// A replica that is behind would have the old revision.
		if e, err = ls.kv.Get(ctx, ls.shareKey(l.Index)); err == nil && bytes.Equal(e.Value(), ls.value()) && e.Revision() > l.revision {
			revision, asked = e.Revision(), l.unanswered
		} else if err == nil || errors.Is(err, jetstream.ErrKeyNotFound) {
			err = jetstream.ErrKeyRevisionMismatch
		}
	}
	switch {
	case err == nil:
		l.unanswered = time.Time{}
		l.renew(revision, ls.until(asked))
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		ls.log.Error("another process has the share", "share", l.Index, "epoch", l.Epoch)
		l.end(ErrLeaseLost)
		l.leave()
	default: // it ends with its time, unless the next try succeeds
		if l.unanswered.IsZero() {
			l.unanswered = asked
		}
		ls.unanswered(err)
	}
}

// unanswered notes that the server does not answer, and tells it once.
func (ls *Leases) unanswered(err error) {
	if ls.silent.IsZero() {
		ls.silent = time.Now()
		ls.log.Warn("the server of the leases does not answer", "error", err.Error())
	}
}
