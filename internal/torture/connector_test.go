package torture_test

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/torture"
)

// consumeByConnector is the consumer as a user would write it. Messages are acknowledged when their flow
// has ended, so nothing says when the acknowledgement is on record: a message that is delivered again after
// a kill counts as having been in work.
func consumeByConnector(ctx context.Context, told *torture.Child) error {
	text := fmt.Sprintf(`connector:
  general: {broker_url: "mqtt://%s", client_id: %q}
  advanced: {clean_session: false, auto_reconnect: true, connect_retry: true, connect_retry_interval: 10ms,
    max_reconnect_interval: 50ms, keep_alive: %v, ping_timeout: 500ms, connect_timeout: 1s, order: true}
  extension: {session_store: {dir: %q}}
consumers:
  in: {topics: [%q], qos: Exactly Once}
`, told.Addr, told.ClientID, torture.KeepAlive, filepath.Join(told.Dir, "store"), torture.Filter)
	cfg, _, err := config.Parse([]byte(text), told.Dir)
	if err != nil {
		return err
	}
	c, err := connector.New(*cfg, connector.Options{})
	if err != nil {
		return err
	}
	err = c.Consume("in", flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		told.Noted(m.Attribute["topic"].(string), m.Payload.Blob)
		return m, nil
	}))
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	go func() {
		for said := false; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			var h connector.Health
			told.Timed("Health", 0, func() { h = c.Health() })
			if h.Subscribed && !said {
				said = true
				told.Subscribed()
			}
		}
	}()
	select {
	case <-c.Done():
		return c.Err()
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.Stop(within)
}
