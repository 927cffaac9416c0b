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
	Sync() error                  // syncs the folder
	Close() error

	// Intact returns an error if the folder has been moved, or if the newest segment or the head is no longer the file
	// with its name: data written to it would be lost.
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
