package jetstream

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// The limits of a subject: one that is longer or has more levels is replaced by a hash. A
// nats-server accepts lines of at most 4,096 bytes, including the subject.
const (
	maxSubject = 1024
	maxLevels  = 64
)

// hashed is the prefix of a hash. It cannot be an escaped level of a topic, in which % is followed
// by two hexadecimal digits or nothing.
const hashed = "%h"

const hexDigits = "0123456789ABCDEF"

// appendEscaped appends s, with each byte for which passes is false written as % and two
// hexadecimal digits.
func appendEscaped(b []byte, s string, passes func(c byte) bool) []byte {
	for i := range len(s) {
		if c := s[i]; c != '%' && passes(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}

// unescape is the inverse of appendEscaped. It returns false if s is not the result of that.
func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		var c [1]byte
		if _, err := hex.Decode(c[:], []byte(s[i+1:i+3])); err != nil {
			return "", false
		}
		b.WriteByte(c[0])
		i += 2
	}
	return b.String(), true
}

// inSubject reports whether a byte may be in a token of a subject unescaped: printable ASCII
// without characters special to NATS.
func inSubject(c byte) bool { return c > ' ' && c < 0x7F && c != '.' && c != '*' && c != '>' }

// TopicSubject returns the part of a subject that stands for a Topic Name, with one token for each
// level. Bytes that are invalid in a token are written as % and two hexadecimal digits, and an
// empty level as % alone. So different topics have different subjects, and NATS wildcards select
// the same topics as MQTT wildcards. If the subject would be longer than servers accept, it is
// %h.HASH, with the SHA-256 of the topic.
func TopicSubject(topic string) string {
	if strings.Count(topic, "/") < maxLevels {
		b := make([]byte, 0, len(topic)+16)
		for level := range strings.SplitSeq(topic, "/") {
			if len(b) > 0 {
				b = append(b, '.')
			}
			if level == "" {
				b = append(b, '%')
			}
			b = appendEscaped(b, level, inSubject)
		}
		if len(b) <= maxSubject {
			return string(b)
		}
	}
	sum := sha256.Sum256([]byte(topic))
	return hashed + "." + hex.EncodeToString(sum[:])
}

// SubjectTopic is the inverse of TopicSubject. ok is false if the Topic Name is unknown, because
// the subject is a hash or was not made by TopicSubject.
func SubjectTopic(subject string) (topic string, ok bool) {
	if subject == "" || strings.HasPrefix(subject, hashed) {
		return "", false
	}
	var levels []string
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" {
			return "", false
		}
		if token == "%" {
			token = ""
		}
		level, ok := unescape(token)
		if !ok {
			return "", false
		}
		levels = append(levels, level)
	}
	topic = strings.Join(levels, "/")
	return topic, TopicSubject(topic) == subject
}
