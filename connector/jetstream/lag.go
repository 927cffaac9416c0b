package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Lag asks the server for the messages that a group of workers has not done yet. Without
// Config.Keep that is [Stream.Backlog], because messages that are done are removed from the stream.
// With Config.Keep, partitions that never had an owner are not counted, and Bytes is 0.
func (s *Stream) Lag(ctx context.Context, group string) (Backlog, error) {
	if s.cfg.Keep == 0 {
		return s.Backlog(ctx)
	}
	var b Backlog
	first := make(map[string]uint64) // by subjects: the number before the first message that is not done
	list := s.stream.ListConsumers(ctx)
	for info := range list.Info() {
		if !strings.HasPrefix(info.Name, group+"-") {
			continue
		}
		n := info.NumPending + uint64(info.NumAckPending)
		if b.Messages += n; n > 0 {
			first[info.Config.FilterSubject] = info.AckFloor.Stream
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return Backlog{}, fmt.Errorf("jetstream: stream %s: %w", s.cfg.Name, err)
	}
	for subject, done := range first {
		m, err := s.stream.GetMsg(ctx, done+1, jetstream.WithGetMsgSubject(subject))
		if err == nil && (b.Oldest.IsZero() || m.Time.Before(b.Oldest)) {
			b.Oldest = m.Time
		}
	}
	return b, nil
}

// Owners asks the server for the current owners. It returns the names of the processes by share.
func (ls *Leases) Owners(ctx context.Context) (map[int]string, error) {
	ctx, cancel := context.WithTimeout(ctx, ls.cfg.TTL)
	defer cancel()
	w, err := ls.kv.Watch(ctx, ls.cfg.Group+".share.*", jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("jetstream: bucket %s: %w", ls.cfg.Bucket, err)
	}
	defer w.Stop()
	owners := make(map[int]string)
	for {
		select {
		case e := <-w.Updates():
			if e == nil { // these were all
				return owners, nil
			}
			var i int
			if _, err := fmt.Sscanf(strings.TrimPrefix(e.Key(), ls.cfg.Group+".share."), "%d", &i); err == nil {
				_, name, _ := strings.Cut(string(e.Value()), " ")
				owners[i] = name
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("jetstream: bucket %s: %w", ls.cfg.Bucket, ctx.Err())
		}
	}
}

// Count returns the number of shares.
func (ls *Leases) Count() int { return ls.cfg.Count }
