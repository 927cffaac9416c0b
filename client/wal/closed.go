package wal

import (
	"encoding/binary"
	"hash/fnv"
	"log/slog"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/session"
)

// A store that was closed says so in the third place of HEAD, with the generation of the head and
// what the file system knows of its files and a copy does not have. A store without that mark may be
// an older one that was put back, and the Server may have gone on meanwhile: then it holds Packet
// Identifiers of QoS 2 that the store believes to be released, and would drop a new message as a
// copy of an old one, section 4.3.3. So what the records say of released identifiers is not
// believed then, as after any crash, which nobody can tell from that.

const closedSlot = 2 * headSlot

// markClosed notes that everything is on the disk and that nothing is written any more.
func (s *Store) markClosed() error {
	id, ok := s.identity()
	if !ok {
		return nil
	}
	body := binary.BigEndian.AppendUint64(nil, id)
	_, err := s.headFile.WriteAt(appendFrame(nil, s.own.salt, s.head.generation, frameClosed, body), closedSlot)
	if noSpace(err) { // HEAD is of a version before
		return nil
	}
	return firstOr(err, s.headFile.Sync())
}

// identity hashes what the file system knows of the files. It changes with each write to a
// segment.
func (s *Store) identity() (uint64, bool) {
	h := fnv.New64a()
	for _, seg := range s.segments {
		id, ok := s.disk.Identity(seg.name, true)
		if !ok {
			return 0, false
		}
		h.Write(binary.BigEndian.AppendUint64([]byte(seg.name), id))
	}
	id, ok := s.disk.Identity(headName, false) // which is yet to be written
	h.Write(binary.BigEndian.AppendUint64(nil, id))
	return h.Sum64(), ok
}

// wasClosed reports whether the files are those that markClosed has seen.
func (s *Store) wasClosed() (bool, error) {
	size, err := s.headFile.Size()
	if err != nil {
		return false, err
	}
	sc := scanner{r: s.headFile, salt: s.own.salt, off: closedSlot, end: min(size, closedSlot+headSlot)}
	f, ok, err := sc.next()
	if err != nil || !ok || f.typ != frameClosed || f.number != s.head.generation || len(f.body) != 8 {
		return false, err
	}
	id, ok := s.identity()
	return ok && id == binary.BigEndian.Uint64(f.body), nil
}

// compareClose makes the session release Packet Identifiers again before their use, unless the
// store is as a Close has left it. The record that says so goes before the first commit, and Load
// tells it already.
func (s *Store) compareClose() error {
	closed, err := s.wasClosed()
	if err != nil || closed {
		return err
	}
	seen, err := s.identifiers()
	if err != nil {
		return err
	}
	if seen.scrubbed == nil {
		return nil // none was released
	}
	s.owed = seen.release()
	s.opt.Logger.Info("wal: the store was not closed, or was copied: Packet Identifiers are released again before their use at QoS 2",
		slog.Uint64("sequence", seen.used))
	return nil
}

// identifiers collects what the store says about Packet Identifiers. Of messages it needs the keys
// only.
func (s *Store) identifiers() (seen identifiers, err error) {
	if n, ok := s.highest(byte(session.RecordPublish)); ok {
		seen.used = n + 1
	}
	for _, kind := range []session.RecordKind{session.RecordSequence, session.RecordScrubbed} {
		err := s.read([]byte{byte(kind)}, seen.see)
		if err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// identifiers is what records say about Packet Identifiers.
type identifiers struct {
	used     uint64          // the first sequence number that no record knows of
	scrubbed *session.Record // which were released; nil: none
}

func (u *identifiers) see(key, value []byte) {
	switch r, err := session.ParseRecord(key, value); {
	case err != nil: // the next client will say so
	case r.Kind == session.RecordPublish:
		u.used = max(u.used, r.Seq+1)
	case r.Kind == session.RecordSequence:
		u.used = max(u.used, r.Seq)
	case r.Kind == session.RecordScrubbed:
		u.scrubbed = &r
	}
}

// release returns the record which says that no identifier was released that is used from now on,
// so that a session releases each before it uses it. Messages that wait for that go on waiting: they
// are those from where the record before ends. Messages that may have left keep their
// identifiers.
func (u *identifiers) release() *client.Change {
	from := u.used
	if r := u.scrubbed; r != nil && r.Seq-r.Base < publishIdentifiers {
		from = min(from, r.Seq)
	}
	r := session.Record{Kind: session.RecordScrubbed, Seq: from, Base: from}
	return &client.Change{Key: r.AppendKey(nil), Value: r.AppendValue(nil)}
}

// publishIdentifiers is how many Packet Identifiers a session uses for messages: when so many were
// released, all are.
const publishIdentifiers = 32767
