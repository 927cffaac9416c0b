package paho

import (
	"cmp"
	"errors"
	"os"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
)

// A FileStore keeps a session on disk, in a log of package client/wal: what was accepted survives the
// end of the process and a loss of power. Each client has a directory of its own. Connect opens and
// locks it, Disconnect lets go of it.
//
// Messages that the original has left in the directory are taken over by the first Connect: those that
// are in the phase of PUBREL are completed, the others are published anew, which at QoS 2 may be for
// the second time. With a clean session they are removed.
type FileStore struct{ directory string }

// NewFileStore returns a FileStore in a directory, which is made if it is not there; "" is the working
// directory.
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
