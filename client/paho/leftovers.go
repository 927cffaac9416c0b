package paho

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// leftovers are the messages that paho.mqtt.golang left in a directory: one file per packet, named
// o.17.msg for an outgoing one with Packet Identifier 17, and i.17.msg for an incoming one.
type leftovers struct{ dir string }

// A leftover is one of those files.
type leftover struct {
	path     string
	outgoing bool
	id       uint16
	written  time.Time
}

// list returns the files in the order in which they were written.
func (l leftovers) list() ([]leftover, error) {
	if l.dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []leftover
	for _, e := range entries {
		kind, id, ok := leftoverName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		all = append(all, leftover{filepath.Join(l.dir, e.Name()), kind == "o", id, info.ModTime()})
	}
	slices.SortFunc(all, func(a, b leftover) int {
		return cmp.Or(a.written.Compare(b.written), cmp.Compare(a.id, b.id))
	})
	return all, nil
}

func leftoverName(name string) (kind string, id uint16, ok bool) {
	name, ok = strings.CutSuffix(name, ".msg")
	if !ok {
		return "", 0, false
	}
	kind, number, ok := strings.Cut(name, ".")
	n, err := strconv.ParseUint(number, 10, 16)
	return kind, uint16(n), ok && err == nil && (kind == "o" || kind == "i")
}

// drop removes the files.
func (l leftovers) drop() error {
	all, err := l.list()
	if err != nil {
		return err
	}
	return remove(all)
}

func remove(files []leftover) error {
	var errs []error
	for _, f := range files {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// takeOver publishes the leftovers with the client, which is not connected yet, and removes their
// files once they are in the store. It returns the files with a PUBREL, which are removed when the
// Server has answered it.
func (s *opened) takeOver(cl *client.Client, requests bool) (releases []leftover, err error) {
	if s == nil {
		return nil, nil
	}
	all, err := s.left.list()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), defaultTimeout)
	defer cancel()
	var taken []leftover
	var receipts []*client.Receipt
	for _, f := range all {
		p, err := f.read()
		if err != nil {
			return nil, err
		}
		if !f.outgoing { // the Server sends it again
			taken = append(taken, f)
			continue
		}
		switch p := p.(type) {
		case nil:
			continue
		case *packets.Pubrel:
			releases = append(releases, f)
			continue
		case *packets.Publish:
			if p.QoS == packets.AtMostOnce {
				break // which paho.mqtt.golang never stores
			}
			var r *client.Receipt
			r, err = cl.PublishAsync(ctx, client.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain})
			receipts = append(receipts, r)

		// These are sent only if the program requests it, as with paho.mqtt.golang.
		case *packets.Subscribe:
			if requests {
				_, err = cl.SubscribeAsync(p.Subscriptions...)
			}
		case *packets.Unsubscribe:
			if requests {
				_, err = cl.UnsubscribeAsync(p.Filters...)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("paho: taking over %s: %w", f.path, err)
		}
		taken = append(taken, f)
	}
	for _, r := range receipts {
		select {
		case <-r.Accepted():
		case <-ctx.Done():
			return nil, fmt.Errorf("paho: taking over %s: %w", s.left.dir, context.Cause(ctx))
		}
		if err := r.Err(); err != nil {
			return nil, fmt.Errorf("paho: taking over %s: %w", s.left.dir, err)
		}
	}
	logf(WARN, STR, "took over %d files in %s, and %d with a PUBREL", len(taken), s.left.dir, len(releases))
	return releases, remove(taken)
}

// read returns the packet in the file. If it is unreadable, it renames the file and returns nil.
func (f leftover) read() (packets.Packet, error) {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	p, n, err := packets.Parse(b)
	if err == nil && n != len(b) {
		err = errors.New("there is more behind the packet")
	}
	if rel, ok := p.(*packets.Pubrel); ok && rel.PacketID != f.id {
		err = fmt.Errorf("a PUBREL for %d", rel.PacketID)
	}
	if err == nil {
		return p, nil
	}
	aside := strings.TrimSuffix(f.path, ".msg") + ".CORRUPT"
	logf(ERROR, STR, "%s cannot be read, and is called %s now: %v", f.path, aside, err)
	return nil, os.Rename(f.path, aside)
}

// mostReleases is how many PUBRELs may be unanswered at a time.
const mostReleases = 100

// releaseAll completes the PUBRELs that paho.mqtt.golang left, on a separate connection, which it
// closes, because package client cannot use their Packet Identifiers. Messages of QoS 1 and 2 that
// the Server sends meanwhile are sent again on the next connection; those of QoS 0 are dropped.
func (a *attempts) releaseAll(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	files := a.releases
	r := newReleasing(conn, packets.Connect{
		ClientID: a.options.ClientID, KeepAlive: 30,
		HasUserName: a.userName != "", UserName: a.userName, HasPassword: a.password != nil, Password: a.password,
	})
	present, err := r.connect()
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(files, mostReleases) {
		if !present {
			break // the Server has no session that could contain them
		}
		if err := r.release(batch); err != nil {
			return err
		}
	}
	conn.Write([]byte{byte(packets.DISCONNECT) << 4, 0}) // this does not end the session
	a.releases = nil
	return remove(files)
}

// A releasing is the connection of releaseAll.
type releasing struct {
	conn    net.Conn
	hello   packets.Connect
	packets *packets.Reader
}

func newReleasing(conn net.Conn, hello packets.Connect) *releasing {
	return &releasing{conn, hello, packets.NewReader(conn, packets.ReaderOptions{Max: packets.MaxRemainingLength + 5})}
}

// connect sends CONNECT and returns the Session Present of the answer.
func (r *releasing) connect() (present bool, err error) {
	b, err := r.hello.AppendBinary(nil)
	if err == nil {
		_, err = r.conn.Write(b)
	}
	if err != nil {
		return false, err
	}
	p, err := r.packets.ReadPacket()
	if err != nil {
		return false, err
	}
	connack, ok := p.(*packets.Connack)
	switch {
	case !ok:
		return false, fmt.Errorf("paho: the server sent %s before CONNACK", p.Type())
	case connack.Code != packets.Accepted:
		return false, &client.RefusedError{Code: connack.Code}
	}
	return connack.SessionPresent, nil
}

// release sends a PUBREL for each file and waits for the answers.
func (r *releasing) release(files []leftover) error {
	var b []byte
	waiting := make(map[uint16]bool)
	for _, f := range files {
		b = packets.AppendAck(b, packets.PUBREL, f.id)
		waiting[f.id] = true
	}
	if _, err := r.conn.Write(b); err != nil {
		return err
	}
	for len(waiting) > 0 {
		p, err := r.packets.ReadPacket()
		if err != nil {
			return err
		}
		if answer, ok := p.(*packets.Pubcomp); ok {
			delete(waiting, answer.PacketID)
		}
	}
	return nil
}
