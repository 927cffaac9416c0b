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

// Health is how a connector does. Counts are since New.
type Health struct {
	State          client.State `json:"-"`
	Connected      bool         `json:"connected"`  // the producers' own connection as well
	Subscribed     bool         `json:"subscribed"` // every topic is granted; true if there are none
	Stalled        bool         `json:"stalled"`    // a message is unacknowledged for longer than stall_timeout
	Problem        *flow.Error  `json:"problem"`    // with the connection; nil while it is up
	RefusedFilters []string     `json:"refused_filters,omitempty"`

	// UngrantedFilters are asked for, or to be, and the server has not answered on this connection.
	UngrantedFilters []string `json:"ungranted_filters,omitempty"`

	Received      uint64        `json:"received"`  // messages taken from the connection
	Unmatched     uint64        `json:"unmatched"` // of no consumer
	Skipped       uint64        `json:"skipped"`   // by partition or retained, or of a topic that was given up; acknowledged
	Succeeded     uint64        `json:"succeeded"` // runs of a flow
	Failed        uint64        `json:"failed"`    // runs of a flow
	Uncharged     uint64        `json:"uncharged"` // of Failed: not the fault of the message
	Retries       uint64        `json:"retries"`
	Acknowledged  uint64        `json:"acknowledged"` // at QoS 1 and 2
	Stale         uint64        `json:"stale"`        // done after their session had ended
	Adopted       uint64        `json:"adopted"`      // done by the process before; acknowledged without a run
	Dropped       uint64        `json:"dropped"`
	DeadLettered  uint64        `json:"dead_lettered"`
	Published     uint64        `json:"published"` // calls of producers
	PublishFailed uint64        `json:"publish_failed"`
	Running       int64         `json:"running"`        // flows
	Unacked       int           `json:"unacked"`        // taken and not settled
	OldestUnacked time.Duration `json:"oldest_unacked"` // how long the oldest of them has been here
	Client        client.Stats  `json:"-"`

	ReceivedBy         [3][2][2]uint64 `json:"-"`                    // Received, by QoS, DUP (0 or 1) and retained (0 or 1)
	FlowTime           Histogram       `json:"-"`                    // of the runs that ended
	TimedOut           uint64          `json:"timed_out"`            // of Failed, by flow_timeout
	Panicked           uint64          `json:"panicked"`             // of Failed
	DeadLettersRefused uint64          `json:"dead_letters_refused"` // attempts to put one away that failed
	Publishing         int64           `json:"publishing"`           // messages of producers on their way
	PublishedBy        [3]Publishes    `json:"-"`                    // by QoS
	CertificatesExpire time.Time       `json:"-"`                    // the first of the server's; zero without TLS

	// UnmatchedTopic is that of a message that matched no consumer within the last minute, if
	// nothing says where such messages go. The connector is not ready then.
	UnmatchedTopic string `json:"unmatched_topic,omitempty"`

	// Oversize and Malformed count messages that were not accepted because they are above
	// max_packet_size, or because of their topic, on whatever connection. Unacceptable is about the newest of
	// those that no further connection brought.
	Oversize     uint64      `json:"oversize"`
	Malformed    uint64      `json:"malformed"`
	Unacceptable *flow.Error `json:"unacceptable,omitempty"`
	// Connections are those of Config.Connections, by name. They do not affect Ready.
	Connections map[string]ConnectionHealth `json:"connections,omitempty"`
	// Stored counts messages of QoS 1 and 2 that session stores keep because they have not arrived yet. It includes
	// those of former processes and, after Stop, is what the next process publishes.
	Stored int `json:"stored"`
	// StoreWaits is for how long the session store has not answered, because its disk hangs or is full; see
	// [client.Stats]. Above five seconds the connector is not ready. Of the consumers' and producers' own connections.
	StoreWaits time.Duration `json:"store_waits"`
	// Restart names settings that Reconfigure did not apply, because they need a restart.
	Restart []string `json:"restart,omitempty"`

	failed     error       // why the connector is over
	unanswered *flow.Error // the server has not answered SUBSCRIBE in time
}

// storeSilence is for how long a session store may be silent while the connector is ready.
const storeSilence = 5 * time.Second

// StoreStands reports whether StoreWaits is a reason not to be ready.
func (h *Health) StoreStands() bool { return h.StoreWaits >= storeSilence }

// Health returns how the connector does now. A message that is not among Unacked any more
// is among Acknowledged, Stale or whatever became of it.
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
