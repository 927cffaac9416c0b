package command

import (
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
)

var (
	oldestUnacked        = newMetric(gauge, "mqtt_oldest_unacked_seconds", "Age of the oldest message that is not acknowledged: when it grows, the connector is stuck.")
	unacked              = newMetric(gauge, "mqtt_unacked", "Messages taken from the connection and not settled.")
	connected            = newMetric(gauge, "mqtt_connected", "1 while the server has accepted the connection.")
	connects             = newMetric(counter, "mqtt_connects_total", "Attempts to connect that ended.", "result")
	sessionPresent       = newMetric(counter, "mqtt_session_present_total", "Connections on which the server went on with a session.")
	takeovers            = newMetric(counter, "mqtt_takeover_suspected_total", "Suspicions that another client has the same client id.")
	packetsTotal         = newMetric(counter, "mqtt_packets_total", "Control Packets.", "dir", "type")
	bytesTotal           = newMetric(counter, "mqtt_bytes_total", "Bytes of Network Connections.", "dir")
	messages             = newMetric(counter, "mqtt_messages_received_total", "Messages taken from the connection.", "dup", "qos", "retained")
	acknowledged         = newMetric(counter, "mqtt_messages_acknowledged_total", "Messages of QoS 1 and 2 that were acknowledged.")
	flows                = newMetric(counter, "mqtt_flow_total", "Runs of a flow.", "result")
	flowSeconds          = newMetric(histogram, "mqtt_flow_seconds", "How long a run of a flow took.")
	flowRunning          = newMetric(gauge, "mqtt_flow_running", "Flows that run.")
	flowRetries          = newMetric(counter, "mqtt_flow_retries_total", "Runs that were another attempt.")
	restarts             = newMetric(counter, "mqtt_process_restarts_total", "How often a process of --pipe was started again after it had ended.")
	deadLetters          = newMetric(counter, "mqtt_dead_letter_total", "Attempts to put a message away.", "result")
	dropped              = newMetric(counter, "mqtt_dropped_total", "Messages that no flow succeeded with.", "reason")
	redeliveries         = newMetric(counter, "mqtt_redelivery_total", "Messages that came again, and what was made of them.", "result")
	inboxMessages        = newMetric(gauge, "mqtt_inbox_messages", "Messages received and not yet taken by a consumer.")
	inboxBytes           = newMetric(gauge, "mqtt_inbox_bytes", "Bytes of them.")
	readPaused           = newMetric(counter, "mqtt_read_paused_seconds_total", "How long reading paused because the inbox was full.")
	publishes            = newMetric(counter, "mqtt_publish_total", "Messages of producers. unknown: they may have arrived.", "qos", "result")
	publishSeconds       = newMetric(histogram, "mqtt_publish_seconds", "How long a producer waited for the promise of its QoS.", "qos")
	publishInFlight      = newMetric(gauge, "mqtt_publish_in_flight", "Messages of producers on their way.")
	connectionUp         = newMetric(gauge, "mqtt_connection_up", "1 while the server of a further connection has accepted it.", "connection")
	connectionConnects   = newMetric(counter, "mqtt_connection_connects_total", "Attempts of a further connection to connect that ended.", "connection", "result")
	connectionWaiting    = newMetric(gauge, "mqtt_connection_waiting", "Messages of QoS 1 and 2 for a further connection that have not arrived yet, stored ones included.", "connection")
	connectionBytes      = newMetric(counter, "mqtt_connection_bytes_total", "Bytes of a further connection.", "connection", "dir")
	connectionUnretained = newMetric(counter, "mqtt_connection_unretained_total", "Messages that came retained and were published without the flag over a further connection.", "connection")
	connectionExpires    = newMetric(gauge, "mqtt_connection_tls_cert_expires_seconds", "When the certificate of the server of a further connection ends, in seconds since 1970.", "connection")
	certificate          = newMetric(gauge, "mqtt_tls_cert_expires_seconds", "When the server's certificate ends, in seconds since 1970.")
)

// metrics answers with the values of Health.
func (w *watch) metrics(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", expositionType)
	rw.Write(w.exposition().text())
}

func (w *watch) exposition() *Exposition {
	e := new(Exposition)
	for _, m := range w.members() {
		e.partition = m.partition
		e.connector(m.c.Health(), w.restarts())
	}
	e.partition = ""
	if w.part != nil {
		w.part.Collect(e)
	}
	return e
}

