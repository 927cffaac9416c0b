package client

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/session"
)

const maxNoteName = 65535 // bytes

// ErrNoStore: a note cannot be saved because Config.Store is not set.
var ErrNoStore = errors.New("client: notes need a store")

// SaveNote keeps a note of the application in the Store, beside the session: for example, how often
// a message was tried. It replaces a note of the same name and returns when the note is durable.
// The name must be valid UTF-8 of at most 65,535 bytes.
//
// If ctx is done first, the error wraps ErrUnknown: the note may or may not have been saved.
func (c *Client) SaveNote(ctx context.Context, name string, note []byte) error {
	return c.note(ctx, session.Record{Kind: session.RecordApplication, Note: &session.Note{Name: name, Value: slices.Clone(note)}}, false)
}

// ForgetNote removes a note and returns when the removal is durable. It is not an error if the note
// does not exist.
func (c *Client) ForgetNote(ctx context.Context, name string) error {
	return c.note(ctx, session.Record{Kind: session.RecordApplication, Note: &session.Note{Name: name}}, true)
}

// DropNote removes a note without waiting. Notes no longer yields it; the Store removes it with the
// next change that is made durable, so it may reappear after a crash.
func (c *Client) DropNote(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.saver
	if _, kept := c.notes[name]; !kept || s.store == nil || c.err != nil || s.err != nil {
		return
	}
	delete(c.notes, name)
	s.next.add(&session.Record{Kind: session.RecordApplication, Note: &session.Note{Name: name}}, true)
	c.saveLocked()
}

// Notes returns an iterator over the names and contents of the notes as of now, sorted by name. The
// contents must not be modified.
func (c *Client) Notes() iter.Seq2[string, []byte] {
	c.mu.Lock()
	notes := maps.Clone(c.notes)
	c.mu.Unlock()
	return func(yield func(string, []byte) bool) {
		for _, name := range slices.SortedFunc(maps.Keys(notes), strings.Compare) {
			if !yield(name, notes[name]) {
				return
			}
		}
	}
}

func (c *Client) note(ctx context.Context, r session.Record, forget bool) error {
	if len(r.Note.Name) > maxNoteName || !utf8.ValidString(r.Note.Name) {
		return errors.New("client: a note's name is UTF-8 of at most 65,535 bytes")
	}
	if ctx.Err() != nil {
		return &callError{call: "note", about: quoted(r.Note.Name), kind: ErrNotSent, cause: context.Cause(ctx)}
	}
	done := make(chan struct{})
	c.mu.Lock()
	s := c.saver
	switch {
	case s.store == nil:
		c.mu.Unlock()
		return ErrNoStore
	case c.err != nil || s.err != nil:
		defer c.mu.Unlock()
		return &callError{call: "note", about: quoted(r.Note.Name), kind: ErrNotSent, cause: cmp.Or(s.err, c.err)}
	}
	if forget {
		delete(c.notes, r.Note.Name)
	} else {
		c.notes[r.Note.Name] = r.Note.Value
	}
	s.next.add(&r, forget)
	s.next.notes = append(s.next.notes, done)
	s.due = true
	c.saveLocked()
	c.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-c.done:
		return &callError{call: "note", about: quoted(r.Note.Name), kind: ErrUnknown, cause: c.Err()}
	case <-ctx.Done():
		return &callError{call: "note", about: quoted(r.Note.Name), kind: ErrUnknown, cause: context.Cause(ctx)}
	}
}
