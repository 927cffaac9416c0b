package connector

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
)

// HistogramBounds are the upper bounds of the buckets of a [Histogram].
var HistogramBounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute,
}

// A Histogram counts durations. Buckets[i] counts those above HistogramBounds[i-1] and up to
// HistogramBounds[i]; the last bucket counts all longer ones.
type Histogram struct {
	Buckets [len(HistogramBounds) + 1]uint64
	Sum     time.Duration
}

// Count returns the number of durations counted.
func (h *Histogram) Count() (n uint64) {
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// A histogram collects a Histogram. It is safe for concurrent use.
type histogram struct {
	buckets [len(HistogramBounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	i := 0
	for i < len(HistogramBounds) && d > HistogramBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) load() (out Histogram) {
	for i := range h.buckets {
		out.Buckets[i] = h.buckets[i].Load()
	}
	out.Sum = time.Duration(h.sum.Load())
	return out
}

// Publishes counts the results of messages that producers published at one QoS.
type Publishes struct {
	Succeeded uint64
	Failed    uint64 // messages that did not arrive
	Unknown   uint64 // messages that may have arrived
	Time      Histogram
}

// numbers are the fields of Health besides the counters.
type numbers struct {
	receivedBy         [3][2][2]atomic.Uint64
	flowTime           histogram
	timedOut, panicked atomic.Uint64
	deadLettersRefused atomic.Uint64
	publishing         atomic.Int64
	published          [3]publishes
}

type publishes struct {
	succeeded, failed, unknown atomic.Uint64
	time                       histogram
}

func (n *numbers) received(d *client.Delivery) {
	n.receivedBy[d.QoS][index(d.Dup)][index(d.Retain)].Add(1)
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// flowEnded counts one run of a flow.
func (n *numbers) flowEnded(took time.Duration, err error, timedOut bool) {
	n.flowTime.add(took)
	if err == nil {
		return
	}
	var p *flow.PanicError // allocated, because errors.As takes its address
	switch {
	case errors.As(err, &p):
		n.panicked.Add(1)
	case timedOut:
		n.timedOut.Add(1)
	}
}

func (n *numbers) publishEnded(qos packets.QoS, took time.Duration, delivered flow.Delivered) {
	p := &n.published[qos]
	p.time.add(took)
	switch delivered {
	case flow.DeliveredNo:
		p.failed.Add(1)
	case flow.DeliveredUnknown, flow.DeliveredLater:
		p.unknown.Add(1)
	default:
		p.succeeded.Add(1)
	}
}

// noted returns a dial function that records when the server's certificates expire, in seconds
// since 1970.
func noted(end *atomic.Int64, dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		end.Store(0)
		if at := certificatesExpire(conn); !at.IsZero() {
			end.Store(at.Unix())
		}
		return conn, nil
	}
}

// certificatesExpire returns when the first of the certificates of the server expires, or zero
// without TLS.
func certificatesExpire(conn net.Conn) (first time.Time) {
	state, ok := transport.TLSState(conn)
	if !ok {
		return first
	}
	for _, cert := range state.PeerCertificates {
		if first.IsZero() || cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	return first
}

// fill sets the numbers in h.
func (n *numbers) fill(h *Health) {
	for qos := range n.receivedBy {
		for dup := range n.receivedBy[qos] {
			for retained := range n.receivedBy[qos][dup] {
				by := n.receivedBy[qos][dup][retained].Load()
				h.ReceivedBy[qos][dup][retained] = by
				h.Received += by
			}
		}
	}
	h.FlowTime = n.flowTime.load()
	h.TimedOut, h.Panicked = n.timedOut.Load(), n.panicked.Load()
	h.DeadLettersRefused = n.deadLettersRefused.Load()
	h.Publishing = n.publishing.Load()
	for qos := range n.published {
		p := &n.published[qos]
		h.PublishedBy[qos] = Publishes{p.succeeded.Load(), p.failed.Load(), p.unknown.Load(), p.time.load()}
	}
}
