// Package wal implements a [client.Store] that keeps the Session state of a client on disk, in an
// append-only log. All changes that wait are committed together, with one write and one sync.
//
// # Guarantees
//
// With SyncAlways, the default, the following survive a crash of the process, a kernel panic and a
// power failure, provided that the disk keeps what it reports as synced: messages that were
// accepted according to Publish or a Receipt, PUBRECs that were answered, incoming QoS 2 messages
// that were acknowledged, and notes. So messages arrive at least once at QoS 1 and exactly once at
// QoS 2, as long as the Server keeps its side of the session too. No client can guarantee that an
// application processes a message exactly once: if the process dies after processing a message and
// before acknowledging it, the message is delivered again, and only the application can know that
// it is a duplicate.
//
// # The log
//
// A store is a folder named by a hash of Server and ClientID. It contains segments, files named by
// the number of their first frame. A segment is a sequence of frames:
//
//	CRC-32C         4 bytes   number of the frame  8 bytes
//	length of body  4 bytes   type                 1 byte    body
//
// The CRC covers the rest of the frame. It is seeded with a random number chosen for each store, so
// a frame is valid only in its place, and a payload cannot contain a valid frame. A commit is a
// sequence of frames that set or remove a key, followed by a frame that ends the commit; it is
// applied completely or not at all. The first frame of a segment has the Server, the ClientID and
// the random number. Numbers are big-endian. The file HEAD lists the segments, the random number,
// and the end of the log when it was last opened or closed.
//
// Bytes after the last complete commit of the newest segment are a commit that was cut short by a
// crash; Open removes them. If anything else is unreadable or missing, Open returns ErrCorrupt and
// changes nothing. Inspect then says what is wrong, and Salvage makes a new store from what can be
// read.
package wal
