package command

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
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

// jsonVerb finds a %j or %J that is not escaped by a percent sign.
var jsonVerb = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:[^%]|%[^jJ])*%[jJ]`) })

const verbs = "tpxXlqrmIUjJ%"

func checkFormat(format string) error {
	for i := 0; i < len(format); i++ {
		if format[i] == '\\' {
			i++
			if i == len(format) || escapes[format[i]] == "" {
				return Usage("--format: %q has a backslash without one of \\ 0 a e n r t v", "--format：%q 中的反斜杠后缺少 \\ 0 a e n r t v 之一", format)
			}
			continue
		}
		if format[i] != '%' {
			continue
		}
		i++
		if i == len(format) || !strings.ContainsRune(verbs, rune(format[i])) {
			return Usage("--format: %q has a percent sign without one of %s", "--format：%q 中的百分号后缺少 %s 之一", format, strings.Join(strings.Split(verbs, ""), " "))
		}
	}
	return nil
}

// A look says how a message is shown, apart from its format.
type look struct {
	pretty bool   // JSON is indented
	escape bool   // control characters are escaped for a terminal
	topic  string // escape sequence for the topic; may be empty
}

func formatted(format string, d *client.Delivery, now time.Time, l *look) []byte {
	return appendFormatted(nil, format, d, now, l)
}

func appendFormatted(b []byte, format string, d *client.Delivery, now time.Time, l *look) []byte {
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c != '%' && c != '\\' || i+1 == len(format) {
			b = append(b, c)
			continue
		}
		i++
		if c == '\\' {
			b = append(b, escapes[format[i]]...)
			continue
		}
		b = appendVerb(b, format[i], d, now, l)
	}
	return b
}

func appendVerb(b []byte, verb byte, d *client.Delivery, now time.Time, l *look) []byte {
	switch verb {
	case 't':
		topic := d.Topic
		if l.escape {
			topic = terminal.EscapeLine(topic)
		}
		if l.topic != "" {
			return append(append(append(b, l.topic...), topic...), terminal.Reset...)
		}
		return append(b, topic...)
	case 'p':
		if l.escape {
			return append(b, terminal.EscapeText(d.Payload)...)
		}
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
	case 'j', 'J':
		text := jsonMessage(d, now, verb == 'J')
		if l.pretty {
			var indented bytes.Buffer
			if err := json.Indent(&indented, text, "", "  "); err != nil {
				panic("mqtt311: " + err.Error()) // jsonMessage always returns valid JSON
			}
			text = indented.Bytes()
		}
		if l.escape {
			text = terminal.EscapeJSON(text)
		}
		return append(b, text...)
	case 'r':
		if d.Retain {
			return append(b, '1')
		}
		return append(b, '0')
	}
	return append(b, verb)
}

// escapes are the escape sequences of mosquitto_sub.
var escapes = map[byte]string{'\\': "\\", '0': "\x00", 'a': "\a", 'e': "\x1b", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}

// A line is a message as JSON, to which withPayload adds the payload.
type line struct {
	At        time.Time   `json:"at"`
	Topic     string      `json:"topic"`
	QoS       packets.QoS `json:"qos"`
	Retain    bool        `json:"retain"`
	Duplicate bool        `json:"duplicate"`
	MessageID uint16      `json:"messageID"`
}

// A lineOfJSON is a line whose payload is itself JSON.
type lineOfJSON struct {
	line
	Payload json.RawMessage `json:"payload"`
}

func jsonMessage(d *client.Delivery, now time.Time, nested bool) []byte {
	l := line{At: now, Topic: d.Topic, QoS: d.QoS, Retain: d.Retain, Duplicate: d.Dup, MessageID: d.PacketID}
	nested = nested && utf8.Valid(d.Payload) && json.Valid(d.Payload)
	var v any = l
	if nested {
		v = lineOfJSON{l, d.Payload}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("mqtt311: " + err.Error()) // strings, numbers and valid JSON always marshal
	}
	if nested {
		return b
	}
	return withPayload(b, d.Payload, true)
}
