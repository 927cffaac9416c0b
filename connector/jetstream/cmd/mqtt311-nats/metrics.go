package main

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/jetstream"
)

var (
	connected  = command.Gauge("stream_connected", "1 while a server of NATS has accepted the connection.")
	stored     = command.Counter("stream_stored_total", "Messages that the stream has acknowledged.")
	duplicates = command.Counter("stream_duplicates_total", "Of those, messages that the stream had already, and recognised.")
	refused    = command.Counter("stream_refused_total", "Messages that the stream never takes.")
	again      = command.Counter("stream_again_total", "Messages that were sent to the stream again, because it did not answer or could not take them.")
	taken      = command.Counter("stream_taken_total", "Messages that were taken out of the stream.")
	done       = command.Counter("stream_done_total", "Messages of the stream that the flow or the failure policy was done with.")
	unreadable = command.Counter("stream_unreadable_total", "Messages of the stream that something else has put there, and that were removed.")
	lag        = command.Gauge("stream_lag", "Messages of the stream that are not done.")
	oldest     = command.Gauge("stream_oldest_seconds", "Age of the oldest message of the stream that is not done: when it grows, workers do not keep up.")
	owned      = command.Gauge("partitions_owned", "How many partitions this process has by lease.")
	owner      = command.Gauge("partition_owner", "1 for each partition, with the process that has it by lease: empty if none has.", "partition", "owner")
)

// collect adds the metrics of the connection and of the stream. It omits what the server does not report.
func (s *server) collect(e *command.Exposition) {
	up := 0.0
	if conn := s.connection(); conn != nil && conn.IsConnected() {
		up = 1
	}
	e.Set(connected, up)
	stream := s.opened()
	if stream == nil || up == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), metricPatience)
	defer cancel()
	b, err := stream.Lag(ctx, cmp.Or(s.n.Group, jetstream.DefaultGroup))
	if err != nil {
		s.log.Warn("the stream does not tell its lag", "error", err.Error())
		return
	}
	e.Set(lag, float64(b.Messages))
	age := 0.0
	if !b.Oldest.IsZero() {
		age = max(0, time.Since(b.Oldest).Seconds())
	}
	e.Set(oldest, age)
}

// sum adds up the counts of gateways.
func sum(s jetstream.GatewayStats, more ...jetstream.GatewayStats) jetstream.GatewayStats {
	for _, m := range more {
		s.Stored += m.Stored
		s.Duplicates += m.Duplicates
		s.Refused += m.Refused
		s.Again += m.Again
	}
	return s
}

func collectGateway(e *command.Exposition, s jetstream.GatewayStats) {
	e.Count(stored, s.Stored)
	e.Count(duplicates, s.Duplicates)
	e.Count(refused, s.Refused)
	e.Count(again, s.Again)
}

// collectLeases adds which process has which partition.
func (s *server) collectLeases(e *command.Exposition, leases *jetstream.Leases) {
	e.Set(owned, float64(len(leases.Held())))
	if conn := s.connection(); conn == nil || !conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), metricPatience)
	defer cancel()
	owners, err := leases.Owners(ctx)
	if err != nil {
		s.log.Warn("the server does not tell who has the leases", "error", err.Error())
		return
	}
	for i := range leases.Count() {
		e.Set(owner, 1, strconv.Itoa(i), owners[i])
	}
}
