package client

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// Counters count events since New.
type Counters struct {
	Received   uint64        // incoming messages, delivered or dropped
	Dropped    uint64        // incoming QoS 0 messages dropped because the inbox was full
	Skipped    uint64        // incoming messages skipped because of their size: see Config.SkipOversize
	Malformed  uint64        // incoming messages skipped because of their topic: see Config.SkipMalformed
	Unmatched  uint64        // incoming messages that matched no handler and were acknowledged
	Reconnects uint64        // connections accepted after the first
	Writes     uint64        // writes to Network Connections; one may carry many packets
	Pauses     uint64        // pauses of reading because the inbox was full
	PausedFor  time.Duration // total length of the pauses that have ended
	Faults     uint64        // connections ended because of a malformed or too large packet

	Attempts  uint64 // attempts to connect
	Connects  uint64 // attempts accepted by the Server
	Resumed   uint64 // connects with Session Present 1
	Failures  uint64 // attempts that failed
	Refused   uint64 // failed attempts refused by CONNACK
	Takeovers uint64 // times that another client seemed to use our ClientID

	PacketsSent     PacketCounts // written to Network Connections
	PacketsReceived PacketCounts
	BytesSent       uint64 // written to Network Connections
	BytesReceived   uint64 // read from Network Connections

	Unheard         uint64 // failed messages without a caller to report it to: see Enqueue
	OverlongLengths uint64 // received packets whose Remaining Length has more bytes than needed; tolerated
}

// PacketCounts are numbers of packets, indexed by packets.Type.
type PacketCounts [16]uint64

// String returns the counts that are not zero, as in "CONNECT 1, PUBLISH 20".
func (p PacketCounts) String() string {
	var parts []string
	for t, n := range p {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%v %d", packets.Type(t), n))
		}
	}
	return strings.Join(parts, ", ")
}

// Stats are the Counters and the current state of a Client.
type Stats struct {
	Counters

	EventsDropped uint64 // events dropped because Config.OnEvent did not keep up
	TracesDropped uint64 // packets dropped because Config.Trace did not keep up

	InboxMessages   int // messages received and not yet taken by the application
	InboxBytes      int // of their topics and payloads
	Unfinished      int // outgoing messages of QoS 1 and 2 that are not finished
	UnfinishedBytes int // of their topics and payloads

	// StoreWaits is how long the current call of Config.Store has been running, or 0 if that is
	// less than a second. Everything that must be stored first waits meanwhile. A large value means
	// that the disk hangs or is full.
	StoreWaits time.Duration

	Session session.Counters
}

// Stats returns the current statistics.
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

// String returns the fields that are not zero, as in "Received 7, Connects 1, PacketsSent (CONNECT
// 1, PUBACK 7)".
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
