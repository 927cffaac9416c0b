package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/nats"
	"github.com/stretchr/testify/require"
)

// Messages that the pipeline cannot deliver become dead letters, and all others are delivered.
func TestPoison(t *testing.T) {
	t.Parallel()
	const every = 100
	for name, c := range map[string]struct{ batch, messages int }{
		"one by one": {1, 20_000},
		"in batches": {64, pick(5000, 20_000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			batch, messages := c.batch, c.messages
			b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
			dead, came := observe(t, b.Addr(), "dead"), observe(t, b.Addr(), "out/#")
			e := start(t, fmt.Sprintf(`
input:
  mqtt311:
    urls: ["tcp://%[1]s"]
    client_id: engine
    clean_session: false
    topics: [in/#]
    batch_size: %[2]d
    on_failure: {retries: 1, initial_delay: 5ms, then: dead_letter, dead_letter: {topic: dead}}
pipeline:
  processors:
    - mapping: 'root = if content().string().has_prefix("poison") { throw("it is poison") }'
output:
  reject_errored:
    mqtt311: {urls: ["tcp://%[1]s"], topic: 'out/${! metadata("mqtt_topic") }'}
logger: {level: NONE}
http: {enabled: false}
`, b.Addr(), batch))
			c := connect(t, b.Addr())
			eventually(t, came.count, func() bool {
				require.NoError(t, publish(t.Context(), c, 1, 0, func(int) client.Message { return client.Message{Topic: "in/begin", Payload: []byte("x")} }))
				return came.count() > 0
			})
			require.NoError(t, publish(t.Context(), c, messages, 0, func(i int) client.Message {
				m := numbered(i)
				if i%every == 0 {
					m.Payload = fmt.Append(nil, "poison ", i)
				}
				return m
			}))
			dead.awaits(t, messages/every)
			came.awaits(t, messages-messages/every+1)
			e.stop()
			require.Equal(t, messages/every, dead.count())
			require.Len(t, dead.all(), messages/every, "each once")
			require.Equal(t, messages-messages/every+1, came.count())
			for _, m := range came.all() {
				require.NotContains(t, m, "poison")
			}
		})
	}
}

// With order: true the messages of a topic arrive in order, with any number of threads and although some
// deliveries fail.
func TestOrder(t *testing.T) {
	t.Parallel()
	const topics, each = 40, 100
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	came := observe(t, b.Addr(), "out/#")
	e := start(t, fmt.Sprintf(`
input:
  mqtt311:
    urls: ["tcp://%[1]s"]
    client_id: engine
    clean_session: false
    topics: [in/#]
    order: true
    batch_size: 8
    on_failure: {initial_delay: 1ms, max_delay: 2ms}
pipeline:
  threads: 8
  processors:
    - mapping: 'root = if random_int(seed: timestamp_unix_nano()) %% 20 == 0 { throw("not now") }'
output:
  reject_errored:
    mqtt311: {urls: ["tcp://%[1]s"], topic: 'out/${! metadata("mqtt_topic") }'}
logger: {level: NONE}
http: {enabled: false}
`, b.Addr()))
	c := connect(t, b.Addr())
	eventually(t, came.count, func() bool {
		require.NoError(t, publish(t.Context(), c, 1, 0, func(int) client.Message { return client.Message{Topic: "in/begin", Payload: []byte("x")} }))
		return came.count() > 0
	})
	require.NoError(t, publish(t.Context(), c, topics*each, 0, func(i int) client.Message {
		return client.Message{Topic: fmt.Sprint("in/", i%topics), Payload: fmt.Append(nil, i/topics)}
	}))
	came.awaits(t, topics*each+1)
	e.stop()
	next := make(map[string]int)
	for _, m := range came.all() {
		topic, payload, _ := strings.Cut(m, " ")
		if topic != "out/in/begin" {
			require.Equal(t, fmt.Sprint(next[topic]), payload, topic)
			next[topic]++
		}
	}
}

