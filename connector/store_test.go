package connector_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// stored returns cfg with a session store, and a ledger for its consumers.
func stored(t *testing.T, cfg connector.Config) connector.Config {
	cfg.Extension.SessionStore = &connector.SessionStore{Dir: t.TempDir()}
	for name, p := range cfg.Consumers {
		p.Ledger = true
		cfg.Consumers[name] = p
	}
	return cfg
}

// crash ends the process like kill -9, and returns the configuration of the next one, which finds
// the store as it was at this moment.
func (d *dialogue) crash(cfg connector.Config) connector.Config {
	d.Helper()
	synctest.Wait()
	dir := d.copyStore(cfg)
	d.stop(0)
	synctest.Wait()
	d.conn = nil
	cfg.Extension.SessionStore = &connector.SessionStore{Dir: dir}
	return cfg
}

// copyStore copies the session store as it is now.
func (d *dialogue) copyStore(cfg connector.Config) string {
	d.Helper()
	dir := d.TempDir()
	require.NoError(d, os.CopyFS(dir, os.DirFS(cfg.Extension.SessionStore.Dir)))
	stores, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(d, err)
	for _, store := range stores {
		require.NoError(d, os.Chmod(store, 0o700))
	}
	return dir
}

// resume starts the next process, whose session the Server has kept.
func (d *dialogue) resume(cfg connector.Config, f flow.Flow) {
	d.Helper()
	d.build(cfg, f)
	started := d.start(func() error { return d.connector.Start(d.ctx) })
	d.accept(true)
	for range cfg.Consumers {
		d.grant() // every process asks again: the Server may know better
		break
	}
	require.NoError(d, started())
}

func again(p *packets.Publish) *packets.Publish {
	p.Dup = true
	return p
}

// A published message that the Server did not acknowledge is sent again by the next process, under
// its identifier.
func TestSessionStorePublishesAgain(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce}))
		d.run(cfg, nil)
		d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		cfg = d.crash(cfg)
		d.build(cfg, nil)
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(true)
		require.NoError(t, started())
		d.expect("PUBLISH out qos=1 id=1 dup=true payload=21")
		d.send(&packets.Puback{PacketID: 1})
		d.expectNothing(time.Minute)
	})
}

// A QoS 2 message whose flow has ended is recognised by the next process: PUBREC is sent again,
// without a second run.
func TestSessionStoreRecognisesQoS2(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		cfg := kept(connector.ConsumerParams{})
		cfg.Extension.SessionStore = &connector.SessionStore{Dir: t.TempDir()}
		d.run(cfg, g)
		d.deliver(2, "a")
		g.finish("a")
		d.expect("PUBREC id=1")
		cfg = d.crash(cfg)
		next := newGate()
		d.resume(cfg, next)
		d.send(again(publish("t/a", 2, 1, "a")))
		d.expect("PUBREC id=1")
		require.Empty(t, next.running())
		d.send(&packets.Pubrel{PacketID: 1})
		d.expect("PUBCOMP id=1")
	})
}

// The store belongs to one process; a second one gets an error that says so, and the first releases
// it in Stop.
func TestSessionStoreIsLocked(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		d.run(cfg, newGate())
		second, err := connector.New(cfg, connector.Options{Dial: d.server.Dial})
		require.NoError(t, err, "New opens nothing")
		require.NoError(t, second.Consume("in", newGate()))
		err = second.Start(d.ctx)
		require.ErrorIs(t, err, flow.TypeStore)
		require.ErrorContains(t, err, "the store is in use")
		require.False(t, flow.AsError(err).Type.Is(flow.TypeConnectivity))
		require.NoError(t, second.Stop(d.ctx))
		d.stop(time.Minute)

		d.build(cfg, newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(true)
		d.grant()
		require.NoError(t, started())
	})
}

// A store may be on a volume that others can write to only if the configuration allows it.
func TestAllowShared(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		require.NoError(t, os.Chmod(cfg.Extension.SessionStore.Dir, 0o777))
		d.build(cfg, newGate())
		err := d.connector.Start(d.ctx)
		require.ErrorIs(t, err, flow.TypeStore)
		require.ErrorContains(t, err, "everybody")
		d.stop(time.Minute)
		cfg.Extension.SessionStore.AllowShared = true
		d.run(cfg, newGate())
	})
}

