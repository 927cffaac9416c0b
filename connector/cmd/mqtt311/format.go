package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// shows reports whether a message is to be printed.
func (o *subOptions) shows(d *client.Delivery) bool {
	if o.noRetained && d.Retain || o.randomFilter < 100 && rand.Float64()*100 >= o.randomFilter {
		return false
	}
	for _, f := range o.filterOut {
		if packets.Match(f, d.Topic) {
			return false
		}
	}
	return true
}

// printer returns the function that prints a message.
func (o *subOptions) printer(p *program) (func(*client.Delivery) error, error) {
	format := o.format
	switch {
	case format != "":
		if err := checkFormat(format); err != nil {
			return nil, err
		}
	case p.json:
		format = "%j"
	case o.verbose:
		format = "%t %p"
	default:
		format = "%p"
	}
	if !o.noEOL {
		format += `\n`
	}
	return func(d *client.Delivery) error {
		_, err := p.stdout.Write(formatted(format, d, time.Now()))
		return err
	}, nil
}

const verbs = "tpxXlqrmIUjJ%"

func checkFormat(format string) error {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		i++
		if i == len(format) || !strings.ContainsRune(verbs, rune(format[i])) {
			return usage("--format: %q has a percent sign without one of %s", "--format：%q 中的百分号后缺少 %s 之一", format, strings.Join(strings.Split(verbs, ""), " "))
		}
	}
	return nil
}

func formatted(format string, d *client.Delivery, now time.Time) []byte {
	var b []byte
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c != '%' && c != '\\' || i+1 == len(format) {
			b = append(b, c)
			continue
		}
		i++
		if c == '\\' {
			b = append(b, escape(format[i])...)
			continue
		}
		b = appendVerb(b, format[i], d, now)
	}
	return b
}

func appendVerb(b []byte, verb byte, d *client.Delivery, now time.Time) []byte {
	switch verb {
	case 't':
		return append(b, d.Topic...)
	case 'p':
		return append(b, d.Payload...)
	case 'x':
		return hex.AppendEncode(b, d.Payload)
	case 'X':
		return append(b, bytes.ToUpper(hex.AppendEncode(nil, d.Payload))...)
	case 'l':
		return strconv.AppendInt(b, int64(len(d.Payload)), 10)
	case 'q':
		return strconv.AppendInt(b, int64(d.QoS), 10)
	case 'm':
		return strconv.AppendInt(b, int64(d.PacketID), 10)
	case 'I':
		return now.AppendFormat(b, time.RFC3339Nano)
	case 'U':
		return fmt.Appendf(b, "%d.%09d", now.Unix(), now.Nanosecond())
	case 'j':
		return append(b, jsonMessage(d, now, false)...)
	case 'J':
		return append(b, jsonMessage(d, now, true)...)
	case 'r':
		if d.Retain {
			return append(b, '1')
		}
		return append(b, '0')
	}
	return append(b, verb)
}

func escape(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'r':
		return "\r"
	case '0':
		return "\x00"
	}
	return string(c)
}

// A line is a message as JSON: payload if it is text, payload_base64 otherwise.
type line struct {
	At        time.Time   `json:"at"`
	Topic     string      `json:"topic"`
	QoS       packets.QoS `json:"qos"`
	Retain    bool        `json:"retain"`
	Duplicate bool        `json:"duplicate"`
	MessageID uint16      `json:"messageID"`
	Payload   *string     `json:"payload,omitempty"`
	Base64    []byte      `json:"payload_base64,omitempty"`
}

// A lineOfJSON is one whose payload is JSON itself.
type lineOfJSON struct {
	line
	Payload json.RawMessage `json:"payload"`
}

func jsonMessage(d *client.Delivery, now time.Time, nested bool) []byte {
	l := line{At: now, Topic: d.Topic, QoS: d.QoS, Retain: d.Retain, Duplicate: d.Dup, MessageID: d.PacketID}
	l.Payload, l.Base64 = text(d.Payload)
	var v any = l
	if nested && json.Valid(d.Payload) {
		v = lineOfJSON{l, d.Payload}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("mqtt311: " + err.Error()) // strings, numbers, bytes and valid JSON always encode
	}
	return b
}

// text divides payloads into those that are text and other bytes.
func text(payload []byte) (*string, []byte) {
	if !utf8.Valid(payload) {
		return nil, payload
	}
	s := string(payload)
	return &s, nil
}
