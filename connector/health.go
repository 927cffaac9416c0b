package connector

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
)

type counters struct {
	unmatched, skipped         atomic.Uint64
	succeeded, failed, retries atomic.Uint64
	uncharged                  atomic.Uint64
	acknowledged, stale        atomic.Uint64
	adopted                    atomic.Uint64
	dropped, deadLettered      atomic.Uint64
	published, publishFailed   atomic.Uint64
	running                    atomic.Int64
}

// Health is the state of a connector. Counts are since New.
type Health struct {
	State          client.State `json:"-"`
	Connected      bool         `json:"connected"`  // including the producers' own connection, if there is one
	Subscribed     bool         `json:"subscribed"` // whether every topic is granted; true if there are none
	Stalled        bool         `json:"stalled"`    // whether a message has been unacknowledged for longer than stall_timeout
	Problem        *flow.Error  `json:"problem"`    // of the connection; nil while it is up
	RefusedFilters []string     `json:"refused_filters,omitempty"`

	// UngrantedFilters are the wanted filters for which the server has not answered a SUBSCRIBE on
	// this connection.
	UngrantedFilters []string `json:"ungranted_filters,omitempty"`

	Received      uint64        `json:"received"`  // messages taken from the connection
	Unmatched     uint64        `json:"unmatched"` // messages that matched no consumer
	Skipped       uint64        `json:"skipped"`   // acknowledged without a flow: because of Partition or Retained, or the topic is no longer wanted
	Succeeded     uint64        `json:"succeeded"` // runs of flows that succeeded
	Failed        uint64        `json:"failed"`    // runs of flows that failed
	Uncharged     uint64        `json:"uncharged"` // failed runs that did not count as an attempt of the message
	Retries       uint64        `json:"retries"`
	Acknowledged  uint64        `json:"acknowledged"` // messages of QoS 1 and 2
	Stale         uint64        `json:"stale"`        // messages that were settled after their session was lost
	Adopted       uint64        `json:"adopted"`      // messages that an earlier process had settled; acknowledged without a run
	Dropped       uint64        `json:"dropped"`
	DeadLettered  uint64        `json:"dead_lettered"`
	Published     uint64        `json:"published"` // messages published by producers
	PublishFailed uint64        `json:"publish_failed"`
	Running       int64         `json:"running"`        // flows that are running
	Unacked       int           `json:"unacked"`        // messages that were taken and are not settled
	OldestUnacked time.Duration `json:"oldest_unacked"` // age of the oldest of them
	Client        client.Stats  `json:"-"`

	ReceivedBy         [3][2][2]uint64 `json:"-"`                    // Received, by QoS, DUP (0 or 1) and retained (0 or 1)
	FlowTime           Histogram       `json:"-"`                    // durations of the runs that have ended
	TimedOut           uint64          `json:"timed_out"`            // failed runs that exceeded flow_timeout
	Panicked           uint64          `json:"panicked"`             // failed runs that panicked
	DeadLettersRefused uint64          `json:"dead_letters_refused"` // failed attempts to put away a dead letter
	Publishing         int64           `json:"publishing"`           // messages of producers that are not finished
	PublishedBy        [3]Publishes    `json:"-"`                    // results of published messages, by QoS
	CertificatesExpire time.Time       `json:"-"`                    // when the first certificate of the server expires; zero without TLS

	// UnmatchedTopic is the topic of a message that arrived in the last minute and matched no
	// consumer, if Extension.Unmatched is not set. The connector is not ready then.
	UnmatchedTopic string `json:"unmatched_topic,omitempty"`

	// Oversize and Malformed count messages that were not accepted because they are larger than
	// max_packet_size or their topic is malformed, on all connections. Unacceptable describes the
	// latest of them on the main connection.
	Oversize     uint64      `json:"oversize"`
	Malformed    uint64      `json:"malformed"`
	Unacceptable *flow.Error `json:"unacceptable,omitempty"`
	// Connections has the state of the connections of Config.Connections, by name. They do not
	// affect Ready.
	Connections map[string]ConnectionHealth `json:"connections,omitempty"`
	// Stored is the number of messages of QoS 1 and 2 in session stores that the Server has not
	// acknowledged. It includes those of earlier processes; after Stop, it is the number of
	// messages that the next process will publish.
	Stored int `json:"stored"`
	// StoreWaits is how long the session store has been waiting for its disk, which hangs or is
	// full; see [client.Stats]. The connector is not ready if it is more than five seconds. Stores
	// of Config.Connections do not count.
	StoreWaits time.Duration `json:"store_waits"`
	// Restart lists the settings that Reconfigure did not apply because they need a restart.
	Restart []string `json:"restart,omitempty"`

	failed     error       // why the connector has ended
	unanswered *flow.Error // the server has not answered SUBSCRIBE in time
}

// storeSilence is how long a session store may take to answer while the connector is ready.
const storeSilence = 5 * time.Second

// StoreStands reports whether StoreWaits is so long that the connector is not ready.
func (h *Health) StoreStands() bool { return h.StoreWaits >= storeSilence }

// Health returns the current state of the connector. A message that is no longer counted in Unacked
// is already counted in Acknowledged, Stale, or wherever it belongs.
func (c *Connector) Health() Health {
	var h Health
	now := time.Now()
	h.Unacked, h.OldestUnacked = c.unacked.count(now) // before the counts: see settle
	if conn := c.conn.client(); conn != nil {
		h.State, h.Client = conn.State(), conn.Stats()
		h.UngrantedFilters = conn.Ungranted()
	}
	h.Connected = h.State == client.Connected
	if out := c.out.client(); c.out != c.conn && out != nil {
		h.Connected = h.Connected && out.State() == client.Connected
	}
	h.Unmatched = c.stats.unmatched.Load()
	h.Skipped = c.stats.skipped.Load()
	h.Succeeded = c.stats.succeeded.Load()
	h.Failed = c.stats.failed.Load()
	h.Uncharged = c.stats.uncharged.Load()
	h.Retries = c.stats.retries.Load()
	h.Acknowledged = c.stats.acknowledged.Load()
	h.Stale = c.stats.stale.Load()
	h.Dropped = c.stats.dropped.Load()
	h.DeadLettered = c.stats.deadLettered.Load()
	h.Published = c.stats.published.Load()
	h.PublishFailed = c.stats.publishFailed.Load()
	h.Running = c.stats.running.Load()
	h.Adopted = c.stats.adopted.Load()
	c.numbers.fill(&h)
	h.CertificatesExpire = c.conn.certificatesExpire()
	for _, name := range sortedKeys(c.others) {
		h.Connections = with(h.Connections, name, c.others[name].health())
	}
	for _, n := range c.all() {
		conn := n.client()
		if conn == nil {
			continue
		}
		s := conn.Stats()
		h.Oversize, h.Malformed = h.Oversize+s.Skipped, h.Malformed+s.Malformed
		if n.keep != nil {
			h.Stored += s.Unfinished
		}
		if n == c.conn || n == c.out {
			h.StoreWaits = max(h.StoreWaits, s.StoreWaits)
		}
	}
	c.fillTrouble(&h)
	c.fillUnmatched(&h, now)
	h.Stalled = c.stalled.Load()
	if waiting := c.waiting.Load(); waiting != nil {
		h.Restart = slices.Clone(*waiting)
	}
	if err := c.Err(); err != nil {
		h.failed = err
	}
	return h
}