// connector adds the metrics of a connector's health.
func (e *Exposition) connector(h connector.Health, processes uint64) {
	e.Set(oldestUnacked, h.OldestUnacked.Seconds())
	e.Set(unacked, float64(h.Unacked))
	e.Set(connected, number(h.Connected))
	s := h.Client
	e.Count(connects, s.Connects, "ok")
	e.Count(connects, s.Refused, "refused")
	e.Count(connects, minus(s.Failures, s.Refused), "failed")
	e.Count(sessionPresent, s.Resumed)
	e.Count(takeovers, s.Takeovers)
	for t := packets.CONNECT; t <= packets.DISCONNECT; t++ {
		e.Count(packetsTotal, s.PacketsSent[t], "sent", t.String())
		e.Count(packetsTotal, s.PacketsReceived[t], "received", t.String())
	}
	e.Count(bytesTotal, s.BytesSent, "sent")
	e.Count(bytesTotal, s.BytesReceived, "received")
	for qos := range h.ReceivedBy {
		for dup := range 2 {
			for retained := range 2 {
				e.Count(messages, h.ReceivedBy[qos][dup][retained], strconv.Itoa(dup), strconv.Itoa(qos), strconv.Itoa(retained))
			}
		}
	}
	e.Count(acknowledged, h.Acknowledged)
	e.Count(flows, h.Succeeded, "ok")
	e.Count(flows, minus(h.Failed, h.TimedOut+h.Panicked), "failed")
	e.Count(flows, h.TimedOut, "timeout")
	e.Count(flows, h.Panicked, "panic")
	e.observe(flowSeconds, &h.FlowTime)
	e.Set(flowRunning, float64(h.Running))
	e.Count(flowRetries, h.Retries)
	e.Count(restarts, processes)
	e.Count(deadLetters, h.DeadLettered, "ok")
	e.Count(deadLetters, h.DeadLettersRefused, "failed")
	e.Count(dropped, h.Dropped, "policy")
	e.Count(dropped, s.Dropped, "inbox_full")
	e.Count(dropped, h.Unmatched, "unmatched")
	e.Count(dropped, h.Skipped, "skipped")
	e.Count(dropped, h.Oversize, "oversize")
	e.Count(dropped, h.Malformed, "malformed")
	e.Count(redeliveries, s.Session.Adopted, "adopted")
	e.Count(redeliveries, minus(s.Session.Redelivered, s.Session.Adopted), "suppressed")
	e.Count(redeliveries, h.Adopted, "known") // the ledger knows it from before a restart
	e.Count(redeliveries, h.Stale, "orphaned")
	e.Set(inboxMessages, float64(s.InboxMessages))
	e.Set(inboxBytes, float64(s.InboxBytes))
	e.Set(readPaused, s.PausedFor.Seconds())
	for qos := range h.PublishedBy {
		p, label := &h.PublishedBy[qos], strconv.Itoa(qos)
		e.Count(publishes, p.Succeeded, label, "ok")
		e.Count(publishes, p.Failed, label, "failed")
		e.Count(publishes, p.Unknown, label, "unknown")
		e.observe(publishSeconds, &p.Time, label)
	}
	e.Set(publishInFlight, float64(h.Publishing))
	if !h.CertificatesExpire.IsZero() {
		e.Set(certificate, float64(h.CertificatesExpire.Unix()))
	}
	e.connections(&h)
}

// connections adds the metrics of further connections.
func (e *Exposition) connections(h *connector.Health) {
	for _, name := range slices.Sorted(maps.Keys(h.Connections)) {
		n := h.Connections[name]
		e.Set(connectionUp, number(n.Connected), name)
		s := n.Client
		e.Count(connectionConnects, s.Connects, name, "ok")
		e.Count(connectionConnects, s.Refused, name, "refused")
		e.Count(connectionConnects, minus(s.Failures, s.Refused), name, "failed")
		e.Set(connectionWaiting, float64(n.Waiting), name)
		e.Count(connectionBytes, s.BytesSent, name, "sent")
		e.Count(connectionBytes, s.BytesReceived, name, "received")
		e.Count(connectionUnretained, n.Unretained, name)
		if !n.CertificatesExpire.IsZero() {
			e.Set(connectionExpires, float64(n.CertificatesExpire.Unix()), name)
		}
	}
}

// minus returns a-b, but at least 0: the two were not read at the same time.
func minus(a, b uint64) uint64 { return a - min(a, b) }

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
