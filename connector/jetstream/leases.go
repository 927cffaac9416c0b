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

// LeaseConfig configures Leases.
type LeaseConfig struct {
	// Bucket is the name of the key-value bucket at the server, which is created if it does not
	// exist. If empty, "mqtt311-leases".
	Bucket string

	// Group is the name of the shares: letters, digits, - and _. All processes of a group must have
	// the same Count and TTL.
	Group string

	// Count is the number of shares.
	Count int

	// TTL is how long a process that has died keeps its shares. If zero or negative, 10 seconds. It
	// is a property of the bucket: groups with another TTL need another bucket.
	TTL time.Duration

	// Replicas is the number of servers of a cluster that keep the bucket. If zero, 1.
	Replicas int

	// Name is the name of this process, for operators. If empty, it is the host name and process
	// ID.
	Name string

	// Logger logs changes of leases. If nil, nothing is logged.
	Logger *slog.Logger
}

const (
	defaultBucket = "mqtt311-leases"
	defaultTTL    = 10 * time.Second

	// Fractions of the TTL: how often leases are renewed, and how much earlier than at the server
	// they end.
	beatsPerTTL  = 4
	marginPerTTL = 8

	// How long a process takes no shares after a failure, in beats, so that another process can
	// take them first. It doubles with each failure in a row.
	minRestBeats = 2
	maxRestBeats = 64
)

// Leases divide shares among processes. Each share has at most one owner at a time, all processes
// own about the same number, and the shares of a process that has died pass to others after TTL.
// The epoch of a share increases each time it is taken.
type Leases struct {
	cfg LeaseConfig
	js  jetstream.JetStream
	kv  jetstream.KeyValue
	log *slog.Logger
	me  string // identifies the process at the server

	ended chan struct{} // signalled when a hold has returned

	silent time.Time // since when the server has not answered; used only by beat
	bucket time.Time // when the bucket that this process knows was created, by the server's clock; used only by beat
	known  time.Time // when this process first saw that bucket; used only by beat

	mu   sync.Mutex
	held map[int]*Lease
	rest time.Time // until when this process takes no shares, because a hold has failed
	tire int       // how many beats its next rest has
}

// NewLeases returns Leases for cfg and creates the bucket if it does not exist. It returns an error
// if the bucket has another TTL.
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

// open returns the bucket, and creates it if it does not exist.
func (cfg *LeaseConfig) open(ctx context.Context, js jetstream.JetStream) (kv jetstream.KeyValue, made bool, err error) {
	kv, err = js.KeyValue(ctx, cfg.Bucket)
	if made = errors.Is(err, jetstream.ErrBucketNotFound); made {
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: cfg.Bucket, Description: "leases of mqtt311", TTL: cfg.TTL, History: 1, Storage: jetstream.FileStorage, Replicas: cfg.Replicas,
		})
	}
	return kv, made, err
}

// Held returns the shares that this process owns now.
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

// Run takes shares and calls hold for each, on a goroutine of its own. The context of hold is
// canceled when ctx is done or another process should get the share; the lease stays valid until
// hold has returned, which it should do soon. The context of the Lease is canceled when another
// process may have the share: hold must then stop all work at once. If hold returns before its
// context is canceled, the share is given back. After an error of hold this process takes no shares
// for half of TTL, and after further errors for longer, up to 16 times TTL; meanwhile the other
// processes can take all shares.
//
// Run returns when ctx is done and all calls of hold have returned. If the server is unreachable,
// leases expire, and shares are taken again when it is back.
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

// resting reports whether this process leaves free shares to others.
func (ls *Leases) resting() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return time.Now().Before(ls.rest)
}

// tired records whether a hold has failed.
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

// value returns the value of an entry of this process.
func (ls *Leases) value() []byte { return []byte(ls.me + " " + ls.cfg.Name) }

func (ls *Leases) shareKey(i int) string { return ls.cfg.Group + ".share." + strconv.Itoa(i) }

// beat renews held leases, gives up surplus shares, and takes free ones.
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
	if resting { // the others do not count this process and may take what it gave back
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
	if age = ls.age(made, age); age < ls.cfg.TTL { // a process may hold a lease of an earlier bucket
		ls.log.Info("the bucket of the leases is new: shares are taken when it is as old as the TTL", "age", age)
		return
	}
	// Each process starts elsewhere, so that they do not all try the same share.
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

// look returns the number of processes of the group, and which shares are held.
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

// made returns when the bucket was created, by the server's clock, and its age.
func (ls *Leases) made(ctx context.Context) (at time.Time, age time.Duration, err error) {
	status, err := ls.kv.Status(ctx)
	if err != nil {
		return time.Time{}, 0, err
	}
	info := status.(*jetstream.KeyValueBucketStatus).StreamInfo()
	return info.Created, info.TimeStamp.Sub(info.Created), nil
}

// age returns how old the bucket is that was created at a time: at least as old as this process has known it. The age
// by the server is negative if the server's clock was set back since then.
func (ls *Leases) age(made time.Time, byServer time.Duration) time.Duration {
	if !made.Equal(ls.bucket) {
		ls.bucket, ls.known = made, time.Now()
	}
	return max(byServer, time.Since(ls.known))
}

// restore creates the bucket again if it was deleted. A process that holds a lease of the old one keeps it for its time,
// and nobody takes a share before that.
func (ls *Leases) restore(ctx context.Context) {
	request, cancel := context.WithTimeout(context.WithoutCancel(ctx), ls.cfg.TTL/beatsPerTTL)
	defer cancel()
	if _, made, err := ls.cfg.open(request, ls.js); made && err == nil {
		ls.log.Error("the bucket of the leases was deleted, and is made anew", "bucket", ls.cfg.Bucket)
	}
}

// epoch returns the epoch of a share that was taken with the given revision. A recreated bucket
// starts at revision 1 again, so the creation time in microseconds is added: no bucket gets more
// revisions than microseconds pass.
func epoch(made time.Time, revision uint64) uint64 {
	return uint64(max(0, made.UnixMicro())) + revision
}

// acquire takes a share of the bucket created at the given time. It returns nil if another process
// was faster.
func (ls *Leases) acquire(ctx, request context.Context, i int, made time.Time, hold func(context.Context, *Lease) error) *Lease {
	asked := time.Now()
	revision, err := ls.kv.Create(request, ls.shareKey(i), ls.value())
	if err != nil {
		return nil
	}
	if now, _, err := ls.made(request); err != nil || !now.Equal(made) {
		ls.kv.Delete(request, ls.shareKey(i), jetstream.LastRevision(revision)) // otherwise it expires
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

// renew extends a lease, or gives it back if its hold has returned.
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
	if !l.Valid() { // its hold must return
		l.end(ErrLeaseLost)
		l.leave()
		return
	}
	asked := time.Now()
	revision, err := ls.kv.Update(ctx, ls.shareKey(l.Index), ls.value(), l.revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !l.unanswered.IsZero() {
		// The last request was not answered, but the server may have processed it.
		var e jetstream.KeyValueEntry
		// A replica that lags behind could return the old revision.
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
	default: // it expires unless the next attempt succeeds
		if l.unanswered.IsZero() {
			l.unanswered = asked
		}
		ls.unanswered(err)
	}
}

// unanswered records that the server does not answer, and logs it once.
func (ls *Leases) unanswered(err error) {
	if ls.silent.IsZero() {
		ls.silent = time.Now()
		ls.log.Warn("the server of the leases does not answer", "error", err.Error())
	}
}
