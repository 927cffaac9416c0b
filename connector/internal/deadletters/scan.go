package deadletters

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// mostHead limits the length of a line without its payload: topics and errors are far shorter.
const mostHead = 1 << 20

var errLongHead = fmt.Errorf("it has more than %d bytes beside its payload", mostHead)

// A span is the position of a line in a file.
type span struct {
	at, size int64 // without the line end
	id       ID
	head     []byte // the line with an empty payload
	payload  payloadSpan
	long     bool // head is truncated
}

// A payloadSpan is the position of the payload of a line, in base64; size is -1 if there is none.
type payloadSpan struct {
	at, size int64
	pad      int  // number of = at its end
	escaped  bool // contains JSON escapes
}

// errUnfinished means that the last line is incomplete: it is being written, or was cut off.
var errUnfinished = errors.New("deadletters: the last line has no end")

// A scanner divides a file into lines. It does not hold payloads, which may be arbitrarily long.
type scanner struct {
	r    *bufio.Reader
	at   int64 // of the next byte
	hash hash.Hash
}

func newScanner(r io.Reader, at int64) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, 64<<10), at: at, hash: sha256.New()}
}

// next returns the next line, io.EOF after the last one, or errUnfinished if the last one is
// incomplete.
func (s *scanner) next() (span, error) {
	c := cutter{span: span{at: s.at, payload: payloadSpan{size: -1}}}
	s.hash.Reset()
	for {
		piece, err := s.r.ReadSlice('\n')
		at := s.at
		s.at += int64(len(piece))
		whole := err == nil
		if whole {
			piece = piece[:len(piece)-1]
		}
		s.hash.Write(piece)
		c.write(piece, at)
		switch {
		case whole:
			c.span.size = s.at - 1 - c.span.at
			c.span.id = idOf(s.hash.Sum(nil))
			return c.span, nil
		case err == io.EOF && s.at > c.span.at:
			return span{}, errUnfinished
		case err != bufio.ErrBufferFull:
			return span{}, err
		}
	}
}

// A cutter parses the JSON of a line just far enough to find the payload of the outermost object and
// leave it out of the head.
type cutter struct {
	span    span
	depth   int
	quoted  bool   // within a string
	escape  bool   // the previous byte was a backslash in a string
	cutting bool   // that string is the payload
	text    []byte // the last string at depth 1, as far as it matters
	value   bool   // text is a key, and its value follows
}

const payloadKey = "payload"

func (c *cutter) write(b []byte, at int64) {
	for i := 0; i < len(b); i++ {
		if c.cutting {
			if i += c.skip(b[i:]); i == len(b) {
				return
			}
		}
		c.step(b[i], at+int64(i))
		if len(c.span.head) < mostHead {
			c.span.head = append(c.span.head, b[i])
		} else {
			c.span.long = true
		}
	}
}

// skip returns how many bytes of b belong to the payload.
func (c *cutter) skip(b []byte) int {
	n, p := 0, &c.span.payload
	for n < len(b) {
		if c.escape {
			c.escape = false
			n++
			continue
		}
		k := bytes.IndexAny(b[n:], `"\\`)
		if k < 0 {
			n = len(b)
			break
		}
		n += k
		if b[n] == '"' {
			c.cutting = false
			break
		}
		p.escaped, c.escape = true, true
		n++
	}
	p.size += int64(n)
	if pad := n - len(bytes.TrimRight(b[:n], "=")); pad < n {
		p.pad = pad
	} else {
		p.pad += pad
	}
	return n
}

// step processes a byte outside of the payload.
func (c *cutter) step(b byte, at int64) {
	switch {
	case c.escape:
		c.escape = false
	case c.quoted && b == '\\':
		c.escape = true
	case c.quoted && b == '"':
		c.quoted = false
	case c.quoted:
		if c.depth == 1 && len(c.text) <= len(payloadKey) {
			c.text = append(c.text, b)
		}
	case b == '"':
		if c.depth == 1 && c.value && string(c.text) == payloadKey {
			c.span.payload = payloadSpan{at: at + 1}
			c.cutting = true
		}
		c.quoted, c.value, c.text = true, false, c.text[:0]
	case b == ':':
		c.value = true
	case b == ',':
		c.value = false
	case b == '{' || b == '[':
		c.depth++
		c.value = false
	case b == '}' || b == ']':
		c.depth--
	}
}
