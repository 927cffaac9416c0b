package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector/internal/jsonpath"
)

// content is the payload in a line of JSON, of an answer of a co-process or of standard input. One
// rule holds for both keys: null is the same as leaving the key out; "" is an empty payload.
type content struct {
	Payload json.RawMessage `json:"payload"`
	Base64  json.RawMessage `json:"payload_base64"`
}

const mimeJSON = "application/json"

// bytes returns the payload: of a text what it says, of any other JSON what is written. given is false
// if the line has none.
func (c *content) bytes() (payload []byte, mimeType string, given bool, err error) {
	text, binary := present(c.Payload), present(c.Base64)
	switch {
	case text && binary:
		return nil, "", false, errors.New("payload and payload_base64 are both given: leave one out")
	case binary:
		var s string
		if err := json.Unmarshal(c.Base64, &s); err != nil {
			return nil, "", false, errors.New("payload_base64 is no text")
		}
		if payload, err = base64.StdEncoding.DecodeString(s); err != nil {
			return nil, "", false, fmt.Errorf("payload_base64: %w", err)
		}
		return payload, "", true, nil
	case !text:
		return nil, "", false, nil
	case c.Payload[0] != '"':
		return c.Payload, mimeJSON, true, nil
	}
	s, err := jsonpath.Text(c.Payload)
	if err != nil {
		return nil, "", false, fmt.Errorf("payload %w; payload_base64 takes any bytes", err)
	}
	return []byte(s), "", true, nil
}

func present(v json.RawMessage) bool { return len(v) > 0 && !bytes.Equal(v, []byte("null")) }

// decodeLine reads the one object of a line into v, numbers as they are written.
func decodeLine(line []byte, v any) error {
	if !utf8.Valid(line) {
		return errors.New("not UTF-8: payload_base64 takes any bytes")
	}
	line = bytes.TrimPrefix(line, []byte("\ufeff"))
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if rest := bytes.TrimSpace(line[d.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("something follows the object: %.40q", rest)
	}
	return nil
}
