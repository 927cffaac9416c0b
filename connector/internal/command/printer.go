package command

import (
	"io"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/packets"
)

// A printer writes messages to standard output. Messages of QoS 1 and 2 have been written when print
// returns, because they are acknowledged then. QoS 0 messages may wait for a moment, so that a flood of
// them is written in large pieces.
type printer struct {
	format string
	look   look
	always bool // every message is written when print returns

	mu   sync.Mutex // guards the following fields
	w    io.Writer
	buf  []byte
	last time.Time // when it was last written
	due  *time.Timer
	err  error
}

const (
	printLater = 5 * time.Millisecond
	mostBuffer = 64 << 10
)

// printer returns the printer for the messages.
func (o *subOptions) printer(p *Program) (*printer, error) {
	format := o.format
	look := look{pretty: o.pretty}
	var out io.Writer = &wholeWriter{w: p.Stdout}
	if s, ok := p.Stdout.(*terminal.Screen); ok {
		look.escape = !o.raw
		out = s.Raw()
	}
	switch {
	case format != "":
		if err := checkFormat(format); err != nil {
			return nil, err
		}
	case p.JSON:
		format = "%j"
	case o.verbose:
		format = "%t %p"
		if s, ok := p.Stdout.(*terminal.Screen); ok {
			look.topic = s.Sequence(terminal.Cyan)
		}
	default:
		format = "%p"
	}
	if !o.noEOL {
		format += `\n`
	}
	if o.pretty && !p.JSON && !jsonVerb().MatchString(format) {
		return nil, Usage("--pretty needs --json, or %%j or %%J in --format", "--pretty 需要 --json，或 --format 中含 %%j、%%J")
	}
	return &printer{format: format, look: look, always: o.removeRetained, w: out}, nil
}

// print prints a message. It may return the error of an earlier one.
func (p *printer) print(d *client.Delivery) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.buf = appendFormatted(p.buf, p.format, d, now, &p.look)
	if p.always || d.QoS > packets.AtMostOnce || len(p.buf) >= mostBuffer || now.Sub(p.last) >= printLater {
		p.writeLocked(now)
	} else if p.due == nil {
		p.due = time.AfterFunc(printLater, func() { p.flush() })
	}
	return p.err
}

// flush writes the buffer. It returns the first error that occurred.
func (p *printer) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeLocked(time.Now())
	return p.err
}

func (p *printer) writeLocked(now time.Time) {
	if p.due != nil {
		p.due.Stop()
		p.due = nil
	}
	if len(p.buf) > 0 && p.err == nil {
		_, p.err = p.w.Write(p.buf)
	}
	p.buf, p.last = p.buf[:0], now
	if cap(p.buf) > 16*mostBuffer {
		p.buf = nil // do not keep the buffer of a large message
	}
}
