package paho

import (
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/mqtt311/mqtt311/client"
)

// A Store keeps a session across restarts of the process. It is that of package client. It differs
// from that of paho.mqtt.golang, which can neither report errors nor make several changes at once.
type Store = client.Store

// A MemoryStore keeps a session in memory, from Disconnect to the next Connect. It is the default
// Store. The zero value is an empty MemoryStore.
type MemoryStore struct {
	mu   sync.Mutex
	kept map[string][]byte
}

// NewMemoryStore returns an empty MemoryStore.
func NewMemoryStore() *MemoryStore { return new(MemoryStore) }

// Load implements Store.
func (s *MemoryStore) Load(add func(key, value []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, value := range s.kept {
		if err := add([]byte(key), value); err != nil {
			return err
		}
	}
	return nil
}

// Room implements Store. It always returns nil.
func (s *MemoryStore) Room(int) error { return nil }

// Commit implements Store.
func (s *MemoryStore) Commit(changes []client.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = make(map[string][]byte)
	}
	for _, change := range changes {
		if change.Forget {
			delete(s.kept, string(change.Key))
		} else {
			s.kept[string(change.Key)] = slices.Clone(change.Value)
		}
	}
	return nil
}

// An OrderedMemoryStore is a MemoryStore. With both, messages are sent again in their original
// order.
type OrderedMemoryStore struct{ MemoryStore }

// NewOrderedMemoryStore returns an empty OrderedMemoryStore.
func NewOrderedMemoryStore() *OrderedMemoryStore { return new(OrderedMemoryStore) }

// An opened is the Store of a life.
type opened struct {
	Store
	closer io.Closer // nil for a store of the program
	left   leftovers
}

// openStore opens the Store of the options. With a clean session it empties the Store and returns
// none.
func openStore(o *ClientOptions) (*opened, error) {
	s := &opened{Store: o.Store}
	if file, ok := o.Store.(*FileStore); ok {
		if o.CleanSession && !file.holds(o.ClientID) {
			return nil, leftovers{file.dir()}.drop()
		}
		var err error
		if s, err = file.open(o.ClientID); err != nil {
			return nil, err
		}
	}
	if !o.CleanSession {
		return s, nil
	}
	return nil, errors.Join(s.drop(), s.close())
}

// drop removes everything [MQTT-3.1.2-6].
func (s *opened) drop() error {
	var changes []client.Change
	err := s.Load(func(key, _ []byte) error {
		changes = append(changes, client.Change{Key: slices.Clone(key), Forget: true})
		return nil
	})
	if err == nil && len(changes) > 0 {
		err = s.Commit(changes)
	}
	if err == nil {
		err = s.left.drop()
	}
	return err
}

func (s *opened) close() error {
	if s == nil || s.closer == nil {
		return nil
	}
	err := s.closer.Close()
	if err != nil {
		logf(ERROR, STR, "%v", err)
	}
	return err
}
