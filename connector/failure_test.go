package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

func onFailure(retries int, f connector.OnFailure) connector.ConsumerParams {
	f.Retries = &retries
	return connector.ConsumerParams{OnFailure: f}
}

// step makes a flow of a function that only succeeds or fails.
func step(f func(context.Context) error) flow.Flow {
	return flow.Func(func(ctx context.Context, _ *flow.Message) (*flow.Message, error) { return nil, f(ctx) })
}

// The platform's default, 流运行失败的信息会重试: the flow is retried without end, and the message never
// acknowledged.
func TestHoldRetriesWithoutEnd(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		start, at := time.Now(), []time.Duration{}
		d.run(kept(connector.ConsumerParams{}), step(func(context.Context) error {
			at = append(at, time.Since(start))
			return errGate
		}))
		d.deliver(1, "a")
		d.expectNothing(24 * time.Hour)
		bound := 200 * time.Millisecond
		for i := 1; i < len(at); i++ {
			require.LessOrEqual(t, at[i]-at[i-1], bound, "pause %d", i)
			bound = min(2*bound, 30*time.Second)
		}
		n := len(at)
		require.InDelta(t, 24*3600/15, n, 24*3600/15/3, "half of 30 s on average")
		h := d.connector.Health()
		require.EqualValues(t, n, h.Failed)
		require.EqualValues(t, n, h.Retries)
		require.Equal(t, 1, h.Unacked)
	})
}

// A retry does not hold up other messages: those behind a failing one run, but are not
// acknowledged.
func TestRetryInPlace(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		d.deliver(1, "a", "b")
		g.running()
		g.finish("b")
		for range 3 {
			g.fail("a")
			time.Sleep(time.Hour)
		}
		d.expectNothing(time.Second)
		require.Len(t, g.running(), 5)
		g.finish("a")
		d.expect("PUBACK id=1", "PUBACK id=2")
	})
}

// Pauses stay within their limits, whatever the configuration says.
func TestPauseBounds(t *testing.T) {
	for _, f := range []connector.OnFailure{
		{InitialDelay: ptr(100 * time.Hour), MaxDelay: ptr(1000 * time.Hour)},
		{InitialDelay: ptr(time.Hour), MaxDelay: ptr(time.Second)},
		{InitialDelay: ptr(time.Duration(0)), MaxDelay: ptr(time.Duration(0))},
	} {
		inBubble(t, func(d *dialogue) {
			start, last := time.Now(), time.Duration(0)
			runs := 0
			d.run(kept(onFailure(40, f)), step(func(context.Context) error {
				if runs++; runs > 40 {
					last = time.Since(start)
					return nil
				}
				return errGate
			}))
			d.deliver(1, "a")
			d.conn.SetReadDeadline(time.Now().Add(50_000 * time.Hour))
			p, err := d.conn.Receive()
			require.NoError(t, err)
			require.Equal(t, "PUBACK id=1", p.String())
			synctest.Wait()
			require.Positive(t, last, "no retry without a pause")
			require.LessOrEqual(t, last, 40*max(*f.MaxDelay, 30*time.Second))
		})
	}
}

func TestNegativeDelaysAreRefused(t *testing.T) {
	cfg := kept(onFailure(1, connector.OnFailure{InitialDelay: ptr(-time.Second), MaxDelay: ptr(-time.Second)}))
	_, err := connector.New(cfg, connector.Options{})
	require.ErrorContains(t, err, "E125 consumers.in.on_failure.initial_delay")
	require.ErrorContains(t, err, "E125 consumers.in.on_failure.max_delay")
}

