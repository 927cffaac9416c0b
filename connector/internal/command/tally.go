package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/packets"
)

// A tally counts the messages of a feed. The lock of its progress guards it until the feed is over.
type tally struct {
	begun, done uint64
	skipped     uint64 // lines that are not messages
	notSent     uint64
	lost        uint64            // QoS 0 messages that may not have arrived
	open        []*client.Receipt // receipts whose outcome nobody has waited for

	total int64        // size of standard input, if it is a file
	bytes atomic.Int64 // bytes read so far
}

// add counts a message with a known outcome.
func (n *tally) add(s sent, err error) {
	switch {
	case err == nil:
		n.done++
	case errors.Is(err, client.ErrUnknown) && s.r.Err() == nil:
		n.open = append(n.open, s.r)
	case errors.Is(err, client.ErrUnknown) && s.qos == packets.AtMostOnce:
		n.lost++
	case errors.Is(err, client.ErrNotSent):
		n.notSent++
	default:
		n.open = append(n.open, s.r)
	}
}

// progress returns the line of a feed.
func (n *tally) progress(p *Program, show *status) string {
	line := ""
	if n.total > 0 {
		line = fmt.Sprintf("%d%%  ", percent(uint64(n.bytes.Load()), uint64(n.total)))
	}
	return line + fmt.Sprintf(p.Say("%d published (%d/s), %d on their way", "已发布 %d（%d/秒），待完成 %d"), n.done, show.rate(n.done), n.begun-n.done)
}

func percent(n, whole uint64) uint64 {
	if whole == 0 {
		return 100
	}
	return min(100, n*100/whole)
}

// tell prints a summary: always on a terminal, elsewhere only if the feed did not reach its end. The
// client must be closed.
func (n *tally) tell(p *Program, short bool) {
	if _, people := p.Stderr.(*terminal.Screen); !people && !short {
		return
	}
	unknown := n.lost
	for _, r := range n.open {
		select {
		case <-r.Done():
		default:
			unknown++
			continue
		}
		switch err := r.Err(); {
		case err == nil:
			n.done++
		case errors.Is(err, client.ErrNotSent):
			n.notSent++
		default:
			unknown++
		}
	}
	en, zh := grouped(n.done)+" published", "已发布 "+grouped(n.done)
	for _, c := range []struct {
		n      uint64
		en, zh string
	}{{unknown, "unknown", "结果未知"}, {n.notSent, "not sent", "未发送"}, {n.skipped, "skipped", "已跳过"}} {
		if c.n > 0 {
			en, zh = en+", "+grouped(c.n)+" "+c.en, zh+"，"+c.zh+" "+grouped(c.n)
		}
	}
	p.note(en, zh)
}

// regularSize returns how many bytes are left in a regular file; 0 if in is none.
func regularSize(in io.Reader) int64 {
	f, ok := in.(*os.File)
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	return max(0, info.Size()-at)
}
