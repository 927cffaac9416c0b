package connector

import (
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
)

type counters struct {
	received                   atomic.Uint64
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
	State          client.State  `json:"-"`
	Connected      bool          `json:"connected"`  // the producers' own connection as well
	Subscribed     bool          `json:"subscribed"` // every topic is granted; true if there are none
	Stalled        bool          `json:"stalled"`    // a message is unacknowledged for longer than stall_timeout
	Problem        *Error        `json:"problem"`    // with the connection; nil while it is up
	RefusedFilters []string      `json:"refused_filters,omitempty"`
	Received       uint64        `json:"received"`  // messages taken from the connection
	Unmatched      uint64        `json:"unmatched"` // of no consumer; acknowledged
	Skipped        uint64        `json:"skipped"`   // by partition or retained; acknowledged
	Succeeded      uint64        `json:"succeeded"` // runs of a flow
	Failed         uint64        `json:"failed"`    // runs of a flow
	Uncharged      uint64        `json:"uncharged"` // of Failed: not the fault of the message
	Retries        uint64        `json:"retries"`
	Acknowledged   uint64        `json:"acknowledged"` // at QoS 1 and 2
	Stale          uint64        `json:"stale"`        // done after their session had ended
	Adopted        uint64        `json:"adopted"`      // done by the process before; acknowledged without a run
	Dropped        uint64        `json:"dropped"`
	DeadLettered   uint64        `json:"dead_lettered"`
	Published      uint64        `json:"published"` // calls of producers
	PublishFailed  uint64        `json:"publish_failed"`
	Running        int64         `json:"running"`        // flows
	Unacked        int           `json:"unacked"`        // taken and not settled
	OldestUnacked  time.Duration `json:"oldest_unacked"` // how long the oldest of them has been here
	Client         client.Stats  `json:"-"`

	ReceivedBy         [3][2][2]uint64 `json:"-"`                    // Received, by QoS, DUP (0 or 1) and retained (0 or 1)
	FlowTime           Histogram       `json:"-"`                    // of the runs that ended
	TimedOut           uint64          `json:"timed_out"`            // of Failed, by flow_timeout
	Panicked           uint64          `json:"panicked"`             // of Failed
	DeadLettersRefused uint64          `json:"dead_letters_refused"` // attempts to put one away that failed
	Publishing         int64           `json:"publishing"`           // messages of producers on their way
	PublishedBy        [3]Publishes    `json:"-"`                    // by QoS
	CertificatesExpire time.Time       `json:"-"`                    // the first of the server's; zero without TLS

	failed error // why the connector is over
}

// Health returns how the connector does now. A message that is not among Unacked any more
// is among Acknowledged, Stale or whatever became of it.
func (c *Connector) Health() Health {
	var h Health
	now := time.Now()
	h.Unacked, h.OldestUnacked = c.unacked.count(now) // before the counts: see settle
	if conn := c.conn.client(); conn != nil {
		h.State, h.Client = conn.State(), conn.Stats()
	}
	h.Connected = h.State == client.Connected
	if out := c.out.client(); c.out != c.conn && out != nil {
		h.Connected = h.Connected && out.State() == client.Connected
	}
	h.Received = c.stats.received.Load()
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
	c.trouble.fill(&h)
	h.Stalled = c.stalled.Load()
	if err := c.Err(); err != nil {
		h.failed = err
	}
	return h
}