// A dead letter is published to its topic at QoS 1, with the original payload. The message is
// acknowledged after the PUBACK of the dead letter, and not before.
func TestDeadLetterToTopic(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		p := onFailure(1, connector.OnFailure{Then: connector.DeadLetter, DeadLetterTopic: "dlq/t"})
		d.run(kept(p), step(func(context.Context) error { return errGate }))
		d.deliver(2, "a")
		d.expect("PUBLISH dlq/t qos=1 id=1 dup=false payload=a")
		d.expectNothing(20 * time.Second)
		require.Zero(t, d.connector.Health().DeadLettered)
		d.send(&packets.Puback{PacketID: 1})
		d.expect("PUBREC id=1")
		h := d.connector.Health()
		require.EqualValues(t, 1, h.DeadLettered)
		require.EqualValues(t, 2, h.Failed)
		require.EqualValues(t, 1, h.Retries)
	})
}

// A dead letter that the Server does not acknowledge is published again until it does; the flow
// does not run again.
func TestDeadLetterNotConfirmed(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		runs := 0
		p := onFailure(0, connector.OnFailure{Then: connector.DeadLetter, DeadLetterTopic: "dlq/t"})
		d.run(kept(p), step(func(context.Context) error { runs++; return errGate }))
		d.deliver(1, "a")
		for id := range 2 {
			d.conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
			again, err := d.conn.Receive()
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("PUBLISH dlq/t qos=1 id=%d dup=false payload=a", id+1), text(again))
		}
		require.EqualValues(t, 1, d.connector.Health().DeadLettersRefused)
		require.Zero(t, d.connector.Health().DeadLettered)
		d.send(&packets.Puback{PacketID: 2})
		d.expect("PUBACK id=1")
		require.Equal(t, 1, runs)
		require.EqualValues(t, 1, d.connector.Health().DeadLettered)
	})
}

func TestDeadLetterToFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dead.jsonl")
	inBubble(t, func(d *dialogue) {
		p := onFailure(2, connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: file})
		d.run(kept(p), step(func(context.Context) error { return errGate }))
		d.send(publish("t/x", 1, 7, "\xff\x00"))
		d.expect("PUBACK id=7")
		d.send(publish("t/y", 1, 8, "21"))
		d.expect("PUBACK id=8")
		require.EqualValues(t, 2, d.connector.Health().DeadLettered)
	})
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := splitLines(text)
	require.Len(t, lines, 2)
	var r struct {
		Time      time.Time
		Consumer  string
		Topic     string
		QoS       int
		MessageID uint16
		Attempts  int
		Error     struct{ Code, Description string }
		Payload   []byte
	}
	require.NoError(t, json.Unmarshal(lines[0], &r))
	require.Equal(t, "in", r.Consumer)
	require.Equal(t, "t/x", r.Topic)
	require.Equal(t, 1, r.QoS)
	require.EqualValues(t, 7, r.MessageID)
	require.Equal(t, 3, r.Attempts)
	require.Equal(t, flow.CodeRuntime, r.Error.Code)
	require.Equal(t, "the store is down", r.Error.Description)
	require.Equal(t, []byte{0xff, 0}, r.Payload)
	require.False(t, r.Time.IsZero())
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "payloads are nobody else's business")
}

func splitLines(b []byte) (lines []json.RawMessage) {
	for len(b) > 0 {
		i := 0
		for i < len(b) && b[i] != '\n' {
			i++
		}
		lines, b = append(lines, b[:i]), b[i+1:]
	}
	return lines
}

