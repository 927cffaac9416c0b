package connector

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/lines"
)

// oversizeChunk is how much of an oversize message is in memory at a time.
const oversizeChunk = 64 << 10

// takeOversize puts a message larger than max_packet_size into its dead letter file, if there is
// one: see client.Config.TakeOversize. Another goroutine writes to the disk, so that a disk that
// hangs does not prevent stopping.
func (c *Connector) takeOversize(ctx context.Context, m *client.IncomingError, payload io.Reader) (bool, error) {
	consumer, f := c.oversizePlace(m)
	if f == nil || f.DeadLetterMaxOversize != nil && m.Size > *f.DeadLetterMaxOversize {
		return false, nil
	}
	select {
	case c.spooling <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	from, to := io.Pipe()
	defer context.AfterFunc(ctx, func() { from.CloseWithError(context.Cause(ctx)) })()
	put, record := make(chan error, 1), c.oversizeRecord(consumer, m)
	go func() {
		defer func() { <-c.spooling }()
		err := c.putOversize(f.DeadLetterFile, record, from)
		from.CloseWithError(err)
		put <- err
	}()
	err := hand(to, payload)
	to.CloseWithError(err)
	if err != io.EOF && err != io.ErrClosedPipe {
		return false, err
	}
	select {
	case err = <-put:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	if err == nil {
		c.stats.deadLettered.Add(1)
		return true, nil
	}
	c.numbers.deadLettersRefused.Add(1)
	return false, flow.NewError(flow.TypeDeadLetter, fmt.Errorf("a message on %s (%s, id %d) of %d bytes cannot be put into %s: %w",
		shownTopic(m.Topic), qosNames[m.QoS], m.PacketID, m.Size, f.DeadLetterFile, err))
}

// hand copies a payload to a pipe, and returns why that ended: io.EOF, another error of the
// payload, or io.ErrClosedPipe if the reader has stopped.
func hand(to *io.PipeWriter, payload io.Reader) error {
	buf := make([]byte, oversizeChunk)
	for {
		n, err := payload.Read(buf)
		if _, closed := to.Write(buf[:n]); closed != nil {
			return io.ErrClosedPipe
		}
		if err != nil {
			return err
		}
	}
}

// oversizePlace returns the policy whose dead letter file an oversize message goes to, and its
// consumer, or nil if there is none.
func (c *Connector) oversizePlace(m *client.IncomingError) (consumer string, f *OnFailure) {
	s := c.now()
	takers, skipped := s.takers(&client.Delivery{Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, Dup: m.Dup, PacketID: m.PacketID}, nil)
	if len(takers) == 0 && !skipped && s.stray.taker != nil && !c.unmatched.hasGivenUp(m.Topic) {
		takers = []route{*s.stray.taker}
	}
	for _, r := range takers {
		if f := &r.consumer.now().params.OnFailure; f.DeadLetterFile != "" {
			return r.name, f
		}
	}
	return "", nil
}

func (c *Connector) oversizeRecord(consumer string, m *client.IncomingError) *DeadLetterRecord {
	now := time.Now()
	why := c.notAccepted(&client.IncomingError{Topic: m.Topic, QoS: m.QoS, PacketID: m.PacketID, Size: m.Size, Taken: true, Err: m.Err}, 1)
	return &DeadLetterRecord{
		Time: now, Received: now, Consumer: consumer, Topic: m.Topic, QoS: m.QoS, MessageID: m.PacketID, Error: c.shown(why),
	}
}

// putOversize appends a record with a payload of any size to a file. The payload is first received
// into an unlinked temporary file in the same folder, because the connection may be slow or end,
// and other dead letters must not wait for it.
func (c *Connector) putOversize(path string, record *DeadLetterRecord, payload io.Reader) error {
	head, err := json.Marshal(record)
	if err != nil {
		return err
	}
	spool, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".oversize-*")
	if err != nil {
		return err
	}
	removed := os.Remove(spool.Name()) == nil
	defer func() {
		spool.Close()
		if !removed { // some systems cannot remove open files
			os.Remove(spool.Name())
		}
	}()
	buf := make([]byte, oversizeChunk)
	if _, err := io.CopyBuffer(struct{ io.Writer }{spool}, payload, buf); err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	c.files.Lock()
	defer c.files.Unlock()
	return lines.Append(path, func(w io.Writer) error {
		if _, err := w.Write(append(head[:len(head)-1], `,"payload":"`...)); err != nil {
			return err
		}
		text := base64.NewEncoder(base64.StdEncoding, w)
		if _, err := io.CopyBuffer(struct{ io.Writer }{text}, struct{ io.Reader }{spool}, buf); err != nil {
			return err
		}
		if err := text.Close(); err != nil {
			return err
		}
		_, err := io.WriteString(w, `"}`)
		return err
	})
}
