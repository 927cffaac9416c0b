package ui

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

func TestHealthWithoutAConnector(t *testing.T) {
	b := openPage(t, Options{File: file(t, "connector: {}\n")})
	v := post[healthView](b, "health", map[string]int{})
	require.False(t, v.Running)
	require.Empty(t, v.Samples)
}

// The samples show what a running connector does. If it is not ready, the reason is given in both
// languages and without secrets.
func TestHealthOfARunningConnector(t *testing.T) {
	b, _ := liveOf(t, "a", Options{})
	c, err := connector.New(*b.s.reach.cfg, connector.Options{})
	require.NoError(t, err)
	require.NoError(t, c.Consume("in", flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { return nil, nil })))
	b = openPage(t, Options{File: b.s.opts.File, Running: c})
	v := post[healthView](b, "health", map[string]int{})
	require.True(t, v.Running)
	require.False(t, v.Ready)
	require.Contains(t, v.Why.EN, "not connected")
	require.Contains(t, v.Why.ZH, "未连接")

	require.NoError(t, c.Start(t.Context()))
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, c.Stop(ctx))
	}()
	require.Eventually(t, func() bool { return post[healthView](b, "health", map[string]int{}).Ready }, patience, 10*time.Millisecond)
	b.publish("a", nil, 1, false)
	require.Eventually(t, func() bool {
		all := post[healthView](b, "health", map[string]int{}).Samples
		return all[len(all)-1].Succeeded == 1
	}, patience, 100*time.Millisecond)
	all := post[healthView](b, "health", map[string]int{}).Samples
	require.Len(t, post[healthView](b, "health", map[string]int{"after": all[0].N}).Samples, len(all)-1)
	require.Len(t, post[healthView](b, "health", map[string]int{"after": 1 << 40}).Samples, len(all), "of another program")
	require.Len(t, post[healthView](b, "health", map[string]int{"after": -1}).Samples, len(all))
	require.Equal(t, http.StatusBadRequest, refused(b, "health", map[string]string{"after": "x"}).status)
}

// Only the samples of the last hour are kept.
func TestHealthKeepsAnHour(t *testing.T) {
	var h connector.Health
	m := &monitor{health: func() connector.Health { h.Received += 10; return h }}
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const n = mostSamples*2 + 7
	for i := range n {
		m.look(begun.Add(time.Duration(i) * sampleEvery))
		all := m.after(0)
		require.Len(t, all, min(i+1, mostSamples))
		require.Equal(t, i+1, all[len(all)-1].N)
	}
	all := m.after(0)
	for i := 1; i < len(all); i++ {
		require.Equal(t, all[i-1].N+1, all[i].N)
		require.Equal(t, sampleEvery, all[i].Time.Sub(all[i-1].Time))
	}
	require.EqualValues(t, 10*n, all[len(all)-1].Received)
	require.Len(t, m.after(n-3), 3)
	require.Empty(t, m.after(n))
}

func TestPercentiles(t *testing.T) {
	var now connector.Histogram
	m := &monitor{health: func() connector.Health { return connector.Health{FlowTime: now} }}
	now.Buckets[5] = 1_000_000 // counted before the first sample
	m.look(time.Time{})
	require.Nil(t, m.after(0)[0].P50, "nobody knows when those were")
	m.look(time.Time{})
	require.Nil(t, m.after(1)[0].P50, "none ended")
	now.Buckets[3] += 98 // runs of 5 to 10 ms
	now.Buckets[9]++     // one of 500 to 1000 ms
	now.Buckets[16]++    // one above 5 minutes
	m.look(time.Time{})
	s := m.after(2)[0]
	require.InDelta(t, 5+5*50.0/98, *s.P50, 0.001)
	require.InDelta(t, 5+5*95.0/98, *s.P95, 0.001)
	require.InDelta(t, 1000, *s.P99, 0.001)
	now.Buckets[16] += 10
	m.look(time.Time{})
	require.InDelta(t, 300_000, *m.after(3)[0].P50, 0.001)
}

// Every reason is given in both languages.
func TestWhyNotReady(t *testing.T) {
	b := openPage(t, Options{File: file(t, "connector: {general: {broker_url: 'h:1', client_id: c, username: u, password: hunter2}}\n")})
	up := connector.Health{Connected: true, Subscribed: true}
	require.Nil(t, b.s.whyNotReady(&up))
	for zh, change := range map[string]func(*connector.Health){
		"未连接服务端：[MQTT:REFUSED] [redacted] is wrong": func(h *connector.Health) {
			h.Connected, h.Problem = false, flow.NewError(flow.TypeRefused, errors.New("hunter2 is wrong"))
		},
		"服务端拒绝订阅：a、b":                 func(h *connector.Health) { h.RefusedFilters = []string{"a", "b"} },
		"服务端尚未确认订阅：a":                 func(h *connector.Health) { h.UngrantedFilters = []string{"a"} },
		"尚未订阅":                        func(h *connector.Health) { h.Subscribed = false },
		"有消息长时间未确认：1m0s":              func(h *connector.Health) { h.Stalled, h.OldestUnacked = true, time.Minute },
		"最近一分钟内有消息不属于任何 Consumer：x/y": func(h *connector.Health) { h.UnmatchedTopic = "x/y" },
	} {
		h := up
		change(&h)
		why := b.s.whyNotReady(&h)
		require.Equal(t, zh, why.ZH)
		require.NotEmpty(t, why.EN)
		require.NotContains(t, why.EN, "hunter2")
	}
}

// The connector is sampled every few seconds until the server is shut down.
func TestHealthIsSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &monitor{health: func() connector.Health { return connector.Health{} }}
		ctx, cancel := context.WithCancel(t.Context())
		go m.run(ctx)
		time.Sleep(10*sampleEvery + time.Second)
		require.Len(t, m.after(0), 11)
		cancel()
		time.Sleep(time.Hour)
		require.Len(t, m.after(0), 11)
	})
}
