package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/stretchr/testify/require"
)

// pipeline returns the configuration under a heading of docs/benthos.md, with the given replacements.
func pipeline(t *testing.T, heading string, instead ...string) string {
	t.Helper()
	page, err := os.ReadFile("../../../../docs/benthos.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(page), "### "+heading+"\n")
	require.True(t, ok, "there is no %q", heading)
	text := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(section)
	require.NotNil(t, text)
	config := text[1]
	for i := 0; i < len(instead); i += 2 {
		require.Contains(t, config, instead[i])
		config = strings.ReplaceAll(config, instead[i], instead[i+1])
	}
	require.NotRegexp(t, "//[a-z]", config, "a server of the page is left")
	lint(t, config)
	return config + "\nhttp: {enabled: false}\n"
}

// lint lets the engine lint a configuration.
func lint(t *testing.T, config string) {
	t.Helper()
	e := launch(t, config, "lint")
	<-e.exited
	require.NoError(t, e.err, e.log())
	require.Empty(t, e.log())
}

func TestPageMapping(t *testing.T) {
	t.Parallel()
	b := mosquitto.Start(t, mosquitto.Options{})
	came := observe(t, b.Addr(), "plant/+/celsius")
	config := pipeline(t, "From MQTT to MQTT, with a mapping", "localhost:1883", b.Addr())
	start(t, config).active(1).kill() // not stop: it may not listen to signals yet
	// The server keeps the session, and what comes in the meantime.
	require.NoError(t, publish(t.Context(), connect(t, b.Addr()), 100, 0, func(i int) client.Message {
		return client.Message{Topic: "plant/7/fahrenheit", Payload: fmt.Appendf(nil, `{"fahrenheit": %d}`, 32+18*i)}
	}))
	e := start(t, config)
	came.awaits(t, 100)
	e.stop()
	require.Len(t, came.all(), 100)
	for i := range 100 {
		require.Equal(t, 1, came.times[fmt.Sprintf(`plant/7/celsius {"celsius":%d}`, 10*i)])
	}
}

func TestPageHTTP(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	bodies, keys, busy := make(map[string]int), make(map[string]bool), make(map[string]int)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		what := string(body)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.HasPrefix(what, "bad"):
			w.WriteHeader(http.StatusBadRequest)
		case strings.HasPrefix(what, "busy") && busy[what] < 2:
			busy[what]++
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			bodies[what]++
			keys[r.Header.Get("Idempotency-Key")] = true
		}
	}))
	defer service.Close()
	b := mosquitto.Start(t, mosquitto.Options{})
	dead, meta := observe(t, b.Addr(), "dead/orders"), observe(t, b.Addr(), "dead/orders/meta")
	e := start(t, pipeline(t, "From MQTT to HTTP, with retries and dead letters",
		"tcp://localhost:1883", "tcp://"+b.Addr(), "http://localhost:8080", service.URL)).active(1)
	kinds := []string{"good", "busy", "bad"}
	require.NoError(t, publish(t.Context(), connect(t, b.Addr()), 30, 0, func(i int) client.Message {
		return client.Message{Topic: "shop/orders", Payload: fmt.Append(nil, kinds[i%3], " ", i)}
	}))
	done := func() int { mu.Lock(); defer mu.Unlock(); return len(bodies) }
	eventually(t, done, func() bool { return done() == 20 })
	dead.awaits(t, 10)
	meta.awaits(t, 10)
	e.stop()
	require.Equal(t, 10, dead.count())
	require.Len(t, keys, 20, "a key each")
	for _, m := range dead.all() {
		require.True(t, strings.HasPrefix(m, "dead/orders bad"), m)
	}
	for what, n := range bodies {
		require.Equal(t, 1, n, what)
	}
}

func TestPageFanIn(t *testing.T) {
	t.Parallel()
	a, b, central := mosquitto.Start(t, mosquitto.Options{}), mosquitto.Start(t, mosquitto.Options{}), mosquitto.Start(t, mosquitto.Options{})
	came := observe(t, central.Addr(), "#")
	config := pipeline(t, "Fan-in from several servers, with shared subscriptions",
		"plant-a:1883", a.Addr(), "plant-b:1883", b.Addr(), "central:1883", central.Addr())
	engines := []*engine{start(t, config), start(t, config)}
	for _, e := range engines {
		e.active(2)
	}
	for name, server := range map[string]*mosquitto.Broker{"a": a, "b": b} {
		require.NoError(t, publish(t.Context(), connect(t, server.Addr()), 200, 0, func(i int) client.Message {
			return client.Message{Topic: fmt.Sprint("readings/", name, "/", i), Payload: []byte("x")}
		}))
	}
	came.awaits(t, 400)
	for _, e := range engines {
		e.stop()
	}
	require.Len(t, came.all(), 400, "each message once")
}

// A buffer breaks the order that an input asks for, unless there is a single thread.
func TestOrderBehindABuffer(t *testing.T) {
	t.Parallel()
	const refused = "has order: true, and the buffer acknowledges"
	for name, c := range map[string]struct {
		input, more string
		fine        bool
	}{
		"a buffer":             {"mqtt311: {urls: [tcp://127.0.0.1:1], topics: [t], order: true}", "buffer: {memory: {}}", false},
		"within a broker":      {"broker: {inputs: [{mqtt311: {urls: [tcp://127.0.0.1:1], topics: [t], order: true}}]}", "buffer: {memory: {}}", false},
		"as a resource":        {"resource: r", "input_resources: [{label: r, mqtt311: {urls: [tcp://127.0.0.1:1], topics: [t], order: true}}]\nbuffer: {memory: {}}", false},
		"a buffer, one thread": {"mqtt311: {urls: [tcp://127.0.0.1:1], topics: [t], order: true}", "buffer: {memory: {}}\npipeline: {threads: 1}", true},
		"no buffer":            {"mqtt311: {urls: [tcp://127.0.0.1:1], topics: [t], order: true}", "buffer: {none: {}}", true},
		"no order":             {"mqtt311: {urls: [tcp://127.0.0.1:1], topics: [t]}", "buffer: {memory: {}}", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t, "input: {"+c.input+"}\noutput: {drop: {}}\nhttp: {enabled: false}\n"+c.more+"\n")
			eventually(t, func() int { return 0 }, func() bool {
				return strings.Contains(e.log(), refused) || strings.Contains(e.log(), "Failed to connect to mqtt311")
			})
			require.Equal(t, !c.fine, strings.Contains(e.log(), refused), e.log())
			if !c.fine {
				<-e.exited
				require.Error(t, e.err)
			}
		})
	}
}
