package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"go.etcd.io/bbolt"
)

// Stores that keep the same records durably.
const (
	bolt      = "bbolt"
	files     = "files"
	storeless = "no store"
)

// A boltStore is a client.Store in a bbolt database, with a transaction for each commit.
type boltStore struct{ db *bbolt.DB }

var bucket = []byte("session")

func openBolt(dir string) (boltStore, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bolt"), 0o600, nil)
	if err != nil {
		return boltStore{}, err
	}
	return boltStore{db}, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
}

func (s boltStore) Load(add func(key, value []byte) error) error {
	return s.db.View(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).ForEach(add) })
}

func (s boltStore) Room(int) error { return nil }

func (s boltStore) Commit(changes []client.Change) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for _, c := range changes {
			if c.Forget {
				if err := b.Delete(c.Key); err != nil {
					return err
				}
			} else if err := b.Put(c.Key, c.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

// A fileStore is a client.Store with a file for each record, which contains key and value and is
// named by a hash of the key. The file is written under another name, synced and renamed; the
// directory is synced once per commit.
type fileStore string

func (s fileStore) Load(add func(key, value []byte) error) error {
	entries, err := os.ReadDir(string(s))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != "" {
			continue // a crash came before it was renamed
		}
		b, err := os.ReadFile(filepath.Join(string(s), e.Name()))
		if err != nil {
			return err
		}
		n, k := binary.Uvarint(b)
		if err := add(b[k:k+int(n)], b[k+int(n):]); err != nil {
			return err
		}
	}
	return nil
}

func (s fileStore) Room(int) error { return nil }

func (s fileStore) Commit(changes []client.Change) error {
	for _, c := range changes {
		name := filepath.Join(string(s), fmt.Sprintf("%x", sha256.Sum256(c.Key)))
		if c.Forget {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		f, err := os.Create(name + ".new")
		if err != nil {
			return err
		}
		b := append(binary.AppendUvarint(nil, uint64(len(c.Key))), c.Key...)
		_, err = f.Write(append(b, c.Value...))
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		if err := os.Rename(name+".new", name); err != nil {
			return err
		}
	}
	d, err := os.Open(string(s))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openStore opens a store of a kind in a directory.
func openStore(kind, dir string) (client.Store, func() error, error) {
	none := func() error { return nil }
	switch kind {
	case storeless:
		return nil, none, nil
	case files:
		return fileStore(dir), none, nil
	case bolt:
		s, err := openBolt(dir)
		if err != nil {
			return nil, none, err
		}
		return s, s.db.Close, nil
	}
	s, err := wal.Open(wal.Options{Dir: dir, Server: "bench", ClientID: "bench"})
	if err != nil {
		return nil, none, err
	}
	return s, s.Close, nil
}

// store commits messages of 256 bytes, Count at a time, and forgets those of the previous commit.
func store(j job) (values, error) {
	dir, err := os.MkdirTemp("", "mqtt311-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, end, err := openStore(j.Who, dir)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.Load(func(_, _ []byte) error { return nil }); err != nil {
		return nil, err
	}
	// What is committed is made before, and used again, so that the store is what is measured.
	changes := make([]client.Change, 2*j.Count)
	for i := range changes {
		changes[i] = client.Change{Key: make([]byte, 4), Value: payload256}
	}
	var seq uint32
	commit := func() error {
		for i := range j.Count {
			binary.BigEndian.PutUint32(changes[i].Key, seq+uint32(i))
			gone := &changes[j.Count+i]
			binary.BigEndian.PutUint32(gone.Key, seq+uint32(i)-uint32(j.Count)) // of the commit before
			gone.Value, gone.Forget = nil, true
		}
		seq += uint32(j.Count)
		return s.Commit(changes)
	}
	for range 3 {
		if err := commit(); err != nil {
			return nil, err
		}
	}
	stop, err := j.profile()
	if err != nil {
		return nil, err
	}
	n, start, cpu := 0, time.Now(), processor()
	for time.Since(start) < j.Round {
		if err := commit(); err != nil {
			return nil, err
		}
		n += j.Count
	}
	v := values{wall: float64(time.Since(start)) / float64(n), cpuTime: float64(processor()-cpu) / float64(n)}
	return v, stop()
}

// connectStored opens one of our clients with its session in a store of a kind.
func connectStored(kind string) func(options) (conn, error) {
	return func(o options) (conn, error) {
		dir, err := os.MkdirTemp("", "mqtt311-bench-")
		if err != nil {
			return nil, err
		}
		s, end, err := openStore(kind, dir)
		if err != nil {
			return nil, err
		}
		o.store = s
		c, err := connectOurs(o)
		return storedConn{c, func() { end(); os.RemoveAll(dir) }}, err
	}
}

type storedConn struct {
	conn
	end func()
}

func (c storedConn) close() { c.conn.close(); c.end() }

// durableTables measure the cost of surviving a loss of power.
func (m method) durableTables() []table {
	var all []table
	for _, n := range []int{1, 10, 100} {
		t := table{Name: fmt.Sprintf("store: commits of %d", n)}
		for _, who := range []string{ours, bolt, files} {
			j := job{Work: "store", Who: who, Count: n, Round: m.Traffic, Profile: m.Profile}
			t.Rows = append(t.Rows, row{who, func() (values, error) { return j.run(anywhere) }})
		}
		all = append(all, t)
	}
	for _, n := range []int{1, 10, 100} {
		t := table{Name: fmt.Sprintf("durable: %d who publish and wait, QoS 1", n)}
		for _, who := range []string{ours, bolt, files, storeless} {
			j := job{Work: "blocked", Who: who, QoS: 1, Window: n, Round: m.Traffic, Profile: m.Profile}
			if who == ours {
				j.Who = ours + " stored"
			}
			r := j.against(job{Work: "serve", Window: window}.starter(anywhere), anywhere)
			t.Rows = append(t.Rows, row{who, r.Round})
		}
		all = append(all, t)
	}
	return all
}
