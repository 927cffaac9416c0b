package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A watch tells how a connector does, to Prometheus and to a supervisor.
type watch struct {
	c        *connector.Connector
	say      func(en, zh string) string
	stopping atomic.Bool
}

// serve listens; the returned function ends it.
func (w *watch) serve(address string, log *slog.Logger) (stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{w.c})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", w.livez)
	mux.HandleFunc("GET /readyz", w.readyz)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("listen", "error", err.Error())
		}
	})
	log.Info("listening", "address", l.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(ctx)
		server.Close()
		serving.Wait()
	}, nil
}

// A verdict is the answer of /livez and /readyz.
type verdict struct {
	OK      bool     `json:"ok"`
	Reasons []reason `json:"reasons"`
}

type reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (v *verdict) answer(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	v.OK = len(v.Reasons) == 0
	if !v.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(v)
}

// livez reports whether the process is worth keeping: a connector that is over is not.
func (w *watch) livez(rw http.ResponseWriter, _ *http.Request) {
	v := verdict{Reasons: []reason{}}
	h := w.c.Health()
	if err := h.Live(); err != nil {
		v.Reasons = append(v.Reasons, reason{"ended", w.say("the connector has ended: ", "连接器已结束：") + err.Error()})
	}
	v.answer(rw)
}

// readyz reports whether messages flow.
func (w *watch) readyz(rw http.ResponseWriter, _ *http.Request) {
	v := verdict{Reasons: w.reasons(w.c.Health())}
	v.answer(rw)
}

// reasons are all of which [connector.Health.Ready] is the first, in the user's language.
func (w *watch) reasons(h connector.Health) []reason {
	out := []reason{}
	add := func(code, en, zh string, args ...any) {
		out = append(out, reason{code, fmt.Sprintf(w.say(en, zh), args...)})
	}
	if err := h.Live(); err != nil {
		add("ended", "the connector has ended: %v", "连接器已结束：%v", err)
	}
	if w.stopping.Load() {
		add("stopping", "the connector stops", "连接器正在停止")
	}
	switch {
	case h.Connected:
	case h.Problem != nil:
		add("not_connected", "not connected to the server: %s", "未连接服务端：%s", h.Problem.Description)
	default:
		add("not_connected", "not connected to the server", "未连接服务端")
	}
	for _, filter := range h.RefusedFilters {
		add("filter_refused", "the server refuses the topic %q", "服务端拒绝了订阅主题 %q", filter)
	}
	if !h.Subscribed && len(h.RefusedFilters) == 0 {
		add("not_subscribed", "not every topic is granted yet", "尚未完成订阅")
	}
	if h.Stalled {
		add("stalled", "a message waits for its acknowledgement for %s", "有消息已 %s 未确认", h.OldestUnacked.Round(time.Second))
	}
	return out
}

// collector turns Health into metrics when it is asked for them.
type collector struct{ c *connector.Connector }

// A metric has a name, a help text and labels.
func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mqtt_"+name, help, labels, nil)
}

var (
	oldestUnacked   = metric("oldest_unacked_seconds", "Age of the oldest message that is not acknowledged: when it grows, the connector is stuck.")
	unacked         = metric("unacked", "Messages taken from the connection and not settled.")
	connected       = metric("connected", "1 while the server has accepted the connection.")
	connects        = metric("connects_total", "Attempts to connect that ended.", "result")
	sessionPresent  = metric("session_present_total", "Connections on which the server went on with a session.")
	takeovers       = metric("takeover_suspected_total", "Suspicions that another client has the same client id.")
	packetsTotal    = metric("packets_total", "Control Packets.", "dir", "type")
	bytesTotal      = metric("bytes_total", "Bytes of Network Connections.", "dir")
	messages        = metric("messages_received_total", "Messages taken from the connection.", "qos", "dup", "retained")
	acknowledged    = metric("messages_acknowledged_total", "Messages of QoS 1 and 2 that were acknowledged.")
	flows           = metric("flow_total", "Runs of a flow.", "result")
	flowSeconds     = metric("flow_seconds", "How long a run of a flow took.")
	flowRunning     = metric("flow_running", "Flows that run.")
	flowRetries     = metric("flow_retries_total", "Runs that were another attempt.")
	deadLetters     = metric("dead_letter_total", "Attempts to put a message away.", "result")
	dropped         = metric("dropped_total", "Messages that no flow succeeded with.", "reason")
	redeliveries    = metric("redelivery_total", "Messages that came again, and what was made of them.", "result")
	inboxMessages   = metric("inbox_messages", "Messages received and not yet taken by a consumer.")
	inboxBytes      = metric("inbox_bytes", "Bytes of them.")
	readPaused      = metric("read_paused_seconds_total", "How long reading paused because the inbox was full.")
	publishes       = metric("publish_total", "Messages of producers. unknown: they may have arrived.", "qos", "result")
	publishSeconds  = metric("publish_seconds", "How long a producer waited for the promise of its QoS.", "qos")
	publishInFlight = metric("publish_in_flight", "Messages of producers on their way.")
	certificate     = metric("tls_cert_expires_seconds", "When the server's certificate ends, in seconds since 1970.")
)

