// Package deadletters reads the dead letter files of a connector, and records in them what was done with each dead letter.
//
// A file consists of lines of JSON. A line with an "act" is about the dead letter that it names; every other line is a dead
// letter. Existing lines are never changed, since a connector and other programs may append to the file meanwhile. The name of
// a dead letter is computed from the bytes of its line, so it is the same in a copy of the file.
package deadletters

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// An ID identifies a line: the first 64 bits of its SHA-256, displayed as 16 hexadecimal digits.
type ID uint64

func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// MarshalText implements [encoding.TextMarshaler].
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *ID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || len(text) != 16 {
		return fmt.Errorf("deadletters: %.40q is no id of 16 hexadecimal digits", text)
	}
	*id = ID(n)
	return nil
}

func lineID(line []byte) ID {
	sum := sha256.Sum256(line)
	return idOf(sum[:])
}

func idOf(sum []byte) ID { return ID(binary.BigEndian.Uint64(sum)) }

// Digest returns the digest of a payload that a connector publishes beside a dead letter topic.
func Digest(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// A Record is the line of a dead letter without its payload: the fields that a connector writes, and the
// origin of the line if something else has written it.
type Record struct {
	Time      time.Time       `json:"time"`
	Received  time.Time       `json:"received"`
	Consumer  string          `json:"consumer"`
	Topic     string          `json:"topic"`
	QoS       packets.QoS     `json:"qos"`
	MessageID uint16          `json:"messageID"`
	Key       string          `json:"key"`
	Attempts  int             `json:"attempts"`
	Error     json.RawMessage `json:"error"`            // as the connector wrote it
	Digest    string          `json:"digest,omitempty"` // of the payload, for entries written by Collect
	CopyOf    *ID             `json:"copyOf,omitempty"` // the original, if this is a copy
	Note      *ID             `json:"note,omitempty"`   // the line with its record, or with its payload
}

// Why returns the description of the error, or "".
func (r *Record) Why() string {
	var e struct{ Code, Description string }
	if json.Unmarshal(r.Error, &e) != nil {
		return ""
	}
	if e.Description == "" {
		return e.Code
	}
	return e.Description
}

// An Act is what was done with a dead letter, or what is known about one that has not arrived.
type Act string

// The acts.
const (
	Replayed Act = "replayed"
	Removed  Act = "removed"
	Noted    Act = "noted" // the record of a dead letter that has not arrived yet; see Collect
)

// A line has the fields of all kinds of lines.
type line struct {
	Act    Act     `json:"act"`
	Of     *ID     `json:"of"`
	Noted  *Record `json:"record"`
	Record         // for a line without an act
}

// An actLine is a line with an act. The order of its fields is that in the file.
type actLine struct {
	Act  Act       `json:"act"`
	Time time.Time `json:"time"`
	Of   *ID       `json:"of,omitempty"`
	How  string    `json:"how,omitempty"`    // for the user: to where it was replayed
	Note *Record   `json:"record,omitempty"` // with the act Noted
}

var errNoLetter = errors.New("it is no dead letter: it has neither an act nor a topic")

func parse(head []byte) (*line, error) {
	var l line
	if err := json.Unmarshal(head, &l); err != nil {
		return nil, err
	}
	switch {
	case l.Act == Noted && l.Noted == nil, (l.Act == Replayed || l.Act == Removed) && l.Of == nil:
		return nil, fmt.Errorf("the act %q does not say of what", l.Act)
	case l.Act == "" && l.Topic == "":
		return nil, errNoLetter
	}
	return &l, nil
}
