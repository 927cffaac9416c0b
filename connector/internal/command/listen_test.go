package command

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/stretchr/testify/require"
)

var listening = regexp.MustCompile(`"address":"([^"]+)"`)

// listeningAt returns the address at which run serves its metrics.
func listeningAt(t *testing.T, r *running) string {
	t.Helper()
	r.err.until(t, `"address":`)
	return "http://" + listening.FindStringSubmatch(r.err.String())[1]
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func verdictAt(t *testing.T, url string) (int, verdict) {
	t.Helper()
	code, body := get(t, url)
	var v verdict
	require.NoError(t, json.Unmarshal([]byte(body), &v), body)
	require.Equal(t, code == 200, v.OK)
	return code, v
}

// metricsAt returns the values by name and labels.
func metricsAt(t *testing.T, url string) map[string]string {
	t.Helper()
	code, body := get(t, url+"/metrics")
	require.Equal(t, 200, code)
	out := make(map[string]string)
	for line := range strings.Lines(body) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			out[name] = value
		}
	}
	return out
}

// The metrics of docs/command.md have the right values. run is ready while messages flow, and not
// when one waits too long.
func TestListen(t *testing.T) {
	addr := startBroker(t)
	dir := t.TempDir()
	file := configFile(t, addr, strings.Replace(consumes, "retries: 5", "retries: 1", 1)+"producers:\n  out: {topic: out, qos: 1}\n")
	queue(t, addr, "in/#")
	command := `read x; case $x in bad) exit 1;; wait) while ! test -e '` + dir + `/go'; do sleep 0.01; done;; esac; touch '` + dir + `/'$x`
	r := startRun(t, "run", "-c", file, "--exec", command, "--then", "out", "--listen", "127.0.0.1:0", "--stall-after", "300ms")
	url := listeningAt(t, r)
	r.err.until(t, `"msg":"started"`)
	require.Eventually(t, func() bool { code, _ := verdictAt(t, url+"/readyz"); return code == 200 }, 2*time.Minute, 5*time.Millisecond)

	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "good", "-q", "1")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "bad", "-q", "2")
	r.err.until(t, `"msg":"message dropped"`)
	waitFor(t, dir+"/good")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "wait", "-q", "1")
	r.err.until(t, `"type":"CORE:STALLED"`)
	require.Eventually(t, func() bool { // an earlier message may stall briefly as well
		code, v := verdictAt(t, url+"/readyz")
		return code == 503 && len(v.Reasons) == 1 && v.Reasons[0].Code == "stalled"
	}, 2*time.Minute, 5*time.Millisecond)
	code, _ := verdictAt(t, url+"/livez")
	require.Equal(t, 200, code, "a restart would not help")
	require.NotEqual(t, "0", metricsAt(t, url)["mqtt_oldest_unacked_seconds"])

	require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
	require.Eventually(t, func() bool { code, _ := verdictAt(t, url+"/readyz"); return code == 200 }, 2*time.Minute, 5*time.Millisecond)
	var m map[string]string
	require.Eventually(t, func() bool { // until the last PUBACK is written
		m = metricsAt(t, url)
		return m[`mqtt_packets_total{dir="sent",type="PUBACK"}`] == "3"
	}, 2*time.Minute, 5*time.Millisecond)
	for name, want := range map[string]string{
		`mqtt_connected`:                                             "1",
		`mqtt_unacked`:                                               "0",
		`mqtt_oldest_unacked_seconds`:                                "0",
		`mqtt_connects_total{result="ok"}`:                           "1",
		`mqtt_connects_total{result="failed"}`:                       "0",
		`mqtt_session_present_total`:                                 "1",
		`mqtt_flow_total{result="ok"}`:                               "2",
		`mqtt_flow_total{result="failed"}`:                           "2",
		`mqtt_flow_total{result="timeout"}`:                          "0",
		`mqtt_flow_retries_total`:                                    "1",
		`mqtt_flow_running`:                                          "0",
		`mqtt_flow_seconds_count`:                                    "4",
		`mqtt_dropped_total{reason="policy"}`:                        "1",
		`mqtt_dead_letter_total{result="ok"}`:                        "0",
		`mqtt_messages_acknowledged_total`:                           "3",
		`mqtt_publish_total{qos="1",result="ok"}`:                    "2",
		`mqtt_publish_seconds_count{qos="1"}`:                        "2",
		`mqtt_publish_in_flight`:                                     "0",
		`mqtt_redelivery_total{result="adopted"}`:                    "0",
		`mqtt_inbox_messages`:                                        "0",
		`mqtt_read_paused_seconds_total`:                             "0",
		`mqtt_messages_received_total{dup="0",qos="1",retained="0"}`: "3",
		`mqtt_packets_total{dir="sent",type="PUBACK"}`:               "3",
		`mqtt_packets_total{dir="received",type="PUBLISH"}`:          "3",
	} {
		require.Equal(t, want, m[name], name)
	}
	require.NotContains(t, m, "mqtt_tls_cert_expires_seconds", "there is no TLS")
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
	_, err := http.Get(url + "/livez")
	require.Error(t, err, "it ended with run")
}

