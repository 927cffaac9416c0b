// Package disk is what a log needs of a file system, and a disk in memory for tests, which loses
// power, fails, and has no room. It is here because the log, its tests and the simulation of the
// client use the same.
package disk

import "io"

// A Disk is a folder of files.
type Disk interface {
	List() ([]string, error) // names of the files
	Create(name string) (File, error)
	Open(name string) (File, error)
	Remove(name string) error
	Rename(from, to string) error // of a file that is open; some systems refuse that
	Sync() error                  // of the folder
	Close() error

	// Intact reports, as an error, that the folder is not where it was, or that the newest segment
	// or the head is not the file with its name any more: what is written would be lost.
	Intact(newest string, segment, head File) error

	// Identity returns what is known of a file that no copy of it has and, if content is true,
	// that changes when the file is written. It reports false if nothing is known.
	Identity(name string, content bool) (uint64, bool)
}

// A File is one of them.
type File interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	WriteOut(off, n int64) // begins to, so that Sync has less to wait for; or does nothing
	Sync() error           // of the content and what is needed to read it
	Close() error
}
