package deadletters

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// metaLevel is appended to a dead letter topic for the record about a dead letter.
const metaLevel = "/meta"

// A Collected is a message from a dead letter topic, or a record about one.
type Collected struct {
	Topic   string
	QoS     packets.QoS
	ID      uint16 // its Packet Identifier
	Dup     bool
	Payload []byte
}

// recentEntries is how far back Collect looks for a message that was redelivered. A Server has far fewer
// messages in flight.
const recentEntries = 1000

// Collect appends messages of dead letter topics, all or none; they are durable when it returns nil. The record of a
// dead letter precedes it on a separate topic, and several may be in flight: a digest of the payload connects them. If a
// server changes the order and the record arrives late, the dead letter is written again together with it. A message without
// a record is stored with the topic on which it arrived.
func (f *File) Collect(ctx context.Context, messages []Collected) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := make(map[string][]pending) // from this batch, by digest
	var out []func(io.Writer) error
	for i := range messages {
		r := messages[i].meta()
		if r == nil {
			continue
		}
		if e, ok := f.takeBare(r.Digest); ok {
			r.Note = &e.ID
			out = append(out, func(w io.Writer) error { return writeRecord(w, r, f.Payload(e)) },
				lineWriter(actLine{Act: Removed, Time: time.Now(), Of: &e.ID, How: "written again with its record"}))
			continue
		}
		text, err := json.Marshal(actLine{Act: Noted, Time: time.Now(), Note: r})
		if err != nil {
			return err
		}
		out = append(out, lineWriter(json.RawMessage(text)))
		known[r.Digest] = append(known[r.Digest], pending{lineID(text), r})
	}
	for i := range messages {
		m := &messages[i]
		if m.meta() == nil {
			r := f.recordOf(m, known)
			out = append(out, func(w io.Writer) error { return writeRecord(w, r, bytes.NewReader(m.Payload)) })
		}
	}
	return f.append(ctx, func(w io.Writer) error {
		for i, write := range out {
			if i > 0 {
				if _, err := io.WriteString(w, "\n"); err != nil {
					return err
				}
			}
			if err := write(w); err != nil {
				return err
			}
		}
		return nil
	})
}

func lineWriter(v any) func(io.Writer) error {
	return func(w io.Writer) error {
		text, err := json.Marshal(v)
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}
}

// takeBare returns a waiting dead letter that has no record yet, by the digest of its payload.
func (f *File) takeBare(digest string) (Entry, bool) {
	for len(f.bare[digest]) > 0 {
		id := f.bare[digest][0]
		f.bare[digest] = f.bare[digest][1:]
		if at, ok := f.index[id]; ok && f.states[id] == Waiting {
			return f.entry(at), true
		}
	}
	delete(f.bare, digest)
	return Entry{}, false
}

// A pending is the record about a dead letter that has not arrived yet.
type pending struct {
	id     ID
	record *Record
}

// meta returns the record that a message contains about a dead letter, or nil if it is not such a
// message.
func (m *Collected) meta() *Record {
	if !strings.HasSuffix(m.Topic, metaLevel) {
		return nil
	}
	var r Record
	if json.Unmarshal(m.Payload, &r) != nil || r.Topic == "" || len(r.Digest) != len(Digest(nil)) {
		return nil
	}
	return &r
}

// recordOf returns the record of a message.
func (f *File) recordOf(m *Collected, known map[string][]pending) *Record {
	digest := Digest(m.Payload)
	if first := f.notes[digest]; len(first) > 0 {
		if r, err := f.readNote(first[0]); err == nil {
			note := first[0]
			f.came(note)
			r.Note = &note
			return r
		}
	}
	if first := known[digest]; len(first) > 0 {
		known[digest] = first[1:]
		r := *first[0].record
		r.Note = &first[0].id
		return &r
	}
	if m.Dup { // a redelivery: collected before, and its acknowledgement was lost
		for i := len(f.entries) - 1; i >= max(0, len(f.entries)-recentEntries); i-- {
			if r, err := f.Record(f.entries[i]); err == nil && r.Digest == digest {
				r.Time = time.Now() // a different message may have the same payload: keep both
				return r
			}
		}
	}
	now := time.Now()
	return &Record{Time: now, Received: now, Topic: m.Topic, QoS: m.QoS, MessageID: m.ID, Digest: digest}
}

func (f *File) readNote(id ID) (*Record, error) {
	n := f.noted[id]
	head, err := f.read(nil, n.at, n.size)
	if err != nil {
		return nil, err
	}
	l, err := parse(head)
	if err != nil {
		return nil, err
	}
	return l.Noted, nil
}
