package client

import "github.com/mqtt311/mqtt311/session"

// Stats count what happened since New.
type Stats struct {
	Received   uint64 // incoming messages, delivered or dropped
	Dropped    uint64 // incoming QoS 0 messages that gave way in a full inbox
	Unmatched  uint64 // incoming messages that no handler matches; acknowledged
	Reconnects uint64
	Writes     uint64 // to Network Connections
	Pauses     uint64 // of reading
	Faults     uint64 // connections that ended over a packet that cannot be read

	OverlongLengths uint64 // Remaining Lengths with more bytes than they need; tolerated
	EventsDropped   uint64 // that Config.OnEvent was not told about, because it does not keep up
	TracesDropped   uint64 // and Config.Trace

	InboxMessages   int // received and not yet taken
	InboxBytes      int
	Unfinished      int // outgoing messages of QoS 1 and 2
	UnfinishedBytes int

	Session session.Counters
}

// Stats returns the counts as of now.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.InboxMessages, s.InboxBytes = c.inbox.len(), c.inbox.bytes
	s.Unfinished, s.UnfinishedBytes = c.sess.Unfinished()
	s.Session = c.sess.Counters()
	s.EventsDropped, s.TracesDropped = c.events.lost(), c.traces.lost()
	return s
}
