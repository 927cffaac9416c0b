package disk

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// ErrPower is the error of every operation after a loss of power.
var ErrPower = errors.New("the power is gone")

// A RAM is a disk that forgets everything that was not synced: contents by sector, names by entry. Its fields may
// be used while no method runs.
type RAM struct {
	mu sync.Mutex

	Files    map[string]*RAMFile
	onDisk   map[string]*RAMFile // names that were synced
	Space    int64               // bytes that are left; negative: no limit
	Greedy   bool                // another program takes freed space at once
	Ops      int
	PowerAt  int    // the operation that is interrupted; 0: none
	Gone     func() // called at that operation; it must not use the disk
	SyncErr  error
	NoRename bool // Rename refuses an open file
	NoFiles  bool // the process has no file descriptor left
	created  int  // how many files were ever created
	R        *rand.Rand
}

// A RAMFile is a file of a RAM.
type RAMFile struct {
	d      *RAM
	id     int // for Identity; a copy has another one
	writes int
	data   content
	synced content
}

// NewRAM returns an empty disk.
func NewRAM() *RAM {
	return &RAM{Files: map[string]*RAMFile{}, onDisk: map[string]*RAMFile{}, Space: -1, R: rand.New(rand.NewPCG(1, 2))}
}

// op counts an operation; the one at PowerAt and those after it fail.
func (d *RAM) op() error {
	d.Ops++
	if d.PowerAt > 0 && d.Ops >= d.PowerAt {
		if d.Gone != nil {
			d.Gone()
			d.Gone = nil
		}
		return ErrPower
	}
	return nil
}

// Stop makes every further operation fail, as if the power were lost.
func (d *RAM) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.PowerAt, d.Gone = max(1, d.Ops), nil
}

// Fail makes every further sync of a file fail with err.
func (d *RAM) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.SyncErr = err
}

// After returns the disk as the next process finds it. After a kill that is everything that was written. After a
// loss of power it is everything that was synced, and a random part of the other sectors and names.
func (d *RAM) After(power bool, r *rand.Rand) *RAM {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := NewRAM()
	n.R, n.created = r, d.created
	names := d.Files
	if power {
		names = map[string]*RAMFile{}
		for _, name := range slices.Sorted(maps.Keys(d.onDisk)) {
			f := d.onDisk[name]
			if _, still := d.Files[name]; still || r.IntN(2) == 0 {
				names[name] = f
			}
		}
		for _, name := range slices.Sorted(maps.Keys(d.Files)) {
			f := d.Files[name]
			if _, ok := d.onDisk[name]; !ok && r.IntN(2) == 0 {
				names[name] = f
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f := names[name]
		data, synced := f.data.clone(), f.synced.clone() // after a kill, what was not synced is still in the cache
		if power {
			data = f.synced.clone()
			if f.data.size > data.size && r.IntN(2) == 0 { // the new size was written, even if the data was not
				data.resize(f.data.size)
			}
			for i := range data.sectors[:min(len(data.sectors), len(f.data.sectors))] {
				if r.IntN(2) == 0 {
					data.take(&f.data, i)
				}
			}
			synced = data.clone()
		}
		n.Files[name] = &RAMFile{d: n, data: data, synced: synced, id: f.id, writes: f.writes}
	}
	for name, f := range n.Files {
		if _, ok := d.onDisk[name]; ok || power {
			n.onDisk[name] = f
		}
	}
	for name, f := range d.onDisk {
		if !power && n.Files[name] == nil { // removed, but the removal is not durable
			n.onDisk[name] = &RAMFile{d: n, data: f.data.clone(), synced: f.synced.clone()}
		}
	}
	return n
}

// Copy returns the disk as after a kill, in which each file is a copy with a new identity.
func (d *RAM) Copy(r *rand.Rand) *RAM {
	n := d.After(false, r)
	for _, f := range n.Files {
		n.created++
		f.id = n.created
	}
	return n
}

// List implements Disk.
func (d *RAM) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.Files {
		names = append(names, name)
	}
	return names, d.op()
}

// Create implements Disk.
func (d *RAM) Create(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return nil, err
	}
	if d.Files[name] != nil {
		return nil, fs.ErrExist
	}
	if d.NoFiles {
		return nil, syscall.EMFILE
	}
	if d.Space >= 0 && d.Space < sector && !d.Greedy {
		return nil, syscall.ENOSPC
	}
	d.created++
	d.Files[name] = &RAMFile{d: d, id: d.created}
	return d.Files[name], nil
}