// Using a producer before Start has opened the store returns an error that says that nothing was
// sent.
func TestSessionStoreBeforeStart(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.build(stored(t, producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce})), nil)
		_, err := d.connector.Producer("out").Run(d.ctx, reading())
		e := flow.AsError(err)
		require.Equal(t, flow.TypeNotConnected, e.Type)
		require.Equal(t, flow.DeliveredNo, e.Delivered)
		require.Equal(t, "idle", d.connector.Health().State.String())
	})
}

// A topic that only the previous configuration had is unsubscribed from.
func TestSessionStoreForgetsTopicsOfBefore(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "a"}, {Topic: "b"}}}))
		d.run(cfg, newGate())
		cfg = d.crash(cfg)
		p := cfg.Consumers["in"]
		p.Topics = p.Topics[1:]
		cfg.Consumers["in"] = p
		d.build(cfg, newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(true)
		packet, err := d.conn.Receive()
		require.NoError(t, err)
		gone, ok := packet.(*packets.Unsubscribe)
		require.True(t, ok, "came: %s", packet)
		require.Equal(t, []string{"a"}, gone.Filters)
		d.send(&packets.Unsuback{PacketID: gone.PacketID})
		d.grant()
		require.NoError(t, started())
	})
}

// A store that cannot be opened gives an error of its own type.
func TestSessionStoreCannotBeOpened(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		cfg := kept(connector.ConsumerParams{})
		cfg.Extension.SessionStore = &connector.SessionStore{Dir: file}
		d.build(cfg, newGate())
		err := d.connector.Start(d.ctx)
		require.ErrorIs(t, err, flow.TypeStore)
		require.Zero(t, d.server.Dials())
	})
}

// A killer is a flow that never returns for some payloads, which kill the process. It records its
// runs, with the key and the number of the attempt.
type killer struct {
	kills []string
	mu    sync.Mutex
	ran   []string
	keys  map[string]string
}

func newKiller(kills ...string) *killer { return &killer{kills: kills, keys: make(map[string]string)} }

func (k *killer) Run(ctx context.Context, m *flow.Message) (*flow.Message, error) {
	payload := string(m.Payload.Blob)
	deadly := slices.Contains(k.kills, payload)
	k.mu.Lock()
	k.ran = append(k.ran, fmt.Sprint(payload, flow.Attempt(ctx)))
	k.keys[payload] = flow.IdempotencyKey(ctx)
	k.mu.Unlock()
	if deadly {
		<-ctx.Done()
	}
	return nil, ctx.Err()
}

func (k *killer) runs() []string {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	slices.Sort(k.ran)
	return k.ran
}

// A message that kills the process is counted across restarts, is tried alone, and then becomes a
// dead letter without another try. Messages that ran beside it lose no attempt.
func TestLedgerPoisonAcrossRestarts(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		p := onFailure(2, connector.OnFailure{Then: connector.DeadLetter, DeadLetterTopic: "dlq"})
		cfg := stored(t, kept(p))
		bystander := newKiller("bad", "slow") // "slow" does not end before the process dies
		d.run(cfg, bystander)
		send := func() {
			d.send(again(publish("t/slow", 1, 1, "slow")), again(publish("t/bad", 1, 2, "bad")))
		}
		send()
		require.Equal(t, []string{"bad1", "slow1"}, bystander.runs())
		cfg = d.crash(cfg)

		second := newKiller("bad", "slow")
		d.resume(cfg, second)
		send()
		require.Equal(t, []string{"bad2", "slow2"}, second.runs(), "once is no proof")
		require.Equal(t, bystander.keys, second.keys, "the same messages")
		cfg = d.crash(cfg)

		third := newKiller("bad")
		d.resume(cfg, third)
		d.send(again(publish("t/bad", 1, 2, "bad")))
		d.send(publish("t/other", 1, 3, "other"))
		require.Equal(t, []string{"bad3"}, third.runs(), "alone")
		cfg = d.crash(cfg)

		last := newKiller("bad")
		d.resume(cfg, last)
		d.send(again(publish("t/bad", 1, 2, "bad")))
		d.expect("PUBLISH dlq qos=1 id=1 dup=false payload=bad")
		d.send(&packets.Puback{PacketID: 1})
		d.expect("PUBACK id=2")
		require.Empty(t, last.runs())
		require.EqualValues(t, 1, d.connector.Health().DeadLettered)
		d.send(again(publish("t/slow", 1, 1, "slow")))
		d.expect("PUBACK id=1")
		require.Equal(t, []string{"slow3"}, last.runs())
	})
}

