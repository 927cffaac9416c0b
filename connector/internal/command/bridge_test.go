package command

import (
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// bridgeFile is a configuration that forwards in/# to another server.
func bridgeFile(t *testing.T, near, far, topic string) string {
	t.Helper()
	return configFile(t, near, consumes+`connections:
  cloud:
    general: {broker_url: '`+far+`', client_id: far}
    advanced: {clean_session: false, auto_reconnect: true, connect_retry: true, connect_retry_interval: 50ms}
    extension: {session_store: {dir: store}}
producers:
  up: {topic: '`+topic+`', qos: 1, connection: cloud, done_when: stored, retained: keep}
`)
}

func startFar(t *testing.T) string {
	t.Helper()
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b.Addr
}

// run forwards with --then; metrics and /readyz report the other connection by name.
func TestListenConnections(t *testing.T) {
	near, far := startBroker(t), startFar(t)
	queue(t, far, "far/#")
	r := startRun(t, "run", "-c", bridgeFile(t, near, far, "far/${attribute.topic}"), "--then", "up", "--listen", "127.0.0.1:0")
	url := listeningAt(t, r)
	r.err.until(t, `"msg":"started"`)
	require.Eventually(t, func() bool { code, _ := verdictAt(t, url+"/readyz?connection=cloud"); return code == 200 }, 2*time.Minute, 5*time.Millisecond)
	ok(t, "pub", "-b", near, "-t", "in/a", "-m", "good", "-q", "1")
	require.Eventually(t, func() bool { // until then a fetch at the far server might lose the message
		m := metricsAt(t, url)
		return m["mqtt_messages_acknowledged_total"] == "1" && m[`mqtt_connection_waiting{connection="cloud"}`] == "0"
	}, 2*time.Minute, 5*time.Millisecond)
	require.Equal(t, "good\n", fetch(t, far, "far/#", "-C", "1"))
	m := metricsAt(t, url)
	require.Equal(t, "1", m[`mqtt_connection_up{connection="cloud"}`])
	require.Equal(t, "1", m[`mqtt_connection_connects_total{connection="cloud",result="ok"}`])
	require.Equal(t, "0", m[`mqtt_connection_unretained_total{connection="cloud"}`])
	require.NotEqual(t, "0", m[`mqtt_connection_bytes_total{connection="cloud",dir="sent"}`])
	require.Eventually(t, func() bool { return metricsAt(t, url)[`mqtt_connection_waiting{connection="cloud"}`] == "0" }, 2*time.Minute, 5*time.Millisecond)
	code, _ := get(t, url+"/readyz?connection=other")
	require.Equal(t, 404, code)
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
}

// An unreachable second server is reported by name, and the connector itself is ready.
func TestListenConnectionAway(t *testing.T) {
	near := startBroker(t)
	r := startRun(t, "run", "-c", bridgeFile(t, near, "127.0.0.1:1", "far/${attribute.topic}"), "--then", "up", "--listen", "127.0.0.1:0")
	url := listeningAt(t, r)
	r.err.until(t, `"msg":"started"`)
	r.err.until(t, `"connection":"cloud"`)
	require.Eventually(t, func() bool { code, _ := verdictAt(t, url+"/readyz"); return code == 200 }, 2*time.Minute, 5*time.Millisecond)
	code, v := verdictAt(t, url+"/readyz?connection=cloud")
	require.Equal(t, 503, code)
	require.Equal(t, "not_connected", v.Reasons[0].Code)
	ok(t, "pub", "-b", near, "-t", "in/a", "-m", "kept", "-q", "1")
	require.Eventually(t, func() bool { return metricsAt(t, url)[`mqtt_connection_waiting{connection="cloud"}`] == "1" }, 2*time.Minute, 5*time.Millisecond)
	require.Equal(t, "0", metricsAt(t, url)[`mqtt_connection_up{connection="cloud"}`])
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
}

// An endless loop is refused before anything is connected.
func TestThenLoop(t *testing.T) {
	r := mqtt311(t, "run", "-c", bridgeFile(t, "127.0.0.1:1", "localhost:1", "${attribute.topic}"), "--then", "up")
	require.Equal(t, ExitUsage, r.code)
	require.Contains(t, r.err, "E161 producers.up.topic")
	require.Contains(t, r.err, "--then up: an endless loop")
}

// test checks every connection, and reports whose step failed.
func TestTestVerbConnections(t *testing.T) {
	near, far := startBroker(t), startFar(t)
	r := mqtt311(t, "test", "-c", bridgeFile(t, near, far, "far/x"))
	require.Zero(t, r.code, r.err)
	require.Regexp(t, `(?s)disconnect +ok .*connection cloud:\ntcp +ok .*`+far+`\nconnect +ok .*disconnect +ok .*in/#: QoS.*Connected as q-test-.*connection cloud: Connected as far-test-`, r.out)

	file := bridgeFile(t, near, "127.0.0.1:1", "far/x")
	r = mqtt311(t, "test", "-c", file)
	require.Equal(t, ExitConnection, r.code)
	require.Contains(t, r.err, `connection "cloud": `)
	require.Contains(t, r.out, "Connected as q-test-")
	r = mqtt311(t, "test", "-c", file, "--json")
	require.Contains(t, r.out, `"connection":"cloud"`)
	require.Contains(t, r.out, `"ok":true,"client_id":"q-test-`)
	require.Contains(t, r.out, `"connection":"cloud","ok":false`)
	require.Contains(t, mqtt311(t, "test", "-c", file, "--lang", "zh").out, "连接 cloud：")
}

// The line of progress shows every connection.
func TestProgressConnections(t *testing.T) {
	h := connector.Health{State: client.Connected, Connections: map[string]connector.ConnectionHealth{"b": {State: client.Waiting, Waiting: 7}, "a\x07": {State: client.Connected}}}
	show := &status{period: time.Second}
	require.True(t, strings.HasSuffix((&Program{}).health(show, h), `  a\a connected, 0 waiting  b waiting, 7 waiting`), (&Program{}).health(show, h))
	require.True(t, strings.HasSuffix((&Program{Lang: "zh"}).health(show, h), `  b 等待重连，待发 7`))
}
