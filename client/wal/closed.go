package wal

import (
	"encoding/binary"
	"hash/fnv"
	"log/slog"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/session"
)

// Close writes a mark into the third slot of HEAD: the generation of the head, and metadata of the
// files that a copy does not have. A store without a matching mark may have been restored from an
// older copy while the Server went on. The Server may then hold Packet Identifiers of QoS 2 that
// the store considers released, and would drop a new message as a duplicate (section 4.3.3). So the
// records of released identifiers are ignored then, as they are after a crash, which cannot be
// distinguished from this.

const closedSlot = 2 * headSlot

// markClosed records that everything is on the disk and that nothing more is written.
func (s *Store) markClosed() error {
	id, ok := s.identity()
	if !ok {
		return nil
	}
	body := binary.BigEndian.AppendUint64(nil, id)
	_, err := s.headFile.WriteAt(appendFrame(nil, s.own.salt, s.head.generation, frameClosed, body), closedSlot)
	if noSpace(err) { // HEAD was made by an older version
		return nil
	}
	return firstOr(err, s.headFile.Sync())
}

// identity returns a hash of the metadata of the files. It changes with each write to a segment.
func (s *Store) identity() (uint64, bool) {
	h := fnv.New64a()
	for _, seg := range s.segments {
		id, ok := s.disk.Identity(seg.name, true)
		if !ok {
			return 0, false
		}
		h.Write(binary.BigEndian.AppendUint64([]byte(seg.name), id))
	}
	id, ok := s.disk.Identity(headName, false) // not the content: HEAD is written later
	h.Write(binary.BigEndian.AppendUint64(nil, id))
	return h.Sum64(), ok
}

// wasClosed reports whether the files are unchanged since markClosed.
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
// store is as Close left it. The record that causes this is written with the first commit, but Load
// already returns it.
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
		return nil // no identifier was released
	}
	s.owed = seen.release()
	s.opt.Logger.Info("wal: the store was not closed, or was copied: Packet Identifiers are released again before their use at QoS 2",
		slog.Uint64("sequence", seen.used))
	return nil
}

// identifiers collects the records about Packet Identifiers. Of messages it needs only the keys.
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

// identifiers is what the records say about Packet Identifiers.
type identifiers struct {
	used     uint64          // the first sequence number that no record covers
	scrubbed *session.Record // which were released, or nil
}

func (u *identifiers) see(key, value []byte) {
	switch r, err := session.ParseRecord(key, value); {
	case err != nil: // the next client will report it
	case r.Kind == session.RecordPublish:
		u.used = max(u.used, r.Seq+1)
	case r.Kind == session.RecordSequence:
		u.used = max(u.used, r.Seq)
	case r.Kind == session.RecordScrubbed:
		u.scrubbed = &r
	}
}

// release returns a record which says that no identifier to be used from now on was released, so
// that a session releases each before it uses it. Messages that were waiting for that, which start
// where the old record ends, continue to wait. Messages that may have been sent keep their
// identifiers.
func (u *identifiers) release() *client.Change {
	from := u.used
	if r := u.scrubbed; r != nil && r.Seq-r.Base < publishIdentifiers {
		from = min(from, r.Seq)
	}
	r := session.Record{Kind: session.RecordScrubbed, Seq: from, Base: from}
	return &client.Change{Key: r.AppendKey(nil), Value: r.AppendValue(nil)}
}

// publishIdentifiers is the number of Packet Identifiers that a session uses for messages.
const publishIdentifiers = 32767