// Open implements Disk.
func (d *RAM) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Files[name] == nil {
		return nil, fs.ErrNotExist
	}
	return d.Files[name], d.op()
}

// Remove implements Disk.
func (d *RAM) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	d.giveBack(int64(d.Files[name].data.size))
	delete(d.Files, name)
	return nil
}

func (d *RAM) giveBack(n int64) {
	if d.Space >= 0 && !d.Greedy {
		d.Space += n
	}
}

// Rename implements Disk.
func (d *RAM) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	if d.NoRename {
		return fs.ErrPermission
	}
	d.Files[to] = d.Files[from]
	delete(d.Files, from)
	return nil
}

// Sync implements Disk.
func (d *RAM) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	clear(d.onDisk)
	for name, f := range d.Files {
		d.onDisk[name] = f
	}
	return nil
}

// Close implements Disk.
func (d *RAM) Close() error { return nil }

// Intact implements Disk.
func (d *RAM) Intact(newest string, segment, head File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.Files {
		if f == head && d.Files[newest] == segment {
			return nil
		}
	}
	return fs.ErrNotExist
}

// Identity implements Disk.
func (d *RAM) Identity(name string, content bool) (uint64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.Files[name]
	if f == nil {
		return 0, false
	}
	if content {
		return uint64(f.id)<<32 + uint64(f.writes), true
	}
	return uint64(f.id), true
}

// ReadAt implements File.
func (f *RAMFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n := f.data.read(b, int(off))
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *RAMFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.op()
	if err != nil && f.d.Ops > f.d.PowerAt {
		return 0, err
	}
	if err != nil {
		b = b[:f.d.R.IntN(len(b)+1)]
	}
	f.writes++
	if more := off + int64(len(b)) - int64(f.data.size); more > 0 && f.d.Space >= 0 {
		if more > f.d.Space {
			return 0, syscall.ENOSPC
		}
		f.d.Space -= more
	}
	f.data.write(b, int(off))
	return len(b), err
}

// Size implements File.
func (f *RAMFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(f.data.size), nil
}

// Truncate implements File.
func (f *RAMFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op(); err != nil {
		return err
	}
	f.writes++
	if size < int64(f.data.size) {
		f.d.giveBack(int64(f.data.size) - size)
		f.data.resize(int(size))
	}
	return nil
}

// WriteOut implements File.
func (f *RAMFile) WriteOut(int64, int64) {}

// Sync implements File.
func (f *RAMFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op(); err != nil {
		return err
	}
	if f.d.SyncErr != nil {
		return f.d.SyncErr
	}
	f.synced.set(&f.data)
	return nil
}

// Close implements File.
func (f *RAMFile) Close() error { return nil }

// Bytes returns a copy of the file's data. It must not be called while the disk is in use.
func (f *RAMFile) Bytes() []byte {
	b := make([]byte, f.data.size)
	f.data.read(b, 0)
	return b
}

// Put writes bytes to the file without a sync and without counting an operation, like a faulty disk.
// A test may call it while nobody uses the disk.
func (f *RAMFile) Put(b []byte, off int64) { f.data.write(b, int(off)) }

// Flip inverts bits of a byte in the same way.
func (f *RAMFile) Flip(off int64, bits byte) {
	var b [1]byte
	f.data.read(b[:], int(off))
	b[0] ^= bits
	f.Put(b[:], off)
}

// Cut truncates the file in the same way.
func (f *RAMFile) Cut(size int64) { f.data.resize(int(size)) }