// Before the first connection run is alive but not ready, and gives the reason, in Chinese too.
func TestReadyzBeforeTheFirstConnection(t *testing.T) {
	file := writeFile(t, "c.yaml", "connector:\n  general: {broker_url: '127.0.0.1:1', client_id: c}\n  advanced: {connect_retry: true, auto_reconnect: true}\n"+consumes)
	r := startRun(t, "run", "-c", file, "--listen", "127.0.0.1:0", "--lang", "zh")
	url := listeningAt(t, r)
	code, v := verdictAt(t, url+"/readyz")
	require.Equal(t, 503, code)
	require.Len(t, v.Reasons, 2)
	require.Equal(t, "not_connected", v.Reasons[0].Code)
	require.True(t, hasHan(v.Reasons[0].Message))
	require.Equal(t, "not_subscribed", v.Reasons[1].Code)
	code, v = verdictAt(t, url+"/livez")
	require.Equal(t, 200, code)
	require.Empty(t, v.Reasons)
	r.err.until(t, "连接失败")
	require.NotEqual(t, "0", metricsAt(t, url)[`mqtt_connects_total{result="failed"}`])
	code, _ = get(t, url+"/other")
	require.Equal(t, 404, code)
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
}

// The reasons for not being ready: filters that are refused or not granted, an unmatched message, a store that
// does not answer, and stopping.
func TestReadyzReasons(t *testing.T) {
	w := &watch{say: (&Program{}).Say}
	require.Empty(t, w.reasons(connector.Health{Connected: true, Subscribed: true}))
	require.Equal(t, []reason{
		{"filter_refused", `the server refuses the topic "a"`},
		{"filter_refused", `the server refuses the topic "b"`},
	}, w.reasons(connector.Health{Connected: true, RefusedFilters: []string{"a", "b"}}))
	require.Equal(t, []reason{{"filter_not_granted", `the server has not granted the topic "a" yet`}},
		w.reasons(connector.Health{Connected: true, UngrantedFilters: []string{"a"}}))
	require.Equal(t, []reason{{"unmatched", `a message on "a\x00" matched no consumer within the last minute`}},
		w.reasons(connector.Health{Connected: true, Subscribed: true, UnmatchedTopic: "a\x00"}))
	require.Equal(t, []reason{{"store_waits", "the session store has not answered for 15s: look at its disk"}},
		w.reasons(connector.Health{Connected: true, Subscribed: true, StoreWaits: 15 * time.Second}))
	w.stopping.Store(true)
	require.Equal(t, []reason{{"stopping", "the connector stops"}}, w.ownReasons())
}

// Connections that send nothing, stop within a request, or stay open after an answer are closed.
func TestListenIdle(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "yes") })
	server := newServer(handler, 100*time.Millisecond, slog.New(slog.DiscardHandler))
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	for name, said := range map[string]string{
		"nothing":            "",
		"half a header":      "GET / HTTP/1.1\r\nHost:",
		"a body that is due": "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
		"a whole request":    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			defer c.Close()
			io.WriteString(c, said)
			c.SetReadDeadline(time.Now().Add(time.Minute))
			_, err = io.Copy(io.Discard, c)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is still open")
		})
	}
}
