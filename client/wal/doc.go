// Package wal keeps the Session state of a client on disk, as client.Config.Store: an
// append-only log with one write and one sync for all that waits.
//
// # What is promised
//
// With SyncAlways, which is the default, a message that Publish or a Receipt has called
// accepted, a PUBREC that was answered, an incoming QoS 2 message that was acknowledged and a
// note survive the death of the process, a kernel panic and a loss of power, if the disk keeps
// what it says it has synced. So QoS 1 arrives at least once and QoS 2 exactly once, as long as
// the Server keeps its half of the session too. What no client can promise: that the work
// of an application happens exactly once. If the process dies between the work and its
// acknowledgement, the message comes again, and only the application can tell.
//
// # The log
//
// A store is a folder of its own, named by a hash of Server and ClientID, with segments
// that are named by the number of their first frame:
//
//	CRC-32C         4 bytes   number of the frame  8 bytes
//	length of body  4 bytes   type                 1 byte    body
//
// The CRC covers everything behind it, and begins with a number that is chosen at random for each
// store, so that a frame is good in one place only and nobody can make one in a payload. A commit
// is frames that set or forget a key and a frame that ends it; it counts as a whole or not
// at all. A segment begins with a frame that says whose it is, and the random number. Numbers are
// big-endian. The file HEAD says which segments there are, the random number, and how far the log
// had come when it was opened or closed last.
//
// What is behind the last whole commit of the newest segment is a commit that a crash cut
// short: Open cuts it off. Anything else that cannot be read, or that is missing, is ErrCorrupt,
// and nothing is touched: Inspect says what is wrong, and Salvage makes a new store of what can be
// read.
package wal
