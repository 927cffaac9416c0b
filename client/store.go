package client

import "errors"

// A Store keeps Session state, section 4.1, through the end of the process: what was
// published at QoS 1 and 2 and is not finished, which incoming QoS 2 messages were taken
// over, and notes of the application. It keeps keys and values and understands neither.
//
// One Store serves one Client at a time; it belongs to one pair of Server and ClientID, for ever:
// the identifiers in it mean nothing to any other. The Client calls Load first, and Commit from one
// goroutine at a time; it may call Room while Commit runs. Package client/wal has one on disk, and
// package client/storetest tests any.
type Store interface {
	// Load calls add once for every key that is kept, in any order, before anything is
	// committed. The slices are valid until add returns. It returns the first error
	// of add or its own: then discard everything that add received.
	Load(add func(key, value []byte) error) error

	// Room grants room for messages of so many bytes, each counted as its topic, its
	// payload and 256 bytes more, including what finishing them takes. The error wraps
	// ErrStoreFull if they would take what has to be left for finishing those that were
	// accepted; then nothing is granted. A grant stands until Changes have used it up, see
	// Change.Granted, or until the next Load. Room may wait for the disk: the Client holds
	// no lock meanwhile, and calls it from one goroutine at a time.
	Room(bytes int) error

	// Commit makes the changes durable, in order. When it returns nil they outlive the
	// process and, unless the Store was told otherwise, a loss of power. A crash before
	// that may leave none of them, or the first few, never one without those before it.
	// An error is final: the Store takes no more changes until it is opened anew, and the
	// Client ends with ErrStoreFailed. The changes and what they refer to are the
	// caller's again when it returns.
	Commit(changes []Change) error
}

// A Change is one key set or, if Forget, removed. Removing a key that is not there is not an error.
// A key is at most 65,536 bytes long and never empty; a value has at most 268,435,455 bytes and may
// be empty.
type Change struct {
	Key    []byte
	Value  []byte
	Forget bool

	// Granted is how many bytes of what Room has granted the change uses up: not zero for
	// the record of a message. That room need not be there for anything else any more.
	Granted int
}

// The errors of a Store.
var (
	// ErrStoreFull says that the Store has no room for another message now. Publish
	// waits for room, and asks again each second; when its context ends the message was not accepted.
	ErrStoreFull = errors.New("client: the store is full")

	// ErrStoreFailed says that the Store could not keep what it was given, and so the
	// Client has ended: nothing may leave that is not on record. What was accepted
	// before is still on record.
	ErrStoreFailed = errors.New("client: the store failed")
)
