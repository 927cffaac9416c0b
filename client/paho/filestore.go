package paho

import (
	"cmp"
	"errors"
	"os"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
)

// A FileStore keeps a session on disk, in a log of package client/wal: accepted messages survive a
// crash of the process and a power failure. Each client needs a directory of its own. Connect opens
// and locks it, and Disconnect unlocks it.
//
// The first Connect imports messages that paho.mqtt.golang left in the directory: those that wait
// for PUBCOMP are completed, and all others are published again, so QoS 2 messages may arrive
// twice. With a clean session they are removed instead.
type FileStore struct{ directory string }

// NewFileStore returns a FileStore in directory, which is created if it does not exist; "" is the
// working directory.
func NewFileStore(directory string) *FileStore { return &FileStore{directory} }

var errNotAlone = errors.New("paho: a FileStore is opened by the Connect of this package; package client/wal has one for package client")

// Load makes FileStore a Store. Only a Client of this package can use it.
func (s *FileStore) Load(func(key, value []byte) error) error { return errNotAlone }

// Room makes FileStore a Store. Only a Client of this package can use it.
func (s *FileStore) Room(int) error { return errNotAlone }

// Commit makes FileStore a Store. Only a Client of this package can use it.
func (s *FileStore) Commit([]client.Change) error { return errNotAlone }

func (s *FileStore) dir() string { return cmp.Or(s.directory, ".") }

// holds reports whether there is a session of the client on disk.
func (s *FileStore) holds(clientID string) bool {
	_, err := os.Stat(wal.Folder(s.dir(), "", clientID))
	return clientID != "" && !errors.Is(err, os.ErrNotExist)
}

func (s *FileStore) open(clientID string) (*opened, error) {
	dir := s.dir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	w, err := wal.Open(wal.Options{
		Dir:         dir,
		ClientID:    clientID, // no Server: the directory belongs to the session, whatever the servers are called
		MaxBytes:    -1,       // the number of messages is bounded
		AllowShared: true,     // as the original does
		Logger:      loggerFor(STR),
	})
	if err != nil {
		return nil, err
	}
	return &opened{Store: w, closer: w, left: leftovers{dir: dir}}, nil
}
