package deadletters

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/lines"
)

// A State is the state of a dead letter.
type State int

// The states.
const (
	Waiting State = iota
	WasReplayed
	WasRemoved
)

func (s State) String() string { return [...]string{"waiting", "replayed", "removed"}[s] }

// An Entry is a dead letter of a file.
type Entry struct {
	ID    ID
	State State
	Size  int64 // of the payload

	at, size int64
	payload  payloadSpan
}

// A Fault is a line that cannot be read.
type Fault struct {
	At     int64 // offset of its first byte
	Reason error
}

// A File is an open file of dead letters. Its methods may be called by several goroutines at once.
type File struct {
	path     string
	f        *os.File
	readOnly bool

	mu      sync.Mutex // guards the fields below, and allows one writer at a time
	end     int64      // offset after the lines read so far
	entries []Entry    // their State is not set: see states
	index   map[ID]int // in entries
	states  map[ID]State
	notes   map[string][]ID // by digest of the payload: records whose dead letter has not arrived
	noted   map[ID]noted    // the same, by id
	bare    map[string][]ID // by digest: dead letters without a record
	faults  []Fault
	missed  int // faults beyond mostFaults
	torn    bool
}

type noted struct {
	digest   string
	at, size int64
}

const mostFaults = 100

// ErrReadOnly means that this process may not append to the file.
var ErrReadOnly = errors.New("deadletters: the file may only be read")

// Open opens a file and reads it. A file that this process may only read can be opened, but refuses changes.
func Open(ctx context.Context, path string) (*File, error) {
	return open(ctx, path, os.O_RDWR|os.O_APPEND)
}

// Create is like Open, but creates the file if it does not exist.
func Create(ctx context.Context, path string) (*File, error) {
	return open(ctx, path, os.O_RDWR|os.O_APPEND|os.O_CREATE)
}

func open(ctx context.Context, path string, flag int) (*File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("deadletters: %s is no regular file", path)
	}
	file := &File{path: path}
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		if f, _ = os.Open(path); f == nil {
			return nil, err
		}
		file.readOnly = true
	}
	file.f = f
	file.reset()
	if err := file.Refresh(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return file, nil
}

func (f *File) reset() {
	f.end, f.entries, f.faults, f.missed = 0, nil, nil, 0
	f.index, f.states = make(map[ID]int), make(map[ID]State)
	f.notes, f.noted = make(map[string][]ID), make(map[ID]noted)
	f.bare = make(map[string][]ID)
}

// Path returns the path with which the file was opened.
func (f *File) Path() string { return f.path }

// IsReadOnly reports whether this process may only read the file.
func (f *File) IsReadOnly() bool { return f.readOnly }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Refresh reads the lines that were appended since the last read.
func (f *File) Refresh(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refresh(ctx)
}

func (f *File) refresh(ctx context.Context) error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < f.end { // the file was truncated
		f.reset()
	}
	f.torn = false
	s := newScanner(io.NewSectionReader(f.f, f.end, info.Size()-f.end), f.end)
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l, err := s.next()
		switch {
		case err == io.EOF:
			return nil
		case err == errUnfinished:
			f.torn = true
			return nil
		case err != nil:
			return err
		}
		f.add(l)
		f.end = s.at
	}
}

// add adds a line to the index.
func (f *File) add(l span) {
	if len(bytes.TrimSpace(l.head)) == 0 {
		return
	}
	err := errLongHead
	var parsed *line
	if !l.long {
		parsed, err = parse(l.head)
	}
	switch {
	case err != nil:
		if len(f.faults) < mostFaults {
			f.faults = append(f.faults, Fault{l.at, err})
		} else {
			f.missed++
		}
	case parsed.Act == Replayed && f.states[*parsed.Of] != WasRemoved:
		f.states[*parsed.Of] = WasReplayed
	case parsed.Act == Removed:
		f.states[*parsed.Of] = WasRemoved
	case parsed.Act == Noted:
		d := parsed.Noted.Digest
		f.notes[d] = append(f.notes[d], l.id)
		f.noted[l.id] = noted{d, l.at, l.size}
	case parsed.Act == "":
		if parsed.Note != nil {
			f.came(*parsed.Note)
		}
		if _, twice := f.index[l.id]; twice { // an identical line is the same dead letter
			return
		}
		if parsed.Digest != "" && parsed.Note == nil {
			f.bare[parsed.Digest] = append(f.bare[parsed.Digest], l.id)
		}
		f.index[l.id] = len(f.entries)
		f.entries = append(f.entries, Entry{ID: l.id, Size: l.payload.decoded(), at: l.at, size: l.size, payload: l.payload})
	}
}