// If a dead letter file cannot be written, the message is held, and so is the next one in the same
// order, but no other. Only writing is retried, whether the retries are used up or the failure is
// permanent.
func TestDeadLetterFileFails(t *testing.T) {
	for name, c := range map[string]struct {
		retries int
		err     error
	}{"retries used up": {1, errGate}, "permanent": {5, flow.Permanent(errGate)}, "of no type that is retried": {5, raised("SHOP:CLOSED")}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				runs := make(map[string]int)
				folder := filepath.Join(t.TempDir(), "later")
				p := onFailure(c.retries, connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: filepath.Join(folder, "dead.jsonl"), RetryOn: []flow.ErrorType{flow.TypeRuntime}})
				if name == "of no type that is retried" {
					p.OnFailure.RetryOn = []flow.ErrorType{flow.TypeTimeout}
				}
				p.OrderBy = connector.OrderTopic
				var mu sync.Mutex
				d.run(kept(p), flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
					mu.Lock()
					defer mu.Unlock()
					payload := string(m.Payload.Blob)
					if runs[payload]++; payload == "bad" {
						return nil, c.err
					}
					return nil, nil
				}))
				d.send(publish("t/a", 1, 1, "bad"), publish("t/a", 1, 2, "next"), publish("t/b", 1, 3, "other"))
				d.expectNothing(10 * time.Minute)
				want := 1
				if name == "retries used up" {
					want = 2
				}
				mu.Lock()
				require.Equal(t, map[string]int{"bad": want, "other": 1}, runs)
				mu.Unlock()
				require.Greater(t, d.connector.Health().DeadLettersRefused, uint64(10))
				require.NoError(t, os.Mkdir(folder, 0o700))
				d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
				require.EqualValues(t, 1, d.connector.Health().DeadLettered)
			})
		})
	}
}

func TestDrop(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(onFailure(0, connector.OnFailure{Then: connector.Drop})), step(func(context.Context) error { return errGate }))
		d.deliver(1, "a")
		d.expect("PUBACK id=1")
		h := d.connector.Health()
		require.EqualValues(t, 1, h.Dropped)
		require.EqualValues(t, 1, h.Failed)
	})
}

// stop ends the connector and leaves the message to the Server.
func TestStopPolicy(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(onFailure(1, connector.OnFailure{Then: connector.Halt})), step(func(context.Context) error { return errGate }))
		require.NoError(t, d.connector.Err())
		d.deliver(1, "a")
		<-d.connector.Done()
		require.EqualError(t, d.connector.Err(), "connector: consumer in: the flow failed 2 times: the store is down")
		require.ErrorIs(t, d.connector.Err(), errGate)
		require.Equal(t, []string{"DISCONNECT"}, d.stop(time.Minute), "no PUBACK")
	})
}

func TestFlowTimeout(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		p := onFailure(1, connector.OnFailure{Then: connector.Drop})
		p.FlowTimeout = ptr(5 * time.Second)
		var errs []error
		d.run(kept(p), step(func(ctx context.Context) error {
			start := time.Now()
			<-ctx.Done()
			require.Equal(t, 5*time.Second, time.Since(start))
			errs = append(errs, ctx.Err())
			return ctx.Err()
		}))
		d.deliver(1, "a")
		d.expect("PUBACK id=1")
		require.Len(t, errs, 2)
		require.Equal(t, flow.TypeTimeout, flow.AsError(errs[0]).Type)
	})
}

// A panic or Goexit fails only that run: the next message in the same order runs.
func TestFlowThatDies(t *testing.T) {
	deaths := map[string]func(){"panic": func() { panic("division by zero") }, "Goexit": runtime.Goexit}
	for name, die := range deaths {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				runs := 0
				cfg := kept(onFailure(1, connector.OnFailure{Then: connector.Drop}))
				cfg.Advanced.Order = true
				d.run(cfg, step(func(context.Context) error {
					if runs++; runs <= 2 {
						die()
					}
					return nil
				}))
				d.deliver(1, "a", "b")
				d.expect("PUBACK id=1", "PUBACK id=2")
				require.Equal(t, 3, runs)
				h := d.connector.Health()
				require.EqualValues(t, 2, h.Failed)
				require.EqualValues(t, 1, h.Dropped)
				require.Zero(t, h.Running)
			})
		})
	}
}

