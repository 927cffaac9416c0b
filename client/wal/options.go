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

// Sync is the policy for syncing commits to the disk.
type Sync byte

// The policies.
const (
	// SyncAlways syncs every commit before Commit returns: nothing is lost in a power failure.
	SyncAlways Sync = iota

	// SyncInterval syncs every Options.Interval: nothing is lost if the process dies, and at most
	// the commits of one interval in a power failure.
	SyncInterval

	// UnsafeNoSync leaves syncing to the operating system: nothing is lost if the process dies, but
	// any commit may be lost in a power failure.
	UnsafeNoSync
)

// Options configure a Store. Dir and ClientID are required.
type Options struct {
	// Dir is the parent folder of the stores of a program. Open creates it if it does not exist.
	Dir string

	// Server names the Server or cluster that has the other side of the session, such as
	// "mq.example.com:8883". The state in the store is useless with any other.
	Server string

	// ClientID must be the same as in client.Config.
	ClientID string

	// Sync says when commits are synced. The default is SyncAlways.
	Sync Sync

	// Interval is the longest time that SyncInterval waits before a sync. If zero or negative, one
	// second.
	Interval time.Duration

	// SegmentBytes is the size in bytes at which a new segment is started. If zero or negative, 16
	// MiB.
	SegmentBytes int64

	// MaxBytes limits the total size of the stored messages in bytes, including 198 bytes for each,
	// for its overhead in the log and the records that finish it. When it is reached, Room returns
	// ErrStoreFull. The files take at most twice MaxBytes plus three segments. Subscriptions, notes
	// and incoming QoS 2 messages that are not finished are not limited and come on top. If zero,
	// 256 MiB. If negative, there is no limit.
	MaxBytes int64

	// AllowShared accepts a folder that other users can read or write, or that another user owns,
	// with a warning to Logger instead of an error. It is for volumes whose permissions cannot be
	// changed. The messages are then only as private as the folder.
	AllowShared bool

	// Logger logs what was found and repaired. If nil, nothing is logged.
	Logger *slog.Logger

	// Disk replaces the file system, or wraps it if it is a disk.Layer. It is for tests of this
	// module and must be nil otherwise.
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

// Folder returns the path of the store folder in dir for a Server and a ClientID. The path contains
// a hash of the names, so they may contain any characters.
func Folder(dir, server, clientID string) string {
	sum := sha256.Sum256([]byte(server + "\x00" + clientID))
	return filepath.Join(dir, base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])[:26])
}
