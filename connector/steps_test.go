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
	"github.com/stretchr/testify/require"
)

// The platform's numbers are bounds: what is outside is refused when the consumer gets its
// flow, wherever in it it stands, and does nothing if it is run all the same.
func TestFlowNumbersOutOfRange(t *testing.T) {
	ran := 0
	body := failing(0, &ran, nil)
	for want, f := range map[string]connector.Flow{
		"Retries of a Catch is 6":            connector.Try(body, connector.Catch{Retries: 6}),
		"Retries of a Catch is -1":           connector.Try(body, connector.Catch{Retries: -1}),
		"Interval of a Catch is 500ms":       connector.Try(body, connector.Catch{Interval: time.Second / 2}),
		"Interval of a Catch is 5m1s":        connector.Chain(body, connector.Try(body, connector.Catch{Interval: 301 * time.Second})),
		"retries of UntilSuccessful is 101":  connector.Try(connector.UntilSuccessful(body, 101, 0)),
		"retries of UntilSuccessful is -1":   connector.Try(body, connector.Catch{Flow: connector.UntilSuccessful(body, -1, 0)}),
		"interval of UntilSuccessful is 1ms": connector.Parallel(body, connector.UntilSuccessful(body, 1, time.Millisecond)),
		"interval of UntilSuccessful is -1s": connector.UntilSuccessful(connector.UntilSuccessful(body, 1, -time.Second), 0, 0),
		"${nothing} is none of":              connector.Choice(nil, connector.SetPayload("${nothing}")),
		`"${" without "}"`:                   connector.Choice([]connector.Case{{Flow: connector.SetVariable("x", "${")}}, nil),
		"${attribute} names no field":        connector.SetAttribute("x", "${attribute}"),
		"${variable} names no field":         connector.Log(slog.New(slog.DiscardHandler), "${variable}"),
	} {
		c, err := connector.New(kept(connector.ConsumerParams{}), connector.Options{})
		require.NoError(t, err)
		err = c.Consume("in", f)
		require.ErrorContains(t, err, want)
		require.False(t, connector.AsError(err).Retryable())
		_, err = f.Run(t.Context(), reading())
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, ran)
	for _, f := range []connector.Flow{
		connector.Try(body, connector.Catch{Retries: 5, Interval: 300 * time.Second}),
		connector.UntilSuccessful(body, 100, time.Second),
	} {
		_, err := f.Run(t.Context(), reading())
		require.NoError(t, err)
	}
}

func TestChoice(t *testing.T) {
	is := func(s string) func(*connector.Message) bool {
		return func(m *connector.Message) bool { return string(m.Payload.Blob) == s }
	}
	cases := []connector.Case{
		{When: is("21"), Flow: set("first")}, {When: is("21"), Flow: set("second")}, {When: is("22"), Flow: connector.RaiseError("APP:NO", "no")},
	}
	for payload, want := range map[string]string{"21": "first", "23": "else", "22": ""} {
		m := reading()
		m.Payload.Blob = []byte(payload)
		out, err := connector.Choice(cases, set("else")).Run(t.Context(), m)
		if want == "" {
			require.ErrorContains(t, err, "no")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, string(out.Payload.Blob))
	}
	m := reading()
	out, err := connector.Choice(cases[2:], nil).Run(t.Context(), m)
	require.NoError(t, err)
	require.Same(t, m, out)
}

// Flows run at once, each on a copy; variables come together, and the failure that comes
// first ends the others.
func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(d time.Duration, name string) connector.Flow {
			return connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
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
		out, err := connector.Parallel(slow(2*time.Second, "a"), slow(time.Second, "b")).Run(t.Context(), reading())
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(start))
		require.Equal(t, "21", string(out.Payload.Blob))
		require.Equal(t, map[string]any{"a": 2 * time.Second, "b": time.Second, "last": "b"}, out.Variable)

		start = time.Now()
		fails := connector.FlowFunc(func(context.Context, *connector.Message) (*connector.Message, error) {
			time.Sleep(time.Second)
			return nil, errFlow
		})
		_, err = connector.Parallel(slow(time.Hour, "a"), fails).Run(t.Context(), reading())
		require.ErrorIs(t, err, errFlow)
		require.Equal(t, time.Second, time.Since(start))

		_, err = connector.Parallel(connector.FlowFunc(func(context.Context, *connector.Message) (*connector.Message, error) {
			runtime.Goexit()
			return nil, nil
		})).Run(t.Context(), reading())
		require.ErrorContains(t, err, "ended its goroutine")
	})
}

func TestSet(t *testing.T) {
	m := reading()
	m.Attribute, m.Variable = nil, nil
	out, err := connector.Chain(
		connector.SetVariable("was", "${payload}"), connector.SetAttribute("kind", "reading"),
		connector.SetPayload("${variable.was} ${attribute.kind}"),
	).Run(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, "21 reading", string(out.Payload.Blob))
	require.Equal(t, "21", out.Variable["was"])
	require.Nil(t, m.Variable, "the message that came in is as it was")
	_, err = connector.SetPayload("${payload.x}").Run(t.Context(), reading())
	require.ErrorIs(t, err, connector.TypeExpression)
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	m := reading()
	got, err := connector.Log(slog.New(slog.NewTextHandler(&out, nil)), "read ${payload}").Run(t.Context(), m)
	require.NoError(t, err)
	require.Same(t, m, got)
	require.Contains(t, out.String(), `msg="read 21"`)
	_, err = connector.Log(slog.New(slog.DiscardHandler), "${variable.x}").Run(t.Context(), m)
	require.ErrorIs(t, err, connector.TypeExpression)
}

// A flow that defers is acknowledged when its handle is called, and not when it returns.
func TestDefer(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var settle []func(error)
		p := connector.ConsumerParams{FlowTimeout: ptr(time.Minute), OnFailure: connector.OnFailure{Retries: ptr(2), Then: connector.Drop}}
		d.run(kept(p), flow(func(ctx context.Context) error {
			settle = append(settle, connector.Defer(ctx))
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
	connector.Defer(t.Context())(nil) // of no flow
}
