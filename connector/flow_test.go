package connector_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// set returns a flow that replaces the payload.
func set(payload string) flow.Flow {
	return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		next := m.Clone()
		next.Payload.Blob = []byte(payload)
		return next, nil
	})
}

// appendText returns a flow whose result shows that it ran, and after which others.
func appendText(s string) flow.Flow {
	return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		next := m.Clone()
		next.Payload.Blob = fmt.Append(nil, string(m.Payload.Blob), s)
		return next, nil
	})
}

var errFlow = errors.New("out of order")

// failing returns a flow that fails in its first n runs and counts all of them.
func failing(n int, runs *int, err error) flow.Flow {
	return flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
		if *runs++; *runs <= n {
			return nil, err
		}
		return nil, nil
	})
}

func reading() *flow.Message { return flow.NewMessage("a/b", []byte("21"), 1, 4) }

func TestChainPassesEachResultOn(t *testing.T) {
	pass := flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { return nil, nil })
	out, err := flow.Chain(appendText("-one"), pass, appendText("-two")).Run(t.Context(), reading())
	require.NoError(t, err)
	require.Equal(t, "21-one-two", string(out.Payload.Blob))
}

func TestChainStopsAtTheFirstFailure(t *testing.T) {
	runs := 0
	out, err := flow.Chain(set("one"), flow.RaiseError("APP:FULL", "the store is full"), failing(0, &runs, nil)).Run(t.Context(), reading())
	require.EqualError(t, err, "connector: the store is full")
	require.Equal(t, "one", string(out.Payload.Blob), "the message as it was where the chain stopped")
	require.Zero(t, runs)
}

// A step may report its failure only in the message, as the platform does.
func TestMessageWithErrorIsAFailure(t *testing.T) {
	step := flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		return m.WithError(errFlow), nil
	})
	out, err := flow.Chain(step, set("never")).Run(t.Context(), reading())
	require.ErrorIs(t, err, errFlow)
	require.Equal(t, "out of order", out.Error.Description)
}

func TestPanicIsAFailure(t *testing.T) {
	step := flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { panic("division by zero") })
	_, err := flow.Chain(step).Run(t.Context(), reading())
	require.EqualError(t, err, "connector: the flow panicked: division by zero")
	var p *flow.PanicError
	require.ErrorAs(t, err, &p)
	require.Contains(t, string(p.Stack), "flow_test.go")
	require.NotContains(t, err.Error(), "flow_test.go")
}

func TestTryCatches(t *testing.T) {
	cases := map[string]struct {
		err     error
		catches []flow.Catch
		want    string // payload of the result; nothing: not caught
	}{
		"any catches all":                 {errFlow, []flow.Catch{{Types: []flow.ErrorType{flow.TypeAny}, Flow: set("caught")}}, "caught"},
		"no types catch all":              {errFlow, []flow.Catch{{Flow: set("caught")}}, "caught"},
		"no flow swallows":                {errFlow, []flow.Catch{{}}, "21"},
		"a wider type catches":            {raised("MQTT:TLS"), []flow.Catch{{Types: []flow.ErrorType{flow.TypeConnectivity}, Flow: set("caught")}}, "caught"},
		"a narrower type does not":        {raised("MQTT:CONNECTIVITY"), []flow.Catch{{Types: []flow.ErrorType{flow.TypeTLS}, Flow: set("caught")}}, ""},
		"a type of one's own":             {raised("APP:FULL"), []flow.Catch{{Types: []flow.ErrorType{"APP:FULL"}, Flow: set("caught")}}, "caught"},
		"runtime catches one's own":       {raised("APP:FULL"), []flow.Catch{{Types: []flow.ErrorType{flow.TypeRuntime}, Flow: set("caught")}}, "caught"},
		"the first that fits handles it":  {raised("MQTT:TLS"), []flow.Catch{{Types: []flow.ErrorType{flow.TypePublish}, Flow: set("1")}, {Types: []flow.ErrorType{flow.TypeTLS}, Flow: set("2")}, {Flow: set("3")}}, "2"},
		"one of several types":            {raised("MQTT:TLS"), []flow.Catch{{Types: []flow.ErrorType{flow.TypePublish, flow.TypeTLS}, Flow: set("caught")}}, "caught"},
		"a namespace":                     {raised("MQTT:TLS"), []flow.Catch{{Types: []flow.ErrorType{"CORE:CONFIG", "MQTT:*"}, Flow: set("caught")}}, "caught"},
		"another namespace":               {raised("MQTT:TLS"), []flow.Catch{{Types: []flow.ErrorType{"SHOP:*", "MQ"}, Flow: set("caught")}}, ""},
		"a namespace without a colon":     {raised("MQTT:TLS"), []flow.Catch{{Types: []flow.ErrorType{"*"}, Flow: set("caught")}}, "caught"},
		"a deadline is a timeout":         {context.DeadlineExceeded, []flow.Catch{{Types: []flow.ErrorType{flow.TypeTimeout}, Flow: set("caught")}}, "caught"},
		"none fits: the error goes on":    {errFlow, []flow.Catch{{Types: []flow.ErrorType{flow.TypePublish}, Flow: set("caught")}}, ""},
		"a catch that fails is a failure": {errFlow, []flow.Catch{{Flow: flow.RaiseError("APP:WORSE", "worse")}}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			runs := 0
			out, err := flow.Try(failing(9, &runs, c.err), c.catches...).Run(t.Context(), reading())
			require.Equal(t, 1, runs)
			if c.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, string(out.Payload.Blob))
			require.Nil(t, out.Error, "what was caught is gone")
		})
	}
}