// Describe says nothing: the metrics of a connector are always the same, and checked when
// they are collected.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (k collector) Collect(ch chan<- prometheus.Metric) {
	h := k.c.Health()
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge(oldestUnacked, h.OldestUnacked.Seconds())
	gauge(unacked, float64(h.Unacked))
	gauge(connected, number(h.Connected))
	s := h.Client
	count(connects, s.Connects, "ok")
	count(connects, s.Refused, "refused")
	count(connects, minus(s.Failures, s.Refused), "failed")
	count(sessionPresent, s.Resumed)
	count(takeovers, s.Takeovers)
	for t := packets.CONNECT; t <= packets.DISCONNECT; t++ {
		count(packetsTotal, s.PacketsSent[t], "sent", t.String())
		count(packetsTotal, s.PacketsReceived[t], "received", t.String())
	}
	count(bytesTotal, s.BytesSent, "sent")
	count(bytesTotal, s.BytesReceived, "received")
	for qos := range h.ReceivedBy {
		for dup := range 2 {
			for retained := range 2 {
				count(messages, h.ReceivedBy[qos][dup][retained], strconv.Itoa(qos), strconv.Itoa(dup), strconv.Itoa(retained))
			}
		}
	}
	count(acknowledged, h.Acknowledged)
	count(flows, h.Succeeded, "ok")
	count(flows, minus(h.Failed, h.TimedOut+h.Panicked), "failed")
	count(flows, h.TimedOut, "timeout")
	count(flows, h.Panicked, "panic")
	ch <- histogram(flowSeconds, &h.FlowTime)
	gauge(flowRunning, float64(h.Running))
	count(flowRetries, h.Retries)
	count(deadLetters, h.DeadLettered, "ok")
	count(deadLetters, h.DeadLettersRefused, "failed")
	count(dropped, h.Dropped, "policy")
	count(dropped, s.Dropped, "inbox_full")
	count(dropped, h.Unmatched, "unmatched")
	count(dropped, h.Skipped, "skipped")
	count(redeliveries, s.Session.Adopted, "adopted")
	count(redeliveries, minus(s.Session.Redelivered, s.Session.Adopted), "suppressed")
	count(redeliveries, h.Adopted, "known") // to the ledger, from before a restart
	count(redeliveries, h.Stale, "orphaned")
	gauge(inboxMessages, float64(s.InboxMessages))
	gauge(inboxBytes, float64(s.InboxBytes))
	ch <- prometheus.MustNewConstMetric(readPaused, prometheus.CounterValue, s.PausedFor.Seconds())
	for qos := range h.PublishedBy {
		p, label := &h.PublishedBy[qos], strconv.Itoa(qos)
		count(publishes, p.Succeeded, label, "ok")
		count(publishes, p.Failed, label, "failed")
		count(publishes, p.Unknown, label, "unknown")
		ch <- histogram(publishSeconds, &p.Time, label)
	}
	gauge(publishInFlight, float64(h.Publishing))
	if !h.CertificatesExpire.IsZero() {
		gauge(certificate, float64(h.CertificatesExpire.Unix()))
	}
}

// minus does not go below zero: the two were not read at the same time.
func minus(a, b uint64) uint64 { return a - min(a, b) }

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func histogram(d *prometheus.Desc, h *connector.Histogram, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(connector.HistogramBounds))
	var below uint64
	for i, bound := range connector.HistogramBounds {
		below += h.Buckets[i]
		buckets[bound.Seconds()] = below
	}
	return prometheus.MustNewConstHistogram(d, h.Count(), h.Sum.Seconds(), buckets, labels...)
}
