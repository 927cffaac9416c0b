package command

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector/internal/jsonpath"
)

// A content is the payload in a line of JSON, in an answer of a co-process or on standard input.
// The same rule holds for both keys: null is the same as leaving the key out; "" is an empty
// payload.
type content struct {
	Payload given `json:"payload"`
	Base64  given `json:"payload_base64"`
}

// A given is a JSON value, unparsed. A key that occurs twice is refused, since nobody knows which value is meant.
type given []byte

var errTwice = errors.New("a key is there twice")

// UnmarshalJSON stores the value.
func (g *given) UnmarshalJSON(b []byte) error {
	if *g != nil {
		return errTwice
	}
	*g = bytes.Clone(b)
	return nil
}

const mimeJSON = "application/json"

// bytes returns the payload: the value of a string, or the text of any other JSON. given is false if the line has
// neither key.
func (c *content) bytes() (payload []byte, mimeType string, given bool, err error) {
	text, binary := present(c.Payload), present(c.Base64)
	switch {
	case text && binary:
		return nil, "", false, lineFault("payload and payload_base64 are both given: leave one out", "同时给出了 payload 和 payload_base64：请只保留一个")
	case binary:
		var s string
		if err := json.Unmarshal(c.Base64, &s); err != nil {
			return nil, "", false, lineFault("payload_base64 is no text", "payload_base64 不是文本")
		}
		if payload, err = base64.StdEncoding.DecodeString(s); err != nil {
			return nil, "", false, lineFault("payload_base64: %w", "payload_base64 不是合法的 Base64：%w", err)
		}
		return payload, "", true, nil
	case !text:
		return nil, "", false, nil
	case c.Payload[0] != '"':
		return c.Payload, mimeJSON, true, nil
	}
	s, err := jsonpath.Text(c.Payload)
	if err != nil {
		return nil, "", false, lineFault("payload %w; payload_base64 takes any bytes", "payload 无法表示为 UTF-8：%w；payload_base64 可容纳任意字节", err)
	}
	return []byte(s), "", true, nil
}

func present[T ~[]byte](v T) bool { return len(v) > 0 && !bytes.Equal(v, []byte("null")) }

// lineFault returns an error, in both languages, about a line of standard input.
func lineFault(en, zh string, args ...any) error { return Fail(ExitPublish, en, zh, args...) }

// decodeLine decodes a line, which must hold a single object, into v, and keeps numbers as they are
// written.
func decodeLine(line []byte, v any) error {
	if !utf8.Valid(line) {
		return lineFault("not UTF-8: payload_base64 takes any bytes", "不是 UTF-8 编码：payload_base64 可容纳任意字节")
	}
	line = bytes.TrimPrefix(line, []byte("\ufeff"))
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return lineFault("%w", "不是合法的 JSON，或含有未知的键：%w", err)
	}
	if rest := bytes.TrimSpace(line[d.InputOffset():]); len(rest) > 0 {
		return lineFault("something follows the object: %.40q", "对象之后还有内容：%.40q", rest)
	}
	return nil
}
