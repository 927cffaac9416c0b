package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The sources of an Event.
const (
	Publisher = "publisher"
	Consumer  = "consumer"
	Broker    = "broker"
	nemesis   = "nemesis"
)

// The kinds of Events. The first are reported by the tortured processes, the next by the proxies, which decode the
// traffic, and the last by the program that controls everything.
const (
	began      = "run"        // a process started
	intend     = "intend"     // it publishes N next
	accepted   = "accepted"   // the client has accepted N
	unsent     = "unsent"     // the client says that N did not leave
	givenUp    = "given up"   // the client gave N up, for the reason in Text
	subscribed = "subscribed" // the Server has granted Filter
	noted      = "noted"      // N reached the application
	finished   = "finished"   // the acknowledgement of N is on record
	altered    = "altered"    // a message arrived that nobody published
	late       = "late"       // the call in Text took from Since to At, longer than it may
	hiccup     = "hiccup"     // the process did not run from Since to At
	drained    = "drained"    // no accepted message is unfinished
	hung       = "hung"       // the expected end did not happen, as described in Text
	died       = "died"       // the process ended by itself, for the reason in Text

	opened  = "open"    // a connection, with Session Present in N
	closed  = "close"   // of the link, by whom in Text
	sent    = "sent"    // a packet from the client, its type in Text, about N
	came    = "came"    // a packet from the broker
	silence = "silence" // the client sent nothing from Since to At

	act = "act" // the act in Text was done to Who, from At until Until
)

// An Event is a line of a history. Its times are in nanoseconds since 1970.
type Event struct {
	At    int64  `json:"at"`
	Who   string `json:"who"`
	What  string `json:"what"`
	QoS   byte   `json:"qos,omitempty"`
	N     int    `json:"n,omitempty"` // a message
	ID    uint16 `json:"id,omitempty"`
	Conn  int    `json:"conn,omitempty"` // number of the connection on a link
	Text  string `json:"text,omitempty"`
	Since int64  `json:"since,omitempty"` // of an act on the broker: it still knows what it had said until then
	Until int64  `json:"until,omitempty"`
}

// A journal records events: in a file, or only in memory. It is safe for concurrent use.
type journal struct {
	who  string
	file *os.File // nil: only memory

	mu     sync.Mutex
	events []Event
}

// write adds an event. In a process that may be killed, the event is in the file when write returns;
// a kill takes nothing that write has passed to the system.
func (j *journal) write(e Event) {
	if e.At == 0 {
		e.At = time.Now().UnixNano()
	}
	if e.Who == "" {
		e.Who = j.who
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		j.events = append(j.events, e)
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		// A line begins with its newline, so that a line cut short by a kill does not damage the next one.
		_, err = j.file.Write(append([]byte{'\n'}, line...))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "journal:", err)
		os.Exit(1)
	}
}

// all returns the events in memory.
func (j *journal) all() []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.events)
}

// A reading is the position up to which the file of a journal was read.
type reading struct {
	path   string
	offset int64
	torn   int // lines truncated by a kill
}

// more returns the events added since the last call. It leaves an incomplete last line for the next
// one.
func (r *reading) more() ([]Event, error) {
	f, err := os.Open(r.path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, r.offset, 1<<40))
	if err != nil {
		return nil, err
	}
	whole := len(text)
	if !bytes.HasSuffix(text, []byte("}")) {
		whole = bytes.LastIndexByte(text, '\n') + 1
	}
	r.offset += int64(whole)
	var events []Event
	for line := range bytes.SplitSeq(text[:whole], []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			r.torn++
			continue
		}
		events = append(events, e)
	}
	return events, nil
}

// OutTopic is the topic to which the numbers of a QoS are published.
func OutTopic(qos byte) string { return "t/" + strconv.Itoa(int(qos)) }

// Filter is what the consumer subscribes to, at QoS 2.
const Filter = "t/#"

// Payload returns the payload for a number, padded to a length that varies.
func Payload(n int) []byte {
	return fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", n*n%700))
}

// Number returns the number in a payload.
func Number(payload []byte) (int, error) {
	digits, _, _ := strings.Cut(string(payload), " ")
	return strconv.Atoi(digits)
}

// message returns which message a topic and payload belong to.
func message(topic string, payload []byte) (qos byte, n int, err error) {
	n, err = Number(payload)
	if err == nil && len(topic) == 3 && topic[:2] == "t/" && topic[2] >= '0' && topic[2] <= '2' &&
		bytes.Equal(payload, Payload(n)) {
		return topic[2] - '0', n, nil
	}
	return 0, 0, fmt.Errorf("torture: nobody published %.40q on %q", payload, topic)
}
