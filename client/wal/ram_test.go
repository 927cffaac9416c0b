package wal

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
)

var errPower = errors.New("the power is gone")

// A ram is a disk that forgets what was not synced: contents by sector, names by entry.
type ram struct {
	files    map[string]*ramFile
	onDisk   map[string]*ramFile // names that were synced
	space    int64               // bytes that are left; negative: no limit
	greedy   bool                // another program takes what is given back, at once
	ops      int
	powerAt  int // the operation that is cut short; 0: none
	syncErr  error
	noRename bool // of a file that is open
	created  int  // files, ever
	r        *rand.Rand
}

type ramFile struct {
	d      *ram
	id     int // for Identity; a copy has another one
	writes int
	data   []byte
	synced []byte
}

func newRAM() *ram {
	return &ram{files: map[string]*ramFile{}, onDisk: map[string]*ramFile{}, space: -1, r: rand.New(rand.NewPCG(1, 2))}
}

// op counts an operation; the one at powerAt and those after it fail.
func (d *ram) op() error {
	d.ops++
	if d.powerAt > 0 && d.ops >= d.powerAt {
		return errPower
	}
	return nil
}

const sector = 512

// after is the disk as the next process finds it: all of what was written after a kill; after
// a loss of power what was synced, and of the rest any sectors and any names.
func (d *ram) after(power bool, r *rand.Rand) *ram {
	n := newRAM()
	n.r, n.created = r, d.created
	names := d.files
	if power {
		names = map[string]*ramFile{}
		for name, f := range d.onDisk {
			if _, still := d.files[name]; still || r.IntN(2) == 0 {
				names[name] = f
			}
		}
		for name, f := range d.files {
			if _, ok := d.onDisk[name]; !ok && r.IntN(2) == 0 {
				names[name] = f
			}
		}
	}
	for name, f := range names {
		data := slices.Clone(f.data)
		if power {
			data = slices.Clone(f.synced)
			if len(f.data) > len(data) && r.IntN(2) == 0 { // the size was written
				data = append(data, make([]byte, len(f.data)-len(data))...)
			}
			for at := 0; at < min(len(data), len(f.data)); at += sector {
				end := min(at+sector, len(data), len(f.data))
				if r.IntN(2) == 0 {
					copy(data[at:end], f.data[at:end])
				}
			}
		}
		n.files[name] = &ramFile{d: n, data: data, synced: slices.Clone(data), id: f.id, writes: f.writes}
		if !power {
			n.files[name].synced = slices.Clone(f.synced) // a kill syncs nothing
		}
	}
	for name, f := range n.files {
		if _, ok := d.onDisk[name]; ok || power {
			n.onDisk[name] = f
		}
	}
	for name, f := range d.onDisk {
		if !power && n.files[name] == nil { // removed, and the removal not synced
			n.onDisk[name] = &ramFile{d: n, data: slices.Clone(f.data), synced: slices.Clone(f.synced)}
		}
	}
	return n
}

func (d *ram) List() ([]string, error) {
	var names []string
	for name := range d.files {
		names = append(names, name)
	}
	return names, d.op()
}

func (d *ram) Create(name string) (file, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	if d.files[name] != nil {
		return nil, fs.ErrExist
	}
	if d.space >= 0 && d.space < sector && !d.greedy {
		return nil, syscall.ENOSPC
	}
	d.created++
	d.files[name] = &ramFile{d: d, id: d.created}
	return d.files[name], nil
}

func (d *ram) Open(name string) (file, error) {
	if d.files[name] == nil {
		return nil, fs.ErrNotExist
	}
	return d.files[name], d.op()
}

func (d *ram) Remove(name string) error {
	if err := d.op(); err != nil {
		return err
	}
	d.giveBack(int64(len(d.files[name].data)))
	delete(d.files, name)
	return nil
}

func (d *ram) giveBack(n int64) {
	if d.space >= 0 && !d.greedy {
		d.space += n
	}
}

func (d *ram) Rename(from, to string) error {
	if err := d.op(); err != nil {
		return err
	}
	if d.noRename {
		return fs.ErrPermission
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *ram) Sync() error {
	if err := d.op(); err != nil {
		return err
	}
	clear(d.onDisk)
	for name, f := range d.files {
		d.onDisk[name] = f
	}
	return nil
}

func (d *ram) Close() error { return nil }

func (d *ram) Intact(newest string, segment, head file) error {
	if d.files[newest] != segment || d.files[headName] != head {
		return ErrGone
	}
	return nil
}

func (d *ram) Identity(name string, content bool) (uint64, bool) {
	f := d.files[name]
	if f == nil {
		return 0, false
	}
	if content {
		return uint64(f.id)<<32 + uint64(f.writes), true
	}
	return uint64(f.id), true
}

func (f *ramFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *ramFile) WriteAt(b []byte, off int64) (int, error) {
	err := f.d.op()
	if err != nil && f.d.ops > f.d.powerAt {
		return 0, err
	}
	if err != nil {
		b = b[:f.d.r.IntN(len(b)+1)]
	}
	f.writes++
	if more := off + int64(len(b)) - int64(len(f.data)); more > 0 {
		if f.d.space >= 0 && more > f.d.space {
			return 0, syscall.ENOSPC
		}
		if f.d.space >= 0 {
			f.d.space -= more
		}
		f.data = append(f.data, make([]byte, more)...)
	}
	return copy(f.data[off:], b), err
}

func (f *ramFile) Size() (int64, error) { return int64(len(f.data)), nil }

func (f *ramFile) Truncate(size int64) error {
	if err := f.d.op(); err != nil {
		return err
	}
	f.writes++
	if size < int64(len(f.data)) {
		f.d.giveBack(int64(len(f.data)) - size)
		f.data = f.data[:size]
	}
	return nil
}

func (f *ramFile) WriteOut(int64, int64) {}

func (f *ramFile) Sync() error {
	if err := f.d.op(); err != nil {
		return err
	}
	if f.d.syncErr != nil {
		return f.d.syncErr
	}
	f.synced = slices.Clone(f.data)
	return nil
}

func (f *ramFile) Close() error { return nil }
