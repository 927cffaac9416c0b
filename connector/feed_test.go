package connector_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// A source feeds messages to a consumer and records how they are settled.
type source struct {
	*dialogue
	feed *connector.Feed
	told chan string
}

// feeding builds a connector whose consumer "in" is fed.
func (d *dialogue) feeding(cfg connector.Config, f flow.Flow) *source {
	d.Helper()
	c, err := connector.New(cfg, d.options)
	require.NoError(d, err)
	feed, err := c.Feed("in", f)
	require.NoError(d, err)
	d.connector = c
	d.accepted(false)
	return &source{d, feed, make(chan string, 100)}
}

func (s *source) give(key, payload string) {
	s.Helper()
	require.NoError(s, s.feed.Take(s.ctx, s.input(key, payload)))
}

func (s *source) input(key, payload string) connector.Input {
	return connector.Input{Topic: "t/" + payload, Payload: []byte(payload), QoS: 1, Key: "key " + payload, OrderKey: key,
		Settled: func(done bool) { s.told <- fmt.Sprint(payload, " ", done) }}
}

// hears waits until messages are settled as in want, in this order.
func (s *source) hears(within time.Duration, want ...string) {
	s.Helper()
	for _, w := range want {
		select {
		case got := <-s.told:
			require.Equal(s, w, got)
		case <-time.After(within):
			s.Fatalf("%q was not told within %s", w, within)
		}
	}
	synctest.Wait()
	require.Empty(s, s.told)
}

// A fed message runs like one from the connection: the flow sees the message, its key and the attempts, and
// the source learns when it is done. Nothing is subscribed to.
func TestFeed(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		s := d.feeding(kept(onFailure(1, connector.OnFailure{Then: connector.Drop})),
			flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
				require.Equal(d, "key "+string(m.Payload.Blob), flow.IdempotencyKey(ctx))
				require.Equal(d, "t/"+string(m.Payload.Blob), m.Topic())
				if string(m.Payload.Blob) == "bad" || flow.Attempt(ctx) == 1 {
					return nil, errGate
				}
				return nil, nil
			}))
		s.give("", "good")
		s.hears(time.Second, "good true")
		s.give("", "bad")
		s.hears(time.Second, "bad true")
		h := d.connector.Health()
		require.EqualValues(t, 1, h.Succeeded)
		require.EqualValues(t, 3, h.Failed)
		require.EqualValues(t, 1, h.Dropped)
		require.EqualValues(t, 2, h.Received)
		require.EqualValues(t, 2, h.Acknowledged)
		require.Zero(t, h.Unacked)
	})
}

// While a message is retried, other messages with the same OrderKey wait, and those with another one continue.
func TestFeedKeepsOrderByKey(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		s := d.feeding(kept(connector.ConsumerParams{OrderBy: connector.OrderTopic, OnFailure: connector.OnFailure{InitialDelay: ptr(time.Second)}}),
			flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
				if string(m.Payload.Blob) == "a1" && flow.Attempt(ctx) < 3 {
					return nil, errGate
				}
				return nil, nil
			}))
		s.give("a", "a1")
		s.give("a", "a2")
		s.give("b", "b1")
		s.hears(time.Millisecond, "b1 true")
		s.hears(10*time.Second, "a1 true", "a2 true")
	})
}

// Take waits for room until its context ends. Settled is not called for a message that was not
// taken.
func TestFeedWaitsForRoom(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		release := make(chan struct{})
		s := d.feeding(kept(connector.ConsumerParams{MaxInFlight: 2}), flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
			<-release
			return nil, nil
		}))
		s.give("", "a")
		s.give("", "b")
		ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
		defer cancel()
		require.ErrorIs(t, s.feed.Take(ctx, s.input("", "c")), context.DeadlineExceeded)
		require.Equal(t, 2, d.connector.Health().Unacked)
		taken := d.start(func() error { return s.feed.Take(d.ctx, s.input("", "d")) })
		again := d.start(func() error { return s.feed.Take(d.ctx, s.input("", "e")) })
		close(release)
		require.NoError(t, taken())
		require.NoError(t, again())
		var told []string
		for range 4 {
			told = append(told, <-s.told)
		}
		require.ElementsMatch(t, []string{"a true", "b true", "d true", "e true"}, told)
	})
}

// Stop lets running flows end, and gives the other messages back to the source.
func TestFeedAndStop(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		s := d.feeding(kept(connector.ConsumerParams{Concurrency: 1, MaxInFlight: 2}), flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
			time.Sleep(time.Second)
			return nil, nil
		}))
		s.give("", "runs")
		s.give("", "waits")
		blocked := d.start(func() error { return s.feed.Take(d.ctx, s.input("", "late")) })
		synctest.Wait()
		d.stop(time.Minute)
		require.Error(t, blocked())
		s.hears(time.Millisecond, "waits false", "runs true")
		require.Error(t, s.feed.Take(d.ctx, s.input("", "after")))
	})
}