// came removes the note about a dead letter that has now arrived.
func (f *File) came(note ID) {
	n, ok := f.noted[note]
	if !ok {
		return
	}
	delete(f.noted, note)
	left := f.notes[n.digest]
	for i, id := range left {
		if id == note {
			left = append(left[:i:i], left[i+1:]...)
			break
		}
	}
	if f.notes[n.digest] = left; len(left) == 0 {
		delete(f.notes, n.digest)
	}
}

// decoded returns the length of the decoded payload in bytes.
func (p payloadSpan) decoded() int64 { return max(0, p.size/4*3-int64(p.pad)) }

// Faults returns the first hundred unreadable lines, and how many there are. torn reports whether the last line is
// incomplete: it is being written, or was cut off by a crash.
func (f *File) Faults() (first []Fault, all int, torn bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Fault(nil), f.faults...), len(f.faults) + f.missed, f.torn
}

// Len returns the number of entries; At returns one of them, numbered from 0 in the order of the file.
func (f *File) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.entries)
}

// At returns an entry; see Len.
func (f *File) At(i int) Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entry(i)
}

func (f *File) entry(i int) Entry {
	e := f.entries[i]
	e.State = f.states[e.ID]
	return e
}

// A FindError means that an id does not identify exactly one dead letter.
type FindError struct {
	ID   string
	Many bool // several ids begin with it; otherwise none does
}

func (e *FindError) Error() string {
	if e.Many {
		return fmt.Sprintf("deadletters: several ids begin with %.40q", e.ID)
	}
	return fmt.Sprintf("deadletters: no id begins with %.40q", e.ID)
}

// Find returns the entry whose id begins with id.
func (f *File) Find(id string) (Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := -1
	for i := range f.entries {
		if name := f.entries[i].ID.String(); len(id) > 0 && len(id) <= len(name) && name[:len(id)] == id {
			if found >= 0 {
				return Entry{}, &FindError{id, true}
			}
			found = i
		}
	}
	if found < 0 {
		return Entry{}, &FindError{id, false}
	}
	return f.entry(found), nil
}

// Record reads the record about an entry.
func (f *File) Record(e Entry) (*Record, error) {
	head := make([]byte, 0, 512)
	var err error
	if e.payload.size < 0 {
		head, err = f.read(head, e.at, e.size)
	} else {
		behind := e.payload.at + e.payload.size
		if head, err = f.read(head, e.at, e.payload.at-e.at); err == nil {
			head, err = f.read(head, behind, e.at+e.size-behind)
		}
	}
	if err != nil {
		return nil, err
	}
	l, err := parse(head)
	if err != nil {
		return nil, fmt.Errorf("deadletters: %s at byte %d: the file was changed meanwhile: %w", f.path, e.at, err)
	}
	return &l.Record, nil
}

func (f *File) read(b []byte, at, n int64) ([]byte, error) {
	if n > mostHead {
		return nil, errLongHead
	}
	part := make([]byte, n)
	if _, err := f.f.ReadAt(part, at); err != nil {
		return nil, fmt.Errorf("deadletters: %s: %w", f.path, err)
	}
	return append(b, part...), nil
}

// Payload returns a reader of the payload of an entry.
func (f *File) Payload(e Entry) io.Reader {
	if e.payload.size <= 0 {
		return bytes.NewReader(nil)
	}
	text := io.NewSectionReader(f.f, e.payload.at, e.payload.size)
	if !e.payload.escaped {
		return base64.NewDecoder(base64.StdEncoding, text)
	}
	return base64.NewDecoder(base64.StdEncoding, &unescaper{r: text})
}

