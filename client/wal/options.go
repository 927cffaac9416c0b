package wal

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/mqtt311/mqtt311/internal/disk"
)

// Sync says when a commit is synced to the disk.
type Sync byte

// The policies.
const (
	// SyncAlways syncs every commit before it counts: a loss of power loses nothing.
	SyncAlways Sync = iota

	// SyncInterval syncs every Options.Interval: a kill of the process loses nothing, a
	// loss of power up to an interval of what was promised.
	SyncInterval

	// UnsafeNoSync leaves it to the operating system: a kill of the process loses nothing, a
	// loss of power anything that was promised.
	UnsafeNoSync
)

// Options say whose store it is and how it is kept. Dir, and ClientID, are required.
type Options struct {
	// Dir is the folder of all stores of a program. It is made if it is not there.
	Dir string

	// Server names the Server, or the cluster, that has the other half of the session,
	// such as "mq.example.com:8883". State is worth nothing with another one.
	Server string

	// ClientID is that of client.Config.
	ClientID string

	// Sync says when a commit is synced. If zero, always.
	Sync Sync

	// Interval is how late SyncInterval syncs. If zero or negative, a second.
	Interval time.Duration

	// SegmentBytes is the size at which a new segment begins. If zero or negative, 16 MiB.
	SegmentBytes int64

	// MaxBytes bounds the messages that are kept, each with its overhead in the log and with what
	// finishing it takes, 198 bytes together: beyond it Room refuses messages. The files
	// take twice as much and three segments at the most, whatever the size of the messages. Records that
	// are kept without Room come on top: subscriptions, notes, and incoming messages of QoS 2 that
	// are under way. If zero, 256 MiB. If negative, unbounded.
	MaxBytes int64

	// AllowShared accepts a folder that others can read or write, or that belongs to another
	// user, and tells the Logger instead of failing: for volumes whose permissions somebody else
	// sets. The messages in it are as private as the folder is.
	AllowShared bool

	// Logger is told what was found and repaired. If nil, nobody is.
	Logger *slog.Logger

	// Disk has the files instead of Dir, or stands over it if it is a disk.Layer. Only tests of this module
	// can make one; leave it nil.
	Disk disk.Disk
}

const (
	defaultInterval     = time.Second
	defaultSegmentBytes = 16 << 20
	defaultMaxBytes     = 256 << 20
)

func (o *Options) check() error {
	var errs []error
	if o.Dir == "" && o.Disk == nil {
		errs = append(errs, errors.New("wal: Options.Dir is required"))
	}
	if o.ClientID == "" {
		errs = append(errs, errors.New("wal: Options.ClientID is required: a session without a name cannot be found again"))
	}
	if o.Sync > UnsafeNoSync {
		errs = append(errs, errors.New("wal: Options.Sync is none of the policies"))
	}
	return errors.Join(errs...)
}

func (o *Options) setDefaults() {
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Folder returns the folder of the store of a Server and a ClientID below dir. Neither
// name is part of a path: they may hold anything.
func Folder(dir, server, clientID string) string {
	sum := sha256.Sum256([]byte(server + "\x00" + clientID))
	return filepath.Join(dir, base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])[:26])
}