// A message that kills the process is recognised even if the server gives it a new identifier.
func TestLedgerKnowsContentUnderAnotherIdentifier(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		d.run(cfg, newKiller("bad"))
		d.deliver(2, "bad")
		cfg = d.crash(cfg)
		k := newKiller()
		d.resume(cfg, k)
		d.send(publish("t/bad", 2, 9, "bad"))
		require.Equal(t, []string{"bad2"}, k.runs())
		d.expect("PUBREC id=9")
	})
}

// Flows that ended behind a running one are not run again after a crash: their acknowledgements
// cannot have been sent.
func TestLedgerDoneIsAcknowledgedWithoutARun(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		g := newGate()
		d.run(cfg, g)
		d.deliver(1, "a", "b", "c")
		g.finish("b", "c")
		d.expectNothing(time.Minute)
		cfg = d.crash(cfg)

		next := newGate()
		d.resume(cfg, next)
		d.send(again(publish("t/a", 1, 1, "a")), again(publish("t/b", 1, 2, "b")))
		d.send(publish("t/c", 1, 3, "c")) // DUP 0: another message, of the same content
		require.ElementsMatch(t, []string{"a", "c"}, next.running())
		next.finish("c", "a")
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
		require.EqualValues(t, 1, d.connector.Health().Adopted)
		cfg = d.crash(cfg)

		last := newGate()
		d.resume(cfg, last)
		d.send(again(publish("t/b", 1, 2, "b")))
		require.Equal(t, []string{"b"}, last.running(), "its PUBACK may have left [MQTT-4.3.2-2]")
		last.finish("b")
		d.expect("PUBACK id=2")
	})
}

// The record of a finished flow is used only if its acknowledgement cannot have been sent: not
// behind a message of another QoS, whose acknowledgements are ordered separately, and not under
// another identifier.
func TestLedgerDoesNotBelieveMoreThanItKnows(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		g := newGate()
		d.run(cfg, g)
		d.send(publish("t/a", 2, 1, "a"), publish("t/b", 1, 2, "b"))
		g.running()
		g.finish("b")
		d.expect("PUBACK id=2")
		cfg = d.crash(cfg)
		next := newGate()
		d.resume(cfg, next)
		d.send(again(publish("t/b", 1, 2, "b")))
		require.Equal(t, []string{"b"}, next.running(), "an equal message, for all we know")
	})
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		g := newGate()
		d.run(cfg, g)
		d.deliver(1, "a", "b")
		g.finish("b")
		cfg = d.crash(cfg)
		next := newGate()
		d.resume(cfg, next)
		d.send(again(publish("t/b", 1, 9, "b")))
		require.Equal(t, []string{"b"}, next.running())
	})
}

// If two consumers take a message and only one has finished, only the other runs it again.
func TestLedgerOfTwoConsumers(t *testing.T) {
	for qos, ack := range map[packets.QoS]string{1: "PUBACK id=1", 2: "PUBREC id=1"} {
		inBubble(t, func(d *dialogue) {
			cfg := kept(connector.ConsumerParams{})
			cfg.Consumers["too"] = cfg.Consumers["in"]
			cfg = stored(t, cfg)
			one, two := newGate(), newKiller("a")
			build := func(in, too flow.Flow) {
				c, err := connector.New(cfg, connector.Options{Dial: d.server.Dial})
				require.NoError(t, err)
				require.NoError(t, c.Consume("in", in))
				require.NoError(t, c.Consume("too", too))
				d.connector = c
			}
			build(one, two)
			d.accepted(true)
			d.deliver(qos, "a")
			one.finish("a")
			require.Equal(t, []string{"a1"}, two.runs())
			cfg = d.crash(cfg)

			again1, again2 := newKiller(), newKiller()
			build(again1, again2)
			started := d.start(func() error { return d.connector.Start(d.ctx) })
			d.accept(true)
			d.grant()
			require.NoError(t, started())
			d.send(again(publish("t/a", qos, 1, "a")))
			d.expect(ack)
			require.Empty(t, again1.runs())
			require.Equal(t, []string{"a2"}, again2.runs())
			require.Equal(t, two.keys, again2.keys)
		})
	}
}

// Settled messages leave nothing behind in the store.
func TestLedgerForgets(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		g := newGate()
		d.run(cfg, g)
		d.send(publish("t/a", 2, 1, "a"), publish("t/b", 2, 2, "b"), publish("t/c", 1, 3, "c"), publish("t/d", 1, 4, "d"))
		g.running()
		require.Equal(t, []uint16{1, 2, 3, 4}, d.notes(cfg))
		g.finish("b", "d")
		require.Equal(t, []uint16{1, 3, 4}, d.notes(cfg), "the session remembers 2; 4 waits for 3")
		g.finish("c")
		d.expect("PUBACK id=3", "PUBACK id=4")
		require.Equal(t, []uint16{1}, d.notes(cfg))
		g.finish("a")
		d.expect("PUBREC id=1", "PUBREC id=2")
		require.Empty(t, d.notes(cfg))
	})
}

