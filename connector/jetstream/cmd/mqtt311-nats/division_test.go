package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/nats"
	"github.com/stretchr/testify/require"
)

// Processes divide the sessions of a connector; those of a process that is killed pass to others, and
// nothing is lost.
func TestDivision(t *testing.T) {
	t.Parallel()
	broker := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	server := nats.Start(t, nats.Options{})
	dir := configuration(t, "division.yaml", "127.0.0.1:1883", broker.Addr(), "nats://127.0.0.1:4222", server.Client, "lease_ttl: 5s", "lease_ttl: 3s")
	files := []string{filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b.jsonl")}
	run := func(file string) *process {
		return start(t, dir, "run", "-c", "division.yaml", "--append", file, "--listen", "127.0.0.1:0")
	}
	broker.Pause()
	a := run("a.jsonl")
	eventually(t, "the sessions are missing", func() bool {
		code, body := a.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "sessions_missing")
	})
	broker.Resume()
	for i := range 4 {
		subscribed(t, broker.Log, fmt.Sprintf("plant-%d", i))
	}
	a.ready()
	b := run("b.jsonl")
	owned := func(p *process) float64 { return p.metrics()["mqtt_partitions_owned"] }
	eventually(t, "each has two", func() bool { return owned(a) == 2 && owned(b) == 2 })
	b.ready()
	eventually(t, "two sessions are this process's", func() bool {
		connected := 0.0
		for i := range 4 {
			connected += b.metrics()[fmt.Sprintf(`mqtt_connected{partition="%d"}`, i)]
		}
		return connected == 2
	})

	pub := connect(t, broker.TCP, "devices", true)
	publish(t, pub, 0, 200)
	a.kill()
	publish(t, pub, 200, 200)
	eventually(t, "all messages arrive", func() bool { return different(readings(t, files...)) == 400 })
	eventually(t, "the other has all", func() bool { return owned(b) == 4 })
	b.stop()
}

// Gateways divide the sessions as well.
func TestGatewaysByLease(t *testing.T) {
	t.Parallel()
	broker := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	server := nats.Start(t, nats.Options{})
	dir := configuration(t, "division.yaml", "127.0.0.1:1883", broker.Addr(), "nats://127.0.0.1:4222", server.Client, "lease_ttl: 5s",
		"lease_ttl: 3s\n  stream: PLANT\n  replicas: 1\n  partitions: 2")
	a := start(t, dir, "run", "-c", "division.yaml", "--into", "--listen", "127.0.0.1:0")
	for i := range 4 {
		subscribed(t, broker.Log, fmt.Sprintf("plant-%d", i))
	}
	a.ready()
	b := start(t, dir, "run", "-c", "division.yaml", "--into", "--listen", "127.0.0.1:0")
	eventually(t, "the other has two", func() bool { return b.metrics()["mqtt_partitions_owned"] == 2 })
	pub := connect(t, broker.TCP, "devices", true)
	publish(t, pub, 0, 200)
	eventually(t, "the stream has all", func() bool {
		return a.metrics()["mqtt_stream_stored_total"]+b.metrics()["mqtt_stream_stored_total"] >= 200
	})
	b.stop()
	publish(t, pub, 200, 200)
	worker := start(t, dir, "work", "-c", "division.yaml", "--append", "out.jsonl")
	eventually(t, "all messages arrive", func() bool { return different(readings(t, filepath.Join(dir, "out.jsonl"))) == 400 })
	worker.stop()
	a.stop()
}

// A configuration that cannot be run ends the command with its exit code and an error in both
// languages.
func TestMistakes(t *testing.T) {
	t.Parallel()
	broker := mosquitto.Start(t, mosquitto.Options{})
	server := nats.Start(t, nats.Options{})
	for _, c := range []struct {
		args    []string
		replace []string
		code    int
		en, zh  string
	}{
		{[]string{"run"}, nil, 2, "run --into moves messages into it", "消息入流用 run --into"},
		{[]string{"run", "--into", "--exec", "cat"}, nil, 2, "nothing is left for a step", "没有消息可供步骤处理"},
		{[]string{"work"}, []string{"stream: PLANT", "bucket: x"}, 2, "names no stream", "没有流"},
		{[]string{"work"}, []string{server.Client, "nats://127.0.0.1:1", "connect_retry: true", "connect_retry: false"}, 3, "no connection to NATS", "无法连接 NATS"},
		{[]string{"run", "--into"}, []string{server.Client, "nats://127.0.0.1:1", "connect_retry: true", "connect_retry: false"}, 3, "no connection to NATS", "无法连接 NATS"},
		{[]string{"run", "--into"}, []string{"max_bytes: 104857600", "max_bytes: 10737418240"}, 2, "insufficient storage", "insufficient storage"},
		{[]string{"work", "--then", "out"}, []string{"nats:\n", "producers: {out: {topic: out, qos: 1, done_when: stored}}\nnats:\n"}, 2, "a worker keeps no session store", "没有会话存储"},
	} {
		dir := configuration(t, "plant.yaml", append([]string{"127.0.0.1:1883", broker.Addr(), "nats://127.0.0.1:4222", server.Client}, c.replace...)...)
		for lang, want := range map[string]string{"en": c.en, "zh": c.zh} {
			p := start(t, dir, append(c.args, "-c", "plant.yaml", "--lang", lang)...)
			require.Equal(t, c.code, p.code(), p.log())
			require.Contains(t, p.log(), want)
		}
	}
	// A stream that was made with another number of partitions.
	dir := configuration(t, "plant.yaml", "127.0.0.1:1883", broker.Addr(), "nats://127.0.0.1:4222", server.Client)
	p := start(t, dir, "work", "-c", "plant.yaml")
	p.until(`"msg":"started"`)
	p.stop()
	text, err := os.ReadFile(filepath.Join(dir, "plant.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plant.yaml"), bytes.ReplaceAll(text, []byte("partitions: 8"), []byte("partitions: 9")), 0o600))
	p = start(t, dir, "work", "-c", "plant.yaml")
	require.Equal(t, 2, p.code())
	require.Contains(t, p.log(), "mqtt311.partitions")
}
