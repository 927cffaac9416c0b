package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// unlimited keeps mosquitto from dropping messages that it has acknowledged.
const unlimited = "max_queued_messages 0"

// The gateway and a worker are killed: every message arrives, and those of a device in order.
func TestStream(t *testing.T) {
	t.Parallel()
	broker := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	server := nats.Start(t, nats.Options{})
	dir := configuration(t, "plant.yaml", "127.0.0.1:1883", broker.Addr(), "nats://127.0.0.1:4222", server.Client, "partitions: 8", "partitions: 8\n  lease_ttl: 3s")
	files := []string{filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b.jsonl")}

	gateway := start(t, dir, "run", "-c", "plant.yaml", "--into", "--listen", "127.0.0.1:0")
	a := start(t, dir, "work", "-c", "plant.yaml", "--append", "a.jsonl", "--listen", "127.0.0.1:0")
	b := start(t, dir, "work", "-c", "plant.yaml", "--append", "b.jsonl", "--listen", "127.0.0.1:0")
	gateway.ready()
	a.ready()
	b.ready()

	pub := connect(t, broker.TCP, "devices", true)
	const half = 500
	publish(t, pub, 0, half/2)
	gateway.again()
	publish(t, pub, half/2, half/2)
	a.kill()
	publish(t, pub, half, half)
	eventually(t, "all messages arrive", func() bool { return different(readings(t, files...)) == 2*half })
	gateway.ready()

	for _, of := range readings(t, files...) {
		require.Empty(t, disorder(of))
	}
	eventually(t, "nothing is left", func() bool {
		return value(gateway, "mqtt_stream_lag") == 0 && value(gateway, "mqtt_stream_oldest_seconds") == 0
	})
	eventually(t, "all partitions are the other's", func() bool {
		owners := 0
		for name := range b.metrics() {
			if strings.HasPrefix(name, "mqtt_partition_owner{") && !strings.Contains(name, `owner=""`) {
				owners++
			}
		}
		return owners == 8 && value(b, "mqtt_partitions_owned") == 8
	})
	documented(t, gateway, b)
	b.stop()
	gateway.stop()
	require.NoFileExists(t, filepath.Join(dir, "dead.jsonl"))
}

// value returns the value of a metric, or -1 if it is missing.
func value(p *process, metric string) float64 {
	if v, ok := p.metrics()[metric]; ok {
		return v
	}
	return -1
}

// documented compares the metrics of processes with the table in docs/jetstream.md.
func documented(t *testing.T, processes ...*process) {
	t.Helper()
	text, err := os.ReadFile("../../../../docs/jetstream.md")
	require.NoError(t, err)
	want := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `(mqtt_\\w+)` \\|").FindAllSubmatch(text, -1) {
		want[string(m[1])] = true
	}
	got := make(map[string]bool)
	eventually(t, "the metrics of the document", func() bool { // what a server does not tell in time is left out
		for _, p := range processes {
			for name := range p.metrics() {
				name, _, _ = strings.Cut(name, "{")
				if strings.HasPrefix(name, "mqtt_stream_") || strings.HasPrefix(name, "mqtt_partition") {
					got[name] = true
				}
			}
		}
		return len(got) >= len(want)
	})
	require.Equal(t, want, got)
}

// A gateway that is stopped while the stream is unreachable ends regularly, and messages that the stream does not
// have are not acknowledged.
func TestStopWithoutTheStream(t *testing.T) {
	t.Parallel()
	broker := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	server := nats.Start(t, nats.Options{})
	dir := configuration(t, "plant.yaml", "127.0.0.1:1883", broker.Addr(), "nats://127.0.0.1:4222", server.Client, "partitions: 8", "partitions: 8\n  ack_timeout: 1s")
	gateway := start(t, dir, "run", "-c", "plant.yaml", "--into", "--listen", "127.0.0.1:0")
	gateway.ready()
	server.Pause()
	publish(t, connect(t, broker.TCP, "devices", true), 0, 20)
	eventually(t, "the gateway has them", func() bool { return value(gateway, "mqtt_unacked") == 20 })
	eventually(t, "the gateway is not ready", func() bool {
		code, body := gateway.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "stream_blocked")
	})
	gateway.stop()
	server.Resume()
	gateway.start()
	worker := start(t, dir, "work", "-c", "plant.yaml", "--append", "out.jsonl")
	eventually(t, "all messages arrive", func() bool { return different(readings(t, filepath.Join(dir, "out.jsonl"))) == 20 })
	worker.stop()
	gateway.stop()
}

// Messages for an unreachable server accumulate in the stream, while both roles are killed, and arrive when the
// server is back, in the order of each topic.
func TestStoreAndForward(t *testing.T) {
	t.Parallel()
	near := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	far := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	server := nats.Start(t, nats.Options{})
	witness := connect(t, far.TCP, "witness", false)
	_, err := witness.Subscribe(t.Context(), packets.Subscription{Filter: "site-7/#", QoS: packets.AtLeastOnce})
	require.NoError(t, err)
	witness.Abort()
	far.Stop()

	dir := configuration(t, "site.yaml", "127.0.0.1:1883", near.Addr(), "center:1883", far.Addr(), "nats://127.0.0.1:4222", server.Client,
		"max_reconnect_interval: 5s", "max_reconnect_interval: 500ms, connect_retry_interval: 500ms", "max_bytes: 104857600", "max_bytes: 104857600\n  lease_ttl: 3s")
	gateway := start(t, dir, "run", "-c", "site.yaml", "--into", "--listen", "127.0.0.1:0")
	worker := start(t, dir, "work", "-c", "site.yaml", "--then", "up", "--listen", "127.0.0.1:0")
	gateway.ready()
	worker.ready() // a further connection does not affect it

	pub := connect(t, near.TCP, "devices", true)
	const messages = 400
	publish(t, pub, 0, messages/2)
	worker.again()
	gateway.again()
	publish(t, pub, messages/2, messages/2)
	gateway.ready()
	eventually(t, "the stream has them all", func() bool { return value(gateway, "mqtt_stream_lag") >= messages })
	require.Positive(t, gateway.metrics()["mqtt_stream_oldest_seconds"])
	require.Zero(t, worker.metrics()["mqtt_stream_done_total"])

	far.Restart()
	witness = connect(t, far.TCP, "witness", false)
	var arrived []reading
	drained(t, witness, func(d *client.Delivery) bool {
		var r reading
		require.NoError(t, json.Unmarshal(d.Payload, &r))
		require.Equal(t, fmt.Sprintf("site-7/plant/line %d/reading", r.Device), d.Topic)
		arrived = append(arrived, r)
		return different([][]reading{arrived}) == messages
	})
	require.Empty(t, disorder(arrived))
	eventually(t, "nothing is left", func() bool { return value(worker, "mqtt_stream_lag") == 0 })
	worker.stop()
	gateway.stop()
}