func raised(code string) error {
	_, err := flow.RaiseError(code, "raised").Run(context.Background(), reading())
	return err
}

// The catch sees the original message, with the error in the platform's form, whether one step or a
// chain of them failed.
func TestCatchSeesTheError(t *testing.T) {
	var seen *flow.Error
	look := flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		seen = m.Error
		return nil, nil
	})
	body := flow.Chain(set("changed"), failing(9, new(int), errFlow))
	out, err := flow.Try(body, flow.Catch{Flow: flow.Chain(look, appendText("!"))}).Run(t.Context(), reading())
	require.NoError(t, err, "the error that is being handled is no failure of the handler")
	require.Equal(t, flow.CodeRuntime, seen.Code)
	require.Equal(t, "out of order", seen.Description)
	require.Equal(t, "21!", string(out.Payload.Blob))
	require.Nil(t, out.Error)
}

// A catch may itself be a Try, and may fail by panicking.
func TestCatchNests(t *testing.T) {
	panics := flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { panic("again") })
	inner := flow.Try(panics, flow.Catch{Flow: set("inner")})
	out, err := flow.Try(failing(9, new(int), errFlow), flow.Catch{Flow: inner}).Run(t.Context(), reading())
	require.NoError(t, err)
	require.Equal(t, "inner", string(out.Payload.Blob))

	_, err = flow.Try(failing(9, new(int), errFlow), flow.Catch{Flow: panics}).Run(t.Context(), reading())
	require.ErrorContains(t, err, "again")
}

// Each catch counts its own retries, with a pause before each.
func TestTryRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, runs := time.Now(), 0
		errs := []error{raised("APP:A"), raised("APP:B"), raised("APP:A"), raised("APP:B"), raised("APP:A")}
		body := flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
			runs++
			return nil, errs[runs-1]
		})
		out, err := flow.Try(body,
			flow.Catch{Types: []flow.ErrorType{"APP:A"}, Retries: 2, Interval: time.Second, Flow: set("gave up")},
			flow.Catch{Types: []flow.ErrorType{"APP:B"}, Retries: 5}, // the platform's 60 s
		).Run(t.Context(), reading())
		require.NoError(t, err)
		require.Equal(t, "gave up", string(out.Payload.Blob))
		require.Equal(t, 5, runs)
		require.Equal(t, 2*time.Second+2*time.Minute, time.Since(start))
	})
}