// Feed must be called before Start, for a consumer that has no other use.
func TestFeedIsRefused(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		nothing := flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { return nil, nil })
		c, err := connector.New(kept(connector.ConsumerParams{}), d.options)
		require.NoError(t, err)
		_, err = c.Feed("other", nothing)
		require.ErrorContains(t, err, "other")
		_, err = c.Feed("in", nil)
		require.Error(t, err)
		feed, err := c.Feed("in", nothing)
		require.NoError(t, err)
		_, err = c.Feed("in", nothing)
		require.Error(t, err)
		require.ErrorContains(t, feed.Take(d.ctx, connector.Input{Topic: "t"}), "before Start")

		cfg := kept(connector.ConsumerParams{})
		cfg.Extension.Unmatched = "in"
		c, err = connector.New(cfg, d.options)
		require.NoError(t, err)
		_, err = c.Feed("in", nothing)
		require.ErrorContains(t, err, "unmatched")
	})
}

// When the context of a message ends, its running flow is cancelled uncharged, and a waiting one does not begin:
// the source gets both messages back.
func TestFeedContextEnds(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		s := d.feeding(kept(onFailure(9, connector.OnFailure{Then: connector.Drop, InitialDelay: ptr(time.Minute)})), flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			switch string(m.Payload.Blob) {
			case "other":
				return nil, nil
			case "fails":
				return nil, errGate
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		ctx, cancel := context.WithCancel(d.ctx)
		in := s.input("", "runs")
		in.Context = ctx
		require.NoError(t, s.feed.Take(d.ctx, in))
		s.give("", "other")
		s.hears(time.Second, "other true")
		cancel()
		s.hears(time.Second, "runs false")

		ctx, cancel = context.WithCancel(d.ctx)
		in = s.input("", "fails")
		in.Context = ctx
		require.NoError(t, s.feed.Take(d.ctx, in))
		synctest.Wait()
		cancel()
		s.hears(time.Nanosecond, "fails false")
		in = s.input("", "late")
		in.Context = ctx
		require.NoError(t, s.feed.Take(d.ctx, in))
		s.hears(time.Second, "late false")
		h := d.connector.Health()
		require.Zero(t, h.Dropped)
		require.Zero(t, h.Unacked)
	})
}

// Stop may be called twice, also with a feed.
func TestFeedAndStopTwice(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		s := d.feeding(kept(connector.ConsumerParams{}), idle)
		require.NoError(d, s.connector.Stop(d.ctx))
		again := make(chan struct{})
		go func() { s.connector.Stop(d.ctx); close(again) }()
		select {
		case <-again:
		case <-time.After(time.Minute):
			d.Fatal("the second Stop does not return")
		}
		require.Error(d, s.feed.Take(d.ctx, s.input("k", "late")))
	})
}

// A source gets back a message whose context has ended, even if it would have been acknowledged when its
// flow begins, or if it waits for a dead letter that cannot be written.
func TestFeedContextEndsElsewhere(t *testing.T) {
	t.Run("immediately", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			s := d.feeding(kept(connector.ConsumerParams{AckMode: connector.Immediately}), idle)
			ctx, cancel := context.WithCancel(d.ctx)
			cancel()
			in := s.input("", "late")
			in.Context = ctx
			require.NoError(t, s.feed.Take(d.ctx, in))
			s.hears(time.Second, "late false")
			require.Zero(t, d.connector.Health().Unacked)
		})
	})
	t.Run("dead letter", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			file := t.TempDir() + "/dead"
			s := d.feeding(kept(onFailure(0, connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: file})),
				flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { return nil, errGate }))
			require.NoError(t, os.Mkdir(file, 0o700))
			ctx, cancel := context.WithCancel(d.ctx)
			in := s.input("", "fails")
			in.Context = ctx
			require.NoError(t, s.feed.Take(d.ctx, in))
			time.Sleep(time.Hour)
			cancel()
			s.hears(time.Nanosecond, "fails false")
		})
	})
}

// Reconfigure refuses to send unmatched messages to a fed consumer, too.
func TestFeedAndReconfigureUnmatched(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.feeding(kept(connector.ConsumerParams{}), idle)
		cfg := kept(connector.ConsumerParams{})
		cfg.Extension.Unmatched = "in"
		_, err := d.connector.Reconfigure(d.ctx, cfg, nil)
		require.ErrorContains(t, err, "unmatched")
	})
}

var idle = flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { return nil, nil })
