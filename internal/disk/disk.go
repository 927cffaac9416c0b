// Package disk defines what a log needs of a file system, and has a disk in memory for tests, which
// can lose power, fail, and run out of space. The log, its tests and the simulation of the client
// share it.
package disk

import "io"

// A Disk is a directory of files.
type Disk interface {
	List() ([]string, error) // names of the files
	Create(name string) (File, error)
	Open(name string) (File, error)
	Remove(name string) error
	Rename(from, to string) error // renames an open file; some systems refuse that
	Sync() error                  // syncs the directory
	Close() error

	// Intact returns an error if the directory has been moved, or if the newest segment or the head is no longer the
	// file with its name: data written to it would be lost.
	Intact(newest string, segment, head File) error

	// Identity returns a number that no copy of the file shares and, if content is true, that changes when the file is
	// written. It reports false if there is none.
	Identity(name string, content bool) (uint64, bool)
}

// A File is an open file of a Disk.
type File interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	WriteOut(off, n int64) // starts writing, to shorten the next Sync; may do nothing
	Sync() error           // syncs the content and the metadata needed to read it
	Close() error
}