// Changes of a failed run are not visible in the next.
func TestRetryStartsFromTheMessageAsItCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		body := flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			if runs++; len(m.Variable) > 0 || string(m.Payload.Blob) != "21" {
				return nil, fmt.Errorf("run %d sees %v %s", runs, m.Variable, m.Payload.Blob)
			}
			m.Variable["touched"] = true
			m.Payload.Blob[0] = '9'
			if runs < 3 {
				return nil, errFlow
			}
			return nil, nil
		})
		_, err := flow.UntilSuccessful(body, 5, time.Second).Run(t.Context(), reading())
		require.NoError(t, err)
		runs = 0
		_, err = flow.Try(body, flow.Catch{Retries: 5}).Run(t.Context(), reading())
		require.NoError(t, err)
		require.Equal(t, 3, runs)
	})
}

func TestUntilSuccessful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, runs := time.Now(), 0
		_, err := flow.UntilSuccessful(failing(3, &runs, errFlow), 0, 0).Run(t.Context(), reading())
		require.NoError(t, err)
		require.Equal(t, 4, runs, "one run and three retries")
		require.Equal(t, 3*time.Minute, time.Since(start))

		runs = 0
		out, err := flow.UntilSuccessful(failing(9, &runs, errFlow), 1, time.Second).Run(t.Context(), reading())
		require.Equal(t, 2, runs)
		require.EqualError(t, err, "connector: [CORE:RETRY_EXHAUSTED] 1 retries used up: out of order")
		require.ErrorIs(t, err, errFlow)
		require.NotNil(t, out)
		_, err = flow.Try(flow.UntilSuccessful(failing(9, &runs, errFlow), 1, time.Second),
			flow.Catch{Types: []flow.ErrorType{flow.TypeRetryExhausted}}).Run(t.Context(), reading())
		require.NoError(t, err)
	})
}

// A pause ends with the context, with an error that says so.
func TestPausesEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, f := range []flow.Flow{
			flow.UntilSuccessful(failing(9, new(int), errFlow), 5, 5*time.Minute),
			flow.Try(failing(9, new(int), errFlow), flow.Catch{Retries: 5, Interval: 5 * time.Minute}),
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			start := time.Now()
			_, err := f.Run(ctx, reading())
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, errFlow, "what failed is not hidden by the end of the pause")
			require.Equal(t, time.Minute, time.Since(start))
			cancel()
		}
	})
}

func TestRaiseError(t *testing.T) {
	out, err := flow.RaiseError("APP:FULL", "the store is full").Run(t.Context(), reading())
	var e *flow.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "APP:FULL", e.Code)
	require.Equal(t, "the store is full", e.Description)
	require.Equal(t, "21", string(out.Payload.Blob))

	_, err = flow.RaiseError("", "no code").Run(t.Context(), reading())
	require.ErrorAs(t, err, &e)
	require.Equal(t, flow.CodeRuntime, e.Code, "the common error")
}

// A Goexit in a step ends the goroutine that runs the flow; Chain cannot prevent that and does not
// hide it.
func TestGoexitEndsTheCaller(t *testing.T) {
	ended := make(chan bool, 1)
	go func() {
		ran := false
		defer func() { ended <- !ran }()
		flow.Chain(flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
			runtime.Goexit()
			return nil, nil
		})).Run(context.Background(), reading())
		ran = true
	}()
	require.True(t, <-ended)
}

// An error whose methods panic, such as a nil pointer, fails only that run, whether Run returns it
// or the handle of Defer gets it.
func TestErrorThatCannotBeRead(t *testing.T) {
	var none *flow.Error
	for name, err := range map[string]error{"nil": none, "another's": (*os.PathError)(nil), "wrapped": fmt.Errorf("x: %w", none)} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				d.run(kept(onFailure(1, connector.OnFailure{Then: connector.Drop})), step(func(ctx context.Context) error {
					if flow.Attempt(ctx) == 1 {
						return err
					}
					flow.Defer(ctx)(err)
					return nil
				}))
				d.deliver(1, "a")
				d.expect("PUBACK id=1")
				h := d.connector.Health()
				require.EqualValues(t, 2, h.Panicked)
				require.EqualValues(t, 1, h.Dropped)
			})
		})
	}
}
