package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/ui"
	"github.com/mqtt311/mqtt311/packets"
)

// Whether a browser shows the page Live while a connector consumes.
const (
	unwatched = "nobody looks"
	watched   = "a reader of Live"
)

// liveRate is how many messages are published per second. On a machine that cannot keep up, both rows get fewer,
// which shows in their time per message.
const liveRate = 10_000

// liveTables measure the processor time of a connector with its page, with and without a reader of the live
// stream.
func (m method) liveTables() []table {
	t := table{Name: "page: live, 10,000 messages a second"}
	for _, who := range []string{unwatched, watched} {
		t.Rows = append(t.Rows, row{who, func() (values, error) {
			return job{Work: "watch", Who: who, Round: max(2*time.Second, m.Traffic), Profile: m.Profile}.beside()
		}})
	}
	return []table{t}
}

// beside runs the job together with a server and a publisher.
func (j job) beside() (values, error) {
	server, err := job{Work: "serve", Who: "mochi"}.start(second)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	j.Addr = server.addr
	publisher, err := job{Work: "serve", Who: "publisher", Addr: j.Addr}.start(second)
	if err != nil {
		return nil, err
	}
	defer publisher.stop()
	return j.run(first)
}

// publishSteadily publishes liveRate messages a second until the context ends.
func publishSteadily(ctx context.Context, addr string) error {
	c, err := connectOurs(options{addr: addr, id: "publisher", window: window, calls: new(atomic.Int64)})
	if err != nil {
		return err
	}
	defer c.close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begun, sent := time.Now(), 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		due := int(time.Since(begun).Seconds() * liveRate)
		if err := c.publish(load{n: due - sent, qos: byte(packets.AtLeastOnce)}); err != nil {
			return err
		}
		sent = due
	}
}

// watch consumes with a connector that has a page, and measures its processor time. The browser is simulated in the
// same process and discards what it gets.
func watch(j job) (values, error) {
	dir, err := os.MkdirTemp("", "mqtt311-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "connector.yaml")
	text := fmt.Sprintf("connector: {general: {broker_url: '%s', client_id: bench}, advanced: {clean_session: true}}\nconsumers: {bench: {topics: ['%s'], qos: 1}}\n", j.Addr, topic)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cfg, _, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	c, err := connector.New(*cfg, connector.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	if err := c.Consume("bench", flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { return nil, nil })); err != nil {
		return nil, err
	}
	if err := c.Start(context.Background()); err != nil {
		return nil, err
	}
	page, err := ui.Start(ui.Options{File: file, Running: c, Logger: log})
	if err != nil {
		return nil, err
	}
	if j.Who == watched {
		stream, err := look(page.URL())
		if err != nil {
			return nil, err
		}
		defer stream.Close()
		go io.Copy(io.Discard, stream)
	}
	time.Sleep(j.Round / 2) // to get going
	stop, err := j.profile()
	if err != nil {
		return nil, err
	}
	m := &meter{calls: new(atomic.Int64)}
	m.start()
	before := c.Health().Acknowledged
	time.Sleep(j.Round)
	n := int(c.Health().Acknowledged - before)
	v := m.stop(n)
	if n == 0 {
		return nil, errors.New("the connector got no message")
	}
	return v, stop()
}

// look logs in to a page with its token and opens the live stream.
func look(url string) (io.ReadCloser, error) {
	base, token, ok := strings.Cut(url, "/#token=")
	if !ok {
		return nil, errors.New("the page has no token")
	}
	send := func(path string, body any, cookies []*http.Cookie) (*http.Response, error) {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequest(http.MethodPost, base+path, strings.NewReader(string(text)))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		answer, err := http.DefaultClient.Do(r)
		if err == nil && answer.StatusCode != http.StatusOK {
			why, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
			answer.Body.Close()
			err = fmt.Errorf("the page answers %s: %s", answer.Status, why)
		}
		return answer, err
	}
	login, err := send("/api/login", map[string]string{"token": token}, nil)
	if err != nil {
		return nil, err
	}
	login.Body.Close()
	stream, err := send("/api/live/listen", map[string]string{}, login.Cookies())
	if err != nil {
		return nil, err
	}
	return stream.Body, nil
}
