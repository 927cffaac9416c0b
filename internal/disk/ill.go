package disk

import (
	"io/fs"
	"sync"
	"syscall"
)

// A Layer is a Disk on top of another one. A log that is given a Layer as its Disk opens its own
// folder and calls On before anything else.
type Layer interface {
	Disk
	On(Disk)
}

// An Ill wraps a real folder in a tortured process. On command it stalls or reports a full disk; otherwise it
// passes operations to the folder. Unlike a real file system for the purpose, it needs no privileges. Its methods
// are safe for concurrent use.
type Ill struct {
	Disk // the wrapped one

	mu      sync.Mutex
	well    sync.Cond // broadcast when stalled becomes false
	stalled bool
	full    bool
	room    int64 // bytes left while full
	greedy  bool  // while full, another program takes freed space
}

// NewIll returns an Ill that works normally.
func NewIll() *Ill {
	d := new(Ill)
	d.well.L = &d.mu
	return d
}

// On implements Layer.
func (d *Ill) On(below Disk) { d.Disk = below }

// Stall lets every operation that reaches the disk wait until Heal.
func (d *Ill) Stall() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stalled = true
}

// Fill leaves space for room bytes. If greedy, another program takes space as soon as it is freed.
func (d *Ill) Fill(room int64, greedy bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.room, d.greedy = true, room, greedy
}

// Heal ends Stall and Fill.
func (d *Ill) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stalled, d.full = false, false
	d.well.Broadcast()
}

// wait waits until the disk works. The caller holds mu.
func (d *Ill) wait() {
	for d.stalled {
		d.well.Wait()
	}
}

// pass is wait for callers that do not hold mu.
func (d *Ill) pass() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wait()
}

// take reserves up to n bytes and returns how many there was room for.
func (d *Ill) take(n int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		n = min(n, max(0, d.room))
		d.room -= n
	}
	return n
}

func (d *Ill) giveBack(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.greedy {
		d.room += n
	}
}

// block is the unit in which a file system allocates space: within its last block a file can grow
// on a full disk.
const block = 4096

func blocks(size int64) int64 { return (size + block - 1) / block * block }

// List implements Disk.
func (d *Ill) List() ([]string, error) {
	d.pass()
	return d.Disk.List()
}

// Create implements Disk.
func (d *Ill) Create(name string) (File, error) {
	d.pass()
	if d.take(block) < block {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	d.giveBack(block) // an empty file takes no block yet
	return d.wrap(d.Disk.Create(name))
}

// Open implements Disk.
func (d *Ill) Open(name string) (File, error) {
	d.pass()
	return d.wrap(d.Disk.Open(name))
}

func (d *Ill) wrap(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &illFile{File: f, d: d}, nil
}

// Remove implements Disk.
func (d *Ill) Remove(name string) error {
	d.pass()
	size := int64(0)
	if f, err := d.Disk.Open(name); err == nil { // fails for a file that is open
		size, _ = f.Size()
		f.Close()
	}
	err := d.Disk.Remove(name)
	if err == nil {
		d.giveBack(blocks(size))
	}
	return err
}

// Rename implements Disk.
func (d *Ill) Rename(from, to string) error {
	d.pass()
	return d.Disk.Rename(from, to)
}

// Sync implements Disk.
func (d *Ill) Sync() error {
	d.pass()
	return d.Disk.Sync()
}

// Intact implements Disk.
func (d *Ill) Intact(newest string, segment, head File) error {
	return d.Disk.Intact(newest, segment.(*illFile).File, head.(*illFile).File)
}

// An illFile is a file of an Ill.
type illFile struct {
	File // the wrapped one
	d    *Ill
}

// WriteAt implements File. Like a file system, it writes as many bytes as there is room for.
func (f *illFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.pass()
	size, err := f.File.Size()
	if err != nil {
		return 0, err
	}
	fits := len(b)
	if more := blocks(off+int64(len(b))) - blocks(size); more > 0 {
		if got := f.d.take(more) / block * block; got < more {
			fits = int(min(int64(fits), max(0, blocks(size)+got-off)))
		}
	}
	n, err := f.File.WriteAt(b[:fits], off)
	if err == nil && fits < len(b) {
		err = &fs.PathError{Op: "write", Path: "file", Err: syscall.ENOSPC}
	}
	return n, err
}

// Truncate implements File.
func (f *illFile) Truncate(size int64) error {
	f.d.pass()
	before, err := f.File.Size()
	if err == nil {
		err = f.File.Truncate(size)
	}
	if err == nil && size < before {
		f.d.giveBack(blocks(before) - blocks(size))
	}
	return err
}

// Sync implements File.
func (f *illFile) Sync() error {
	f.d.pass()
	return f.File.Sync()
}
