package client

import "errors"

// A Store keeps Session state (section 4.1) across restarts of the process: unfinished outgoing
// messages of QoS 1 and 2, the incoming QoS 2 messages that were acknowledged, subscriptions, and
// notes of the application. Keys and values are opaque to the Store.
//
// A Store serves one Client at a time and must always be used with the same Server and ClientID,
// because its contents mean nothing to any other. The Client calls Load first, and Commit from one
// goroutine at a time; it may call Room while Commit runs. Package client/wal has a Store on disk;
// package client/storetest tests implementations.
type Store interface {
	// Load calls add once for every stored key, in any order. It is called before the first Commit.
	// The slices are valid only until add returns. Load stops at the first error, of add or its
	// own, and returns it; the caller must then discard everything that add received.
	Load(add func(key, value []byte) error) error

	// Room reserves room for new messages, including the records that are needed to finish them.
	// The size of a message is that of its topic and payload plus 256 bytes. If the room that is
	// left is needed to finish the messages already accepted, Room reserves nothing and returns an
	// error that wraps ErrStoreFull. A reservation lasts until it is used up by Changes (see
	// Change.Granted) or until the next Load. Room may wait for the disk: the Client calls it from
	// one goroutine at a time and without holding a lock.
	Room(bytes int) error

	// Commit makes the changes durable, in order. When it returns nil, they survive the end of the
	// process and, unless the Store is configured otherwise, a power failure. After a crash during
	// Commit, the Store has a prefix of the changes: never one without all those before it. An
	// error is final: the Store must refuse further changes until it is reopened, and the Client
	// fails with ErrStoreFailed. Commit must not retain changes or what they refer to.
	Commit(changes []Change) error
}

// A Change sets a key to a value or, if Forget is set, removes the key. Removing a key that does
// not exist is not an error. A key has 1 to 65,536 bytes, a value 0 to 268,435,455.
type Change struct {
	Key    []byte
	Value  []byte
	Forget bool

	// Granted is how many bytes of the room reserved by Room this change uses up. It is not zero
	// for the record of a new message.
	Granted int
}

// The errors of a Store.
var (
	// ErrStoreFull: the Store has no room for another message now. Publish asks again every second
	// until there is room or its context is done; then the message was not accepted.
	ErrStoreFull = errors.New("client: the store is full")

	// ErrStoreFailed: the Store failed to make a change durable, so the Client has stopped, because
	// nothing may be sent that is not stored first. Messages accepted before are still in the
	// Store.
	ErrStoreFailed = errors.New("client: the store failed")
)