// A flow cut short by the end of Stop's patience has not failed: the failure policy is not applied.
func TestStopDisposesOfNothing(t *testing.T) {
	for _, then := range []connector.Disposition{connector.Drop, connector.DeadLetter, connector.Halt} {
		inBubble(t, func(d *dialogue) {
			f := connector.OnFailure{Then: then}
			if then == connector.DeadLetter {
				f.DeadLetterFile = filepath.Join(t.TempDir(), "dead.jsonl")
			}
			g := newGate()
			d.run(kept(onFailure(0, f)), g)
			c := d.connector
			d.deliver(1, "a")
			g.running()
			require.NotContains(t, d.stop(time.Second), "PUBACK id=1")
			synctest.Wait()
			require.Zero(t, c.Health().Dropped)
			require.Zero(t, c.Health().DeadLettered)
			require.NoError(t, c.Err())
		})
	}
}

// retry_on: an error of another type uses up the retries at once.
func TestRetryOn(t *testing.T) {
	for code, want := range map[string]int{"MQTT:PUBLISH_TIMEOUT": 4, "SHOP:CLOSED": 4, "MQTT:INVALID_TOPIC": 1, "CORE:TIMEOUT": 1} {
		inBubble(t, func(d *dialogue) {
			runs := 0
			p := onFailure(3, connector.OnFailure{Then: connector.Drop, RetryOn: []flow.ErrorType{flow.TypePublishTimeout, "SHOP:*"}})
			d.run(kept(p), failing(9, &runs, raised(code)))
			d.deliver(1, "a")
			d.conn.SetReadDeadline(time.Now().Add(time.Minute))
			packet, err := d.conn.Receive()
			require.NoError(t, err)
			require.Equal(t, "PUBACK id=1", packet.String())
			synctest.Wait()
			require.Equal(t, want, runs, code)
			require.EqualValues(t, 1, d.connector.Health().Dropped)
		})
	}
}

// A dead letter may be accompanied by its metadata; the message is acknowledged after both are
// published.
func TestDeadLetterMeta(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		p := onFailure(0, connector.OnFailure{Then: connector.DeadLetter, DeadLetterTopic: "dlq/t", DeadLetterMeta: true})
		d.run(kept(p), step(func(context.Context) error { return errGate }))
		d.send(publish("t/a", 1, 7, "a"))
		packet, err := d.conn.Receive()
		require.NoError(t, err)
		meta := packet.(*packets.Publish)
		require.Equal(t, "dlq/t/meta", meta.Topic)
		var r connector.DeadLetterRecord
		var raw map[string]any
		require.NoError(t, json.Unmarshal(meta.Payload, &r))
		require.NoError(t, json.Unmarshal(meta.Payload, &raw))
		require.Equal(t, "t/a", r.Topic)
		require.EqualValues(t, 7, r.MessageID)
		require.Equal(t, 1, r.Attempts)
		require.Contains(t, r.Key, "c/in/")
		require.Equal(t, "the store is down", r.Error.Description)
		require.Equal(t, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", r.Digest, "SHA-256 of a")
		require.NotContains(t, raw, "payload", "that is what the other message is")
		d.send(&packets.Puback{PacketID: 1})
		d.expect("PUBLISH dlq/t qos=1 id=2 dup=false payload=a")
		d.expectNothing(10 * time.Second)
		d.send(&packets.Puback{PacketID: 2})
		d.expect("PUBACK id=7")
	})
}

// If a dead letter file was truncated within a line, by a full disk or a crash, only that line is
// lost: the next one begins on a new line.
func TestDeadLetterFileCutOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dead.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(`{"time":"2026-`), 0o600))
	inBubble(t, func(d *dialogue) {
		p := onFailure(0, connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: file})
		d.run(kept(p), step(func(context.Context) error { return errGate }))
		d.deliver(1, "a", "b")
		d.expect("PUBACK id=1", "PUBACK id=2")
	})
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := splitLines(text)
	require.Len(t, lines, 3)
	for i, payload := range []string{"a", "b"} {
		var r connector.DeadLetterRecord
		require.NoError(t, json.Unmarshal(lines[i+1], &r), "%s", lines[i+1])
		require.Equal(t, payload, string(r.Payload))
	}
}