// An unescaper decodes the JSON escapes in a string as it is read: some programs write \/ or \u002b.
type unescaper struct {
	r    io.Reader
	text *bytes.Reader
}

func (u *unescaper) Read(b []byte) (int, error) {
	if u.text == nil {
		raw, err := io.ReadAll(u.r)
		if err != nil {
			return 0, err
		}
		var s string
		if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &s); err != nil {
			return 0, err
		}
		u.text = bytes.NewReader([]byte(s))
	}
	return u.text.Read(b)
}

// Mark records what was done with an entry; how describes it to the user. The record is durable when Mark returns
// nil.
func (f *File) Mark(ctx context.Context, id ID, act Act, how string) error {
	text, err := json.Marshal(actLine{Act: act, Time: time.Now(), Of: &id, How: how})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.append(ctx, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Copy appends a copy of an entry, with another topic unless topic is empty, and with another payload unless
// payload is nil. The original does not change. Copy returns the new entry.
func (f *File) Copy(ctx context.Context, e Entry, topic string, payload io.Reader) (Entry, error) {
	r, err := f.Record(e)
	if err != nil {
		return Entry{}, err
	}
	r.Time, r.CopyOf, r.Note, r.Digest = time.Now(), &e.ID, nil, ""
	if topic != "" {
		r.Topic = topic
	}
	if payload == nil {
		payload = f.Payload(e)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.append(ctx, func(w io.Writer) error { return writeRecord(w, r, payload) }); err != nil {
		return Entry{}, err
	}
	for i := len(f.entries) - 1; i >= 0; i-- { // others may have appended since
		if made, err := f.Record(f.entries[i]); err == nil && made.CopyOf != nil && *made.CopyOf == e.ID && made.Time.Equal(r.Time) {
			return f.entry(i), nil
		}
	}
	return Entry{}, fmt.Errorf("deadletters: %s: the copy was written, and is not there any more", f.path)
}

// writeRecord writes a line without its line end.
func writeRecord(w io.Writer, r *Record, payload io.Reader) error {
	head, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(head[:len(head)-1], `,"payload":"`...)); err != nil {
		return err
	}
	text := base64.NewEncoder(base64.StdEncoding, w)
	if _, err := io.Copy(text, payload); err != nil {
		return err
	}
	if err := text.Close(); err != nil {
		return err
	}
	_, err = io.WriteString(w, `"}`)
	return err
}

// append appends to the file under the lock that connectors use, after reading the lines added
// meanwhile.
func (f *File) append(ctx context.Context, write func(io.Writer) error) error {
	if f.readOnly {
		return fmt.Errorf("%w: %s", ErrReadOnly, f.path)
	}
	if err := lines.AppendTo(f.f, write); err != nil {
		f.reset() // Collect may have marked notes as used
		return errors.Join(fmt.Errorf("deadletters: %s: %w", f.path, err), f.refresh(ctx))
	}
	return f.refresh(context.WithoutCancel(ctx)) // the lines are written, even if the caller has given up
}

// Has reports whether a text occurs in the displayed form of an entry, or in its payload.
func (f *File) Has(e Entry, r *Record, text string) bool {
	for _, s := range []string{r.Topic, r.Consumer, r.Key, r.Why()} {
		if strings.Contains(s, text) {
			return true
		}
	}
	return contains(f.Payload(e), []byte(text))
}

// contains reports whether a text occurs in the data of r, reading it in pieces.
func contains(r io.Reader, text []byte) bool {
	buf := make([]byte, 0, len(text)+32<<10)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		if buf = buf[:len(buf)+n]; bytes.Contains(buf, text) {
			return true
		}
		if err != nil {
			return false
		}
		if keep := len(text) - 1; len(buf) > keep {
			buf = buf[:copy(buf, buf[len(buf)-max(0, keep):])]
		}
	}
}

// IsMoved reports whether the path no longer leads to this file.
func (f *File) IsMoved() bool {
	now, err := os.Stat(f.path)
	mine, merr := f.f.Stat()
	return err != nil || merr != nil || !os.SameFile(now, mine)
}
