package connector_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// The platform's limits are enforced: a value out of range is refused when the consumer gets its
// flow, wherever in the flow it is. If the flow is run nevertheless, the step does nothing.
func TestFlowNumbersOutOfRange(t *testing.T) {
	ran := 0
	body := failing(0, &ran, nil)
	for want, f := range map[string]flow.Flow{
		"Retries of a Catch is 6":            flow.Try(body, flow.Catch{Retries: 6}),
		"Retries of a Catch is -1":           flow.Try(body, flow.Catch{Retries: -1}),
		"Interval of a Catch is 500ms":       flow.Try(body, flow.Catch{Interval: time.Second / 2}),
		"Interval of a Catch is 5m1s":        flow.Chain(body, flow.Try(body, flow.Catch{Interval: 301 * time.Second})),
		"retries of UntilSuccessful is 101":  flow.Try(flow.UntilSuccessful(body, 101, 0)),
		"retries of UntilSuccessful is -1":   flow.Try(body, flow.Catch{Flow: flow.UntilSuccessful(body, -1, 0)}),
		"interval of UntilSuccessful is 1ms": flow.Parallel(body, flow.UntilSuccessful(body, 1, time.Millisecond)),
		"interval of UntilSuccessful is -1s": flow.UntilSuccessful(flow.UntilSuccessful(body, 1, -time.Second), 0, 0),
		"${nothing} is none of":              flow.Choice(nil, flow.SetPayload("${nothing}")),
		`"${" without "}"`:                   flow.Choice([]flow.Case{{Flow: flow.SetVariable("x", "${")}}, nil),
		"${attribute} names no field":        flow.SetAttribute("x", "${attribute}"),
		"${variable} names no field":         flow.Log(slog.New(slog.DiscardHandler), "${variable}"),
	} {
		c, err := connector.New(kept(connector.ConsumerParams{}), connector.Options{})
		require.NoError(t, err)
		err = c.Consume("in", f)
		require.ErrorContains(t, err, want)
		require.False(t, flow.AsError(err).Retryable())
		_, err = f.Run(t.Context(), reading())
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, ran)
	for _, f := range []flow.Flow{
		flow.Try(body, flow.Catch{Retries: 5, Interval: 300 * time.Second}),
		flow.UntilSuccessful(body, 100, time.Second),
	} {
		_, err := f.Run(t.Context(), reading())
		require.NoError(t, err)
	}
}

func TestChoice(t *testing.T) {
	is := func(s string) func(*flow.Message) bool {
		return func(m *flow.Message) bool { return string(m.Payload.Blob) == s }
	}
	cases := []flow.Case{
		{When: is("21"), Flow: set("first")}, {When: is("21"), Flow: set("second")}, {When: is("22"), Flow: flow.RaiseError("APP:NO", "no")},
	}
	for payload, want := range map[string]string{"21": "first", "23": "else", "22": ""} {
		m := reading()
		m.Payload.Blob = []byte(payload)
		out, err := flow.Choice(cases, set("else")).Run(t.Context(), m)
		if want == "" {
			require.ErrorContains(t, err, "no")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, string(out.Payload.Blob))
	}
	m := reading()
	out, err := flow.Choice(cases[2:], nil).Run(t.Context(), m)
	require.NoError(t, err)
	require.Same(t, m, out)
}

// Parallel runs flows concurrently, each on a copy of the message. Their variables are merged, and
// the first failure ends the others.
func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(d time.Duration, name string) flow.Flow {
			return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
				m.Payload.Blob[0] = 'x'
				select {
				case <-time.After(d):
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
				m.Variable[name], m.Variable["last"] = d, name
				return m, nil
			})
		}
		start := time.Now()
		out, err := flow.Parallel(slow(2*time.Second, "a"), slow(time.Second, "b")).Run(t.Context(), reading())
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(start))
		require.Equal(t, "21", string(out.Payload.Blob))
		require.Equal(t, map[string]any{"a": 2 * time.Second, "b": time.Second, "last": "b"}, out.Variable)

		start = time.Now()
		fails := flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
			time.Sleep(time.Second)
			return nil, errFlow
		})
		_, err = flow.Parallel(slow(time.Hour, "a"), fails).Run(t.Context(), reading())
		require.ErrorIs(t, err, errFlow)
		require.Equal(t, time.Second, time.Since(start))

		_, err = flow.Parallel(flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
			runtime.Goexit()
			return nil, nil
		})).Run(t.Context(), reading())
		require.ErrorContains(t, err, "ended its goroutine")
	})
}

func TestSet(t *testing.T) {
	m := reading()
	m.Attribute, m.Variable = nil, nil
	out, err := flow.Chain(
		flow.SetVariable("was", "${payload}"), flow.SetAttribute("kind", "reading"),
		flow.SetPayload("${variable.was} ${attribute.kind}"),
	).Run(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, "21 reading", string(out.Payload.Blob))
	require.Equal(t, "21", out.Variable["was"])
	require.Nil(t, m.Variable, "the message that came in is as it was")
	_, err = flow.SetPayload("${payload.x}").Run(t.Context(), reading())
	require.ErrorIs(t, err, flow.TypeExpression)
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	m := reading()
	got, err := flow.Log(slog.New(slog.NewTextHandler(&out, nil)), "read ${payload}").Run(t.Context(), m)
	require.NoError(t, err)
	require.Same(t, m, got)
	require.Contains(t, out.String(), `msg="read 21"`)
	_, err = flow.Log(slog.New(slog.DiscardHandler), "${variable.x}").Run(t.Context(), m)
	require.ErrorIs(t, err, flow.TypeExpression)
}

// A deferring flow is acknowledged when its handle is called, and not when it returns.
func TestDefer(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var settle []func(error)
		p := connector.ConsumerParams{FlowTimeout: ptr(time.Minute), OnFailure: connector.OnFailure{Retries: ptr(2), Then: connector.Drop}}
		d.run(kept(p), step(func(ctx context.Context) error {
			settle = append(settle, flow.Defer(ctx))
			return nil
		}))
		d.deliver(1, "a")
		d.expectNothing(10 * time.Second)
		require.EqualValues(t, 1, d.connector.Health().Running)
		first := settle[0]
		first(errors.New("not yet"))
		time.Sleep(time.Second)
		first(nil) // too late
		synctest.Wait()
		require.Len(t, settle, 2, "it failed and runs again")
		settle[1](nil)
		d.expect("PUBACK id=1")

		d.deliver(1, "b")
		d.conn.SetReadDeadline(time.Now().Add(10 * time.Minute))
		packet, err := d.conn.Receive()
		require.NoError(t, err)
		require.Equal(t, "PUBACK id=1", packet.String())
		synctest.Wait()
		require.Len(t, settle, 5, "nobody settled: flow_timeout, three times")
		h := d.connector.Health()
		require.EqualValues(t, 1, h.Dropped)
		require.EqualValues(t, 3, h.TimedOut)
	})
	flow.Defer(t.Context())(nil) // of no flow
}
