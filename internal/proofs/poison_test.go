package proofs

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Some messages never succeed, while the process is killed at random: they become dead letters
// after their retries, which the ledger counts across the kills, and all others run.
func TestProofPoison(t *testing.T) {
	messages, every, kills := pick(1000, 20_000), 50, pick(8, 100)
	poisoned(t, messages, every, false, func(p *poison) {
		rnd := random(t)
		for range kills {
			w := p.job.start(t)
			p.journal.await(p.ctx, min(len(p.journal.ended)+1+rnd.IntN(messages/kills), messages/2))
			w.kill()
			p.journal.read()
		}
		w := p.job.start(t)
		p.await(w.now)
		w.idle(p.ctx)
		w.stop()
		p.restarts = kills
	})
}

// Some messages kill the process that runs them. It is restarted each time, until they are dead
// letters and all others have run.
func TestProofDeadlyPoison(t *testing.T) {
	thorough.Only(t)
	poisoned(t, pick(200, 2000), pick(100, 200), true, func(p *poison) {
		for {
			w := p.job.start(t)
			over := make(chan struct{})
			go func() {
				defer close(over)
				<-w.exited
			}()
			done := func() bool { p.journal.read(); return p.done() }
			eventually(t, p.ctx, func() (int, bool) {
				select {
				case <-over:
					return 0, true
				default:
					return 0, done()
				}
			})
			if done() {
				w.idle(p.ctx)
				w.stop()
				return
			}
			w.kill()
			p.restarts++
		}
	})
}

// A poison is what the two proofs share.
type poison struct {
	ctx      context.Context
	job      task
	journal  *journal
	messages int
	every    int // one message in so many is poison
	restarts int

	mu   sync.Mutex
	dead map[string]int // dead letters, by number
}

// done reports whether every message is where it belongs: poison among the dead letters, all others
// run. A message that was alone in work when its process was killed may be a dead letter, too: it
// looks as if it had killed the process.
func (p *poison) done() bool { return len(p.missing()) == 0 }

// missing returns the messages that are not where they belong.
func (p *poison) missing() (numbers []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.messages {
		if p.dead[fmt.Sprint(i)] == 0 && (i%p.every == 0 || p.journal.ended[fmt.Sprint("n/x ", i)] == 0) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

func (p *poison) await(now func() report) {
	eventually(p.journal.t, p.ctx, func() (int, bool) {
		now() // fails if the worker has exited
		p.journal.read()
		return p.journal.runs, p.done()
	})
}

// poisoned publishes messages, one in every of them poison, lets the workers process them, and
// checks the result.
func poisoned(t *testing.T, messages, every int, deadly bool, work func(*poison)) {
	apart(t)
	const retries = 2
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	ctx := within(t)
	p := &poison{ctx: ctx, messages: messages, every: every, dead: make(map[string]int)}
	observer, err := client.New(client.Config{Dial: dialer(b.Addr()), CleanSession: true})
	require.NoError(t, err)
	require.NoError(t, observer.Handle("dead/#", func(_ context.Context, m *client.Delivery) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dead[string(m.Payload)]++
	}))
	require.NoError(t, observer.Connect(ctx))
	t.Cleanup(observer.Abort)
	_, err = observer.Subscribe(ctx, packets.Subscription{Filter: "dead/#", QoS: packets.AtLeastOnce})
	require.NoError(t, err)

	subscribed(t, ctx, b.Addr(), "poisoned", "n/#", packets.AtLeastOnce)
	require.NoError(t, publish(ctx, publisher(t, ctx, b.Addr()), 0, messages, numbered("n/x", packets.AtLeastOnce)))
	p.job = settings{
		addr: b.Addr(), id: "poisoned", extend: "session_store: {dir: store}",
		consumer: fmt.Sprintf(`topics: ["n/#"], qos: At Least Once, ledger: true, `+
			`on_failure: {retries: %d, initial_delay: 10ms, max_delay: 20ms, then: dead_letter, dead_letter: {topic: dead/letter}}`, retries),
	}.task(t)
	p.job.Most, p.job.Poison, p.job.Deadly = 5*time.Millisecond, every, deadly
	p.journal = p.job.journal(t)
	work(p)

	p.journal.read()
	require.Empty(t, p.missing(), "messages are lost")
	p.mu.Lock()
	defer p.mu.Unlock()
	most, letters := 0, 0
	for i := 0; i < messages; i += every {
		most = max(most, p.journal.began[fmt.Sprint("n/x ", i)])
		letters += p.dead[fmt.Sprint(i)]
		require.Zero(t, p.journal.ended[fmt.Sprint("n/x ", i)])
	}
	sick := messages / every
	convicted := len(p.dead) - sick
	t.Logf("%d messages, %d of them poison; %d times a new process; all poison in the dead letter, %d letters, after %d runs each at the most; "+
		"%d more that were running alone at a kill; all others ran; %d runs", messages, sick, p.restarts, letters, most, convicted, p.journal.runs)
	if deadly {
		require.NotZero(t, p.restarts)
		require.LessOrEqual(t, p.restarts, 10*sick, "processes that a deadly message costs")
		require.Zero(t, convicted)
	}
	require.LessOrEqual(t, convicted, p.restarts)
	require.LessOrEqual(t, most, retries+2+p.restarts)
}
