package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// A pipeAnswer is the answer of a co-process to a message.
type pipeAnswer struct {
	id        string
	ok        bool
	reason    string
	permanent bool
	content

	err error // why the answer is invalid
}

// parseAnswer parses a line of a co-process. A JSON object with id and ok is an answer. An answer with an invalid
// value fails its message; any other line is not an answer.
func parseAnswer(line []byte) (pipeAnswer, bool) {
	line = bytes.TrimPrefix(line, []byte("\ufeff"))
	var l struct {
		ID        json.RawMessage `json:"id"`
		OK        json.RawMessage `json:"ok"`
		Error     json.RawMessage `json:"error"`
		Permanent json.RawMessage `json:"permanent"`
		content
	}
	if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) {
		return pipeAnswer{}, false
	}
	if err := json.Unmarshal(line, &l); err != nil {
		id, ok := brokenAnswer(line)
		return pipeAnswer{id: id, err: fmt.Errorf("pipe: the answer is no JSON: %w", err)}, ok
	}
	a := pipeAnswer{id: plainText(l.ID), reason: plainText(l.Error), permanent: string(l.Permanent) == "true", content: l.content}
	switch string(l.OK) {
	case "true":
		a.ok = true
	case "false":
	default:
		a.err = fmt.Errorf("pipe: the answer: ok is %.40s, and has to be true or false", l.OK)
	}
	return a, a.id != "" && len(l.OK) > 0
}

// brokenAnswer finds the id in a line that begins like an answer but is not JSON, for example because it
// contains NaN.
func brokenAnswer(line []byte) (id string, ok bool) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	d.Token() // the opening brace
	for d.More() {
		name, err := d.Token()
		if err != nil {
			break
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			break
		}
		switch name {
		case "id":
			id = plainText(value)
		case "ok":
			ok = true
		}
	}
	return id, ok && id != ""
}

// plainText returns the text of a JSON string, nothing for null, and any other JSON unchanged.
func plainText(v json.RawMessage) string {
	var s string
	switch {
	case !present(v):
		return ""
	case json.Unmarshal(v, &s) == nil:
		return s
	}
	return string(v)
}

// message returns the result that an answer gives for a message.
func (a *pipeAnswer) message(m *flow.Message) (*flow.Message, error) {
	switch {
	case !a.ok && a.reason == "":
		a.reason = "the process gave no reason"
		fallthrough
	case !a.ok:
		err := errors.New("pipe: " + firstLine(a.reason))
		if a.permanent {
			return nil, flow.Permanent(err)
		}
		return nil, err
	}
	switch payload, mimeType, given, err := a.bytes(); {
	case err != nil:
		return nil, fmt.Errorf("pipe: the answer: %w", err)
	case !given:
		return m, nil
	default:
		return with(m, payload, mimeType), nil
	}
}
