package ui

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
)

const (
	sampleEvery = 5 * time.Second
	mostSamples = int(time.Hour / sampleEvery)
)

// A sample is the state of the connector at a time. Counts are since the connector started; the
// page computes differences.
type sample struct {
	N     int       `json:"n"` // number of the sample, from 1
	Time  time.Time `json:"time"`
	Ready bool      `json:"ready"`

	Received     uint64 `json:"received"`
	Succeeded    uint64 `json:"succeeded"`
	Failed       uint64 `json:"failed"`
	Retries      uint64 `json:"retries"`
	DeadLettered uint64 `json:"dead_lettered"`
	Dropped      uint64 `json:"dropped"`
	Published    uint64 `json:"published"`
	Reconnects   uint64 `json:"reconnects"`

	Unacked int     `json:"unacked"`
	Running int64   `json:"running"`
	Oldest  float64 `json:"oldest"` // unacknowledged, in milliseconds

	// Flow times of the runs that ended since the last sample, in milliseconds; null if there were
	// none.
	P50 *float64 `json:"p50"`
	P95 *float64 `json:"p95"`
	P99 *float64 `json:"p99"`
}

// A monitor keeps the samples of the last hour.
type monitor struct {
	health func() connector.Health

	mu      sync.Mutex
	n       int
	samples []sample // sample n is at index n modulo mostSamples
	flows   connector.Histogram
}

// look takes a sample.
func (m *monitor) look(now time.Time) {
	h := m.health()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	s := sample{
		N: m.n, Time: now, Ready: h.Ready() == nil,
		Received: h.Received, Succeeded: h.Succeeded, Failed: h.Failed, Retries: h.Retries, DeadLettered: h.DeadLettered,
		Dropped: h.Dropped, Published: h.Published, Reconnects: h.Client.Reconnects,
		Unacked: h.Unacked, Running: h.Running, Oldest: millis(h.OldestUnacked),
	}
	ended := since(&m.flows, &h.FlowTime)
	if m.flows = h.FlowTime; m.n > 1 && ended.Count() > 0 {
		s.P50, s.P95, s.P99 = percentile(&ended, 0.5), percentile(&ended, 0.95), percentile(&ended, 0.99)
	}
	if len(m.samples) < mostSamples {
		m.samples = append(m.samples, s)
		return
	}
	m.samples[(m.n-1)%mostSamples] = s
}

// run takes samples until ctx ends.
func (m *monitor) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for m.look(time.Now()); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			m.look(now)
		}
	}
}

// after returns the samples after the given one, oldest first.
func (m *monitor) after(n int) []sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n < 0 || n > m.n { // n is from an earlier process
		n = 0
	}
	out := []sample{}
	for i := max(n, m.n-len(m.samples)); i < m.n; i++ {
		out = append(out, m.samples[i%mostSamples])
	}
	return out
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// since returns the difference of two histograms.
func since(before, now *connector.Histogram) connector.Histogram {
	out := connector.Histogram{Sum: now.Sum - before.Sum}
	for i := range now.Buckets {
		out.Buckets[i] = now.Buckets[i] - before.Buckets[i]
	}
	return out
}

// percentile returns the duration, in milliseconds, that the given part of the durations in a
// histogram do not exceed. Within a bucket they are assumed to be evenly distributed; above the
// last bound only that is known.
func percentile(h *connector.Histogram, part float64) *float64 {
	rank, below := part*float64(h.Count()), 0.0
	var low time.Duration
	for i, high := range connector.HistogramBounds {
		n := float64(h.Buckets[i])
		if n > 0 && below+n >= rank {
			ms := millis(low) + millis(high-low)*(rank-below)/n
			return &ms
		}
		below, low = below+n, high
	}
	ms := millis(low)
	return &ms
}

// A healthView is the data for the page.
type healthView struct {
	Running bool     `json:"running"`
	Ready   bool     `json:"ready"`
	Why     *text    `json:"why,omitempty"` // why it is not ready, or nil
	Every   float64  `json:"every"`         // seconds between samples
	Most    int      `json:"most"`          // samples that are kept
	Samples []sample `json:"samples"`       // those that the page does not have
}

// healthPage samples the running connector and returns the samples.
func (s *Server) healthPage() {
	c := s.opts.Running
	if c == nil {
		s.post("health", func(*http.Request) (any, error) { return healthView{Samples: []sample{}}, nil })
		return
	}
	m := &monitor{health: c.Health}
	s.serving.Go(func() { m.run(s.ctx) })
	s.post("health", func(r *http.Request) (any, error) {
		in, err := decode[struct {
			After int `json:"after"`
		}](r)
		if err != nil {
			return nil, err
		}
		h := c.Health()
		v := healthView{Running: true, Every: sampleEvery.Seconds(), Most: mostSamples, Samples: m.after(in.After)}
		if v.Why = s.whyNotReady(&h); v.Why == nil {
			v.Ready = true
		}
		return v, nil
	})
}

// whyNotReady returns in both languages why a connector is not ready, or nil if it is.
func (s *Server) whyNotReady(h *connector.Health) *text {
	err := h.Ready()
	if err == nil {
		return nil
	}
	zh := "未就绪"
	list := func(filters []string) string { return strings.Join(filters, "、") }
	switch {
	case h.Live() != nil:
		zh = "连接器已结束"
	case !h.Connected:
		zh = "未连接服务端"
	case len(h.RefusedFilters) > 0:
		zh = "服务端拒绝订阅：" + list(h.RefusedFilters)
	case len(h.UngrantedFilters) > 0:
		zh = "服务端尚未确认订阅：" + list(h.UngrantedFilters)
	case !h.Subscribed:
		zh = "尚未订阅"
	case h.Stalled:
		zh = "有消息长时间未确认：" + h.OldestUnacked.Round(time.Second).String()
	case h.UnmatchedTopic != "":
		zh = "最近一分钟内有消息不属于任何 Consumer：" + h.UnmatchedTopic
	}
	en := strings.TrimPrefix(err.Error(), "connector: ")
	if h.Problem != nil && !h.Connected {
		zh += "：" + chinese.Of(h.Problem.Description)
	}
	return &text{s.reach.scrub(en), s.reach.scrub(zh)}
}
