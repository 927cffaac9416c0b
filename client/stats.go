package client

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// Counters count what happened since New.
type Counters struct {
	Received   uint64 // incoming messages, delivered or dropped
	Dropped    uint64 // incoming QoS 0 messages that gave way in a full inbox
	Skipped    uint64 // incoming messages that were too large: see Config.SkipOversize
	Malformed  uint64 // incoming messages that were skipped for their topic: see Config.SkipMalformed
	Unmatched  uint64 // incoming messages that no handler matches; acknowledged
	Reconnects uint64
	Writes     uint64        // to Network Connections
	Pauses     uint64        // of reading
	PausedFor  time.Duration // how long they lasted; the one that lasts is not in it
	Faults     uint64        // connections that ended over a packet that cannot be read

	Attempts  uint64 // to connect
	Connects  uint64 // of those, accepted by the Server
	Resumed   uint64 // of those, with Session Present 1
	Failures  uint64 // attempts that ended otherwise
	Refused   uint64 // of those, by CONNACK
	Takeovers uint64 // suspicions that another client has our ClientID

	PacketsSent     PacketCounts // written to Network Connections
	PacketsReceived PacketCounts
	BytesSent       uint64 // written to Network Connections
	BytesReceived   uint64 // read from them

	Unheard         uint64 // messages that ended with an error that nobody waits for: see Enqueue
	OverlongLengths uint64 // Remaining Lengths with more bytes than they need; tolerated
}

// PacketCounts are numbers of packets, by packets.Type.
type PacketCounts [16]uint64

// String returns the counts that are not zero, as "CONNECT 1, PUBLISH 20".
func (p PacketCounts) String() string {
	var parts []string
	for t, n := range p {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%v %d", packets.Type(t), n))
		}
	}
	return strings.Join(parts, ", ")
}

// Stats are what was counted, and what there is now.
type Stats struct {
	Counters

	EventsDropped uint64 // that Config.OnEvent was not told about, because it does not keep up
	TracesDropped uint64 // and Config.Trace

	InboxMessages   int // received and not yet taken
	InboxBytes      int
	Unfinished      int // outgoing messages of QoS 1 and 2
	UnfinishedBytes int

	// StoreWaits is for how long Config.Store has not answered a call; 0 if none has run for a second.
	// What has to be on record first waits as long. A disk that hangs or is full is told from that.
	StoreWaits time.Duration

	Session session.Counters
}

// Stats returns the counts as of now.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Counters: c.stats, Session: c.sess.Counters()}
	s.InboxMessages, s.InboxBytes = c.delivery.inbox.len(), c.delivery.inbox.bytes
	s.Unfinished, s.UnfinishedBytes = c.sess.Unfinished()
	if d := c.saver.waited(time.Now()); d >= time.Second {
		s.StoreWaits = d
	}
	if c.link != nil {
		s.BytesReceived += c.link.received.Load()
	}
	s.EventsDropped, s.TracesDropped = c.events.lost(), c.traces.lost()
	return s
}

// String returns what is not zero, by the names of the fields, as
// "Received 7, Connects 1, PacketsSent (CONNECT 1, PUBACK 7)".
func (s Stats) String() string { return strings.Join(appendNonZero(nil, reflect.ValueOf(s)), ", ") }

func appendNonZero(parts []string, v reflect.Value) []string {
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		_, printable := field.Interface().(fmt.Stringer)
		switch {
		case field.IsZero():
		case field.Kind() == reflect.Array:
			parts = append(parts, fmt.Sprintf("%s (%v)", name, field))
		case field.Kind() == reflect.Struct && !printable:
			parts = appendNonZero(parts, field)
		default:
			parts = append(parts, fmt.Sprintf("%s %v", name, field))
		}
	}
	return parts
}
