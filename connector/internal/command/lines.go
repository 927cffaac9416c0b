package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/jsonpath"
	"github.com/mqtt311/mqtt311/packets"
)

// longestLine limits a line of standard input: no message is longer. Tests reduce it.
var longestLine = packets.MaxRemainingLength

var errTooLong = lineFault("longer than %d bytes, which no message holds", "超过 %d 字节，任何消息都容纳不下", packets.MaxRemainingLength)

// pieces are the lines, or NUL-terminated messages, of standard input. They are read on a separate
// goroutine, because a read from a terminal cannot be interrupted, and passed on in batches of
// those that one read returned.
type pieces struct {
	next   chan []piece
	failed error // valid when next is closed
	ctx    context.Context
}

// A piece is a line of standard input, or an error about it.
type piece struct {
	text []byte
	err  error
}

func (p *Program) pieces(ctx context.Context, nul bool) *pieces {
	end := byte('\n')
	if nul {
		end = 0
	}
	s := &pieces{next: make(chan []piece), ctx: ctx}
	in := bufio.NewReaderSize(p.Stdin, 64<<10)
	go func() {
		defer close(s.next)
		for {
			text, err := readPiece(in, end)
			var batch []piece
			switch {
			case errors.Is(err, errTooLong):
				batch, err = append(batch, piece{err: err}), nil
			case text != nil:
				batch = append(batch, piece{text: text})
			}
			if err == nil {
				batch = buffered(in, end, batch)
			}
			if batch != nil {
				select {
				case s.next <- batch:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					s.failed = err
				}
				return
			}
		}
	}()
	return s
}

// readPiece reads up to end and returns the bytes before it, unaltered. The last piece may lack end,
// but one that was cut off by a read error is not returned. A piece that is too long is discarded,
// and the next call returns the piece after it.
func readPiece(in *bufio.Reader, end byte) ([]byte, error) {
	var text []byte
	tooLong := false
	for {
		part, err := in.ReadSlice(end)
		if tooLong = tooLong || len(text)+len(part) > longestLine+1; tooLong {
			text = nil
		} else {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, errTooLong
		case err == nil:
			return text[:len(text)-1], nil
		case errors.Is(err, io.EOF) && len(text) > 0:
			return text, err
		default:
			return nil, err
		}
	}
}

// buffered appends the complete pieces that are already in the buffer.
func buffered(in *bufio.Reader, end byte, batch []piece) []piece {
	text, _ := in.Peek(in.Buffered())
	whole := bytes.LastIndexByte(text, end) + 1
	text = bytes.Clone(text[:whole])
	in.Discard(whole)
	for len(text) > 0 {
		i := bytes.IndexByte(text, end)
		batch = append(batch, piece{text: text[:i:i]})
		text = text[i+1:]
	}
	return batch
}

// all yields the pieces until the input or the context ends. The yielded error concerns that piece
// only.
func (s *pieces) all(yield func([]byte, error) bool) {
	for {
		select {
		case batch, ok := <-s.next:
			if !ok {
				return
			}
			for _, piece := range batch {
				if s.ctx.Err() != nil || !yield(piece.text, piece.err) {
					return
				}
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// err returns why all ended before the input did.
func (s *pieces) err() error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return s.failed
}

// A pubLine is a message in a line of --stdin-json: the output of sub --json or mosquitto_sub -F
// %j.
type pubLine struct {
	Topic  given `json:"topic"`
	QoS    given `json:"qos"`
	Retain given `json:"retain"`
	content

	// These fields describe the message and are not published.
	At         any `json:"at"`
	Duplicate  any `json:"duplicate"`
	MessageID  any `json:"messageID"`
	Time       any `json:"tst"`
	PayloadLen any `json:"payloadlen"`
	PacketID   any `json:"mid"`
}

// messageOf makes a message from a piece of standard input.
func (o *pubOptions) messageOf(piece []byte) (client.Message, error) {
	if !o.jsonLines {
		return o.of(piece), nil
	}
	var l pubLine
	if err := decodeLine(piece, &l); err != nil {
		return client.Message{}, lineFault("not a message in JSON: %w", "不是 JSON 形式的消息：%w", err)
	}
	m := o.of(nil)
	if present(l.Topic) {
		if l.Topic[0] != '"' {
			return client.Message{}, lineFault("topic is no text", "topic 不是文本")
		}
		topic, err := jsonpath.Text(l.Topic)
		if err != nil {
			return client.Message{}, lineFault("topic %w", "topic 无法表示为 UTF-8：%w", err)
		}
		m.Topic = topic
	}
	if present(l.QoS) {
		if len(l.QoS) != 1 || l.QoS[0] < '0' || l.QoS[0] > '2' {
			return client.Message{}, lineFault("qos is 0, 1 or 2, not %.20s", "qos 应为 0、1 或 2，而不是 %.20s", l.QoS)
		}
		m.QoS = packets.QoS(l.QoS[0] - '0')
	}
	if present(l.Retain) {
		switch string(l.Retain) {
		case "true", "1":
			m.Retain = true
		case "false", "0":
			m.Retain = false
		default:
			return client.Message{}, lineFault("retain is true or false, not %.20s", "retain 应为 true 或 false，而不是 %.20s", l.Retain)
		}
	}
	if err := packets.ValidTopicName(m.Topic); err != nil {
		return client.Message{}, err
	}
	payload, _, given, err := l.bytes()
	switch {
	case err != nil:
		return client.Message{}, err
	case !given:
		return client.Message{}, lineFault(`neither payload nor payload_base64 is given: "payload": "" is an empty one`, `既没有 payload，也没有 payload_base64：空内容请写 "payload": ""`)
	}
	m.Payload = payload
	return m, nil
}