// notes returns the identifiers of the messages in the ledger, as the next process would find them.
func (d *dialogue) notes(cfg connector.Config) (ids []uint16) {
	d.Helper()
	time.Sleep(time.Second)
	synctest.Wait()
	dir := d.copyStore(cfg)
	store, err := wal.Open(wal.Options{Dir: dir, Server: cfg.General.BrokerURL, ClientID: cfg.General.ClientID})
	require.NoError(d, err)
	defer store.Close()
	c, err := client.New(client.Config{Dial: d.server.Dial, ClientID: cfg.General.ClientID, Store: store})
	require.NoError(d, err)
	for _, note := range c.Notes() {
		ids = append(ids, binary.BigEndian.Uint16(note[3:]))
	}
	c.Abort()
	slices.Sort(ids)
	return ids
}

// The ledger's records of messages that the Server has forgotten are not used.
func TestLedgerEndsWithTheSession(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		g := newGate()
		d.run(cfg, g)
		d.deliver(1, "a", "b")
		g.finish("b")
		d.cut()
		d.accept(false)
		d.grant()
		time.Sleep(time.Second)
		cfg = d.crash(cfg)
		k := newKiller()
		d.resume(cfg, k)
		d.send(again(publish("t/b", 1, 2, "b")), again(publish("t/a", 1, 1, "a")))
		require.Equal(t, []string{"a1", "b1"}, k.runs())
		d.expect("PUBACK id=2", "PUBACK id=1")
		cfg = d.crash(cfg)

		d.build(cfg, newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(false)
		d.grant()
		require.NoError(t, started())
	})
}

// Nor are they used if a message of the new session arrives before the event about it: here OnEvent
// does not return.
func TestLedgerEndsWithTheSessionAtItsFirstMessage(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		g := newGate()
		d.run(cfg, g)
		d.deliver(1, "a", "b")
		g.finish("b")
		cfg = d.crash(cfg)

		release := make(chan struct{})
		defer close(release)
		next := newGate()
		d.options.OnEvent = func(client.Event) { <-release }
		d.build(cfg, next)
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(false)
		d.grant()
		require.NoError(t, started())
		d.send(again(publish("t/a", 1, 1, "a")), again(publish("t/b", 1, 2, "b")))
		require.ElementsMatch(t, []string{"a", "b"}, next.running())
		next.finish("b", "a")
		d.expect("PUBACK id=1", "PUBACK id=2")
	})
}

// A flow that Stop cuts short does not count as failed.
func TestLedgerDoesNotCountStop(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		d.run(cfg, newGate())
		d.deliver(1, "a")
		d.stop(time.Second)
		k := newKiller()
		d.resume(cfg, k)
		d.send(again(publish("t/a", 1, 1, "a")))
		require.Equal(t, []string{"a1"}, k.runs())
		d.expect("PUBACK id=1")
	})
}

// Each message has its own key, even with the same identifier and content as another, and each run
// of it has the same key.
func TestIdempotencyKey(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var keys []string
		var attempts []int
		runs := 0
		d.run(kept(connector.ConsumerParams{}), step(func(ctx context.Context) error {
			keys, attempts = append(keys, flow.IdempotencyKey(ctx)), append(attempts, flow.Attempt(ctx))
			if runs++; runs == 1 {
				return errGate
			}
			return nil
		}))
		d.deliver(1, "a")
		d.expect("PUBACK id=1")
		d.deliver(1, "a")
		d.expect("PUBACK id=1")
		require.Equal(t, []int{1, 2, 1}, attempts)
		require.Equal(t, keys[0], keys[1])
		require.NotEqual(t, keys[1], keys[2])
		require.Contains(t, keys[0], "c/in/")
		require.Empty(t, flow.IdempotencyKey(d.ctx))
		require.Zero(t, flow.Attempt(d.ctx))
	})
}

// A connector that was stopped before Start does not start, and locks nothing.
func TestSessionStoreStopBeforeStart(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{}))
		d.build(cfg, newGate())
		require.NoError(t, d.connector.Stop(d.ctx))
		ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
		defer cancel()
		require.ErrorContains(t, d.connector.Start(ctx), "stopped before")
		require.Zero(t, d.server.Dials())
		entries, err := os.ReadDir(cfg.Extension.SessionStore.Dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	})
}