// While a sink is blocked the input stops reading, the connection is not lost, and memory stays bounded,
// although the server has far more messages. A server with a window waits. With one without, the client sends
// DISCONNECT when it cannot read up to its PINGRESP, and reconnects.
func TestSinkHeld(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]string{
		"a window of 100": strings.Replace(unlimited, "max_inflight_messages 0", "max_inflight_messages 100", 1),
		"no window":       unlimited,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sinkHeld(t, server)
		})
	}
}

func sinkHeld(t *testing.T, server string) {
	const messages, size = 15_000, 8 << 10
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	var arrived atomic.Int64
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
			arrived.Add(1)
		case <-r.Context().Done():
		}
	}))
	defer sink.Close()
	defer release()
	b := mosquitto.Start(t, mosquitto.Options{Config: server})
	e := start(t, fmt.Sprintf(`
input:
  mqtt311: {urls: ["tcp://%s"], client_id: engine, clean_session: false, keepalive: 3, topics: [in/#]}
output:
  http_client: {url: "%s", timeout: 1h, max_in_flight: 64}
http: {enabled: false}
`, b.Addr(), sink.URL)).active(1)
	payload := strings.Repeat("x", size)
	require.NoError(t, publish(t.Context(), connect(t, b.Addr()), messages, 0, func(i int) client.Message {
		return client.Message{Topic: "in/x", Payload: []byte(payload)}
	}))
	time.Sleep(pick(20*time.Second, 5*time.Minute))
	memory := e.memory()
	t.Logf("%d MiB with %d MiB waiting at the server", memory, messages*size>>20)
	require.Less(t, memory, 100)
	require.NotContains(t, e.log(), "connection lost")
	require.NotContains(t, b.Log(), "exceeded timeout")
	if server != unlimited {
		require.Equal(t, 1, strings.Count(b.Log(), " as engine "), "connections of the engine")
	}
	release()
	eventually(t, func() int { return int(arrived.Load()) }, func() bool { return arrived.Load() >= 1000 })
}

// Several engines share the work: each message passes through one of them.
func TestEnginesShare(t *testing.T) {
	t.Parallel()
	const engines, messages = 3, 3000
	config := `
input: {mqtt311: {urls: ["tcp://%[1]s"], client_id: engine-%[2]d, clean_session: %[3]t, topics: [in/#], %[4]s}}
output: {mqtt311: {urls: ["tcp://%[1]s"], topic: 'out/${! metadata("mqtt_topic") }/%[2]d'}}
http: {enabled: false}
`
	share := func(t *testing.T, addr string, clean bool, how func(i int) string) {
		came := observe(t, addr, "out/#")
		var all []*engine
		for i := range engines {
			all = append(all, start(t, fmt.Sprintf(config, addr, i, clean, how(i))))
		}
		for _, e := range all {
			e.active(1)
		}
		require.NoError(t, publish(t.Context(), connect(t, addr), messages, 0, func(i int) client.Message {
			return client.Message{Topic: fmt.Sprint("in/", i), Payload: []byte("x")}
		}))
		came.awaits(t, messages)
		for _, e := range all {
			e.stop()
		}
		require.Len(t, came.all(), messages, "each message once")
		by := make(map[string]int)
		for _, m := range came.all() {
			levels := strings.Split(m, "/")
			by[levels[3]]++
		}
		t.Log(by)
		require.Len(t, by, engines, "every engine has a share")
	}
	t.Run("share_group on mosquitto", func(t *testing.T) {
		t.Parallel()
		b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
		share(t, b.Addr(), true, func(int) string { return "share_group: work" })
	})
	t.Run("partition on NATS", func(t *testing.T) {
		t.Parallel()
		b := nats.Start(t, nats.Options{})
		share(t, b.Addr(), false, func(i int) string { return fmt.Sprintf("partition: {index: %d, count: %d}", i, engines) })
	})
}
