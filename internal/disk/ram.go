package disk

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// ErrPower is the error of everything after the power is gone.
var ErrPower = errors.New("the power is gone")

// A RAM is a disk that forgets what was not synced: contents by sector, names by entry. Its fields may
// be set and looked at while nobody uses it.
type RAM struct {
	mu sync.Mutex

	Files    map[string]*RAMFile
	onDisk   map[string]*RAMFile // names that were synced
	Space    int64               // bytes that are left; negative: no limit
	Greedy   bool                // another program takes what is given back, at once
	Ops      int
	PowerAt  int    // the operation that is cut short; 0: none
	Gone     func() // called when that comes; it must not use the disk
	SyncErr  error
	NoRename bool // of a file that is open
	NoFiles  bool // the process has no descriptor left for another one
	created  int  // files, ever
	R        *rand.Rand
}

// A RAMFile is a file of a RAM.
type RAMFile struct {
	d      *RAM
	id     int // for Identity; a copy has another one
	writes int
	Data   []byte
	synced []byte
	from   int // with to: what was written since the last sync, so that a sync does not copy the rest
	to     int
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

// Stop lets every further operation fail, as if the power were gone.
func (d *RAM) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.PowerAt, d.Gone = max(1, d.Ops), nil
}

// Fail lets every further sync of a file fail with err.
func (d *RAM) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.SyncErr = err
}

const sector = 512

// After is the disk as the next process finds it: all of what was written after a kill; after
// a loss of power what was synced, and of the rest any sectors and any names.
func (d *RAM) After(power bool, r *rand.Rand) *RAM {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := NewRAM()
	n.R, n.created = r, d.created
	names := d.Files
	if power {
		names = map[string]*RAMFile{}
		for name, f := range d.onDisk {
			if _, still := d.Files[name]; still || r.IntN(2) == 0 {
				names[name] = f
			}
		}
		for name, f := range d.Files {
			if _, ok := d.onDisk[name]; !ok && r.IntN(2) == 0 {
				names[name] = f
			}
		}
	}
	for name, f := range names {
		data := slices.Clone(f.Data)
		if power {
			data = slices.Clone(f.synced)
			if len(f.Data) > len(data) && r.IntN(2) == 0 { // the size was written
				data = append(data, make([]byte, len(f.Data)-len(data))...)
			}
			for at := 0; at < min(len(data), len(f.Data)); at += sector {
				end := min(at+sector, len(data), len(f.Data))
				if r.IntN(2) == 0 {
					copy(data[at:end], f.Data[at:end])
				}
			}
		}
		n.Files[name] = &RAMFile{d: n, Data: data, synced: slices.Clone(data), id: f.id, writes: f.writes}
		if !power {
			n.Files[name].synced, n.Files[name].from, n.Files[name].to = slices.Clone(f.synced), f.from, f.to // a kill syncs nothing
		}
	}
	for name, f := range n.Files {
		if _, ok := d.onDisk[name]; ok || power {
			n.onDisk[name] = f
		}
	}
	for name, f := range d.onDisk {
		if !power && n.Files[name] == nil { // removed, and the removal not synced
			n.onDisk[name] = &RAMFile{d: n, Data: slices.Clone(f.Data), synced: slices.Clone(f.synced), from: f.from, to: f.to}
		}
	}
	return n
}

// Copy is the disk after a kill, with a copy of each file.
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
	d.giveBack(int64(len(d.Files[name].Data)))
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
	if off >= int64(len(f.Data)) {
		return 0, io.EOF
	}
	n := copy(b, f.Data[off:])
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
	f.written(min(int(off), len(f.Data)), int(off)+len(b))
	if more := off + int64(len(b)) - int64(len(f.Data)); more > 0 {
		if f.d.Space >= 0 && more > f.d.Space {
			return 0, syscall.ENOSPC
		}
		if f.d.Space >= 0 {
			f.d.Space -= more
		}
		f.Data = append(f.Data, make([]byte, more)...)
	}
	return copy(f.Data[off:], b), err
}

// Size implements File.
func (f *RAMFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.Data)), nil
}

// Truncate implements File.
func (f *RAMFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op(); err != nil {
		return err
	}
	f.writes++
	if size < int64(len(f.Data)) {
		f.d.giveBack(int64(len(f.Data)) - size)
		f.Data = f.Data[:size]
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
	f.synced = append(f.synced[:min(len(f.synced), len(f.Data))], make([]byte, max(0, len(f.Data)-len(f.synced)))...)
	if from, to := min(f.from, len(f.Data)), min(f.to, len(f.Data)); from < to {
		copy(f.synced[from:to], f.Data[from:to])
	}
	f.from, f.to = 0, 0
	return nil
}

// written notes a range for the next sync.
func (f *RAMFile) written(from, to int) {
	if f.from == f.to {
		f.from, f.to = from, to
	}
	f.from, f.to = min(f.from, from), max(f.to, to)
}

// Close implements File.
func (f *RAMFile) Close() error { return nil }
