package connector_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A keeper is a Server that keeps its half of a session as section 4.1 requires. It sends
// unacknowledged messages again in order, and uses the lowest free identifier, so that messages
// with equal content often have the same identifier, one after another.
type keeper struct {
	mu       sync.Mutex
	todo     []*packets.Publish // not sent yet, without identifiers
	inflight []*sent
	conn     *clienttest.Conn
}

type sent struct {
	*packets.Publish
	released bool // PUBREC has been received
}

const keeperWindow = 12

// serve talks to a client until the connection ends.
func (k *keeper) serve(conn *clienttest.Conn, resume bool) {
	k.mu.Lock()
	k.conn = conn
	k.mu.Unlock()
	if _, err := conn.Handshake(resume); err != nil {
		return
	}
	for p, err := conn.Receive(); err == nil; p, err = conn.Receive() {
		for _, answer := range k.answer(p) {
			if conn.Send(answer) != nil {
				return
			}
		}
	}
}

func (k *keeper) answer(p packets.Packet) (out []packets.Packet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch p := p.(type) {
	case *packets.Subscribe:
		out = append(out, &packets.Suback{PacketID: p.PacketID, Codes: []packets.SubscribeCode{2}})
		for _, m := range k.inflight {
			if m.released {
				out = append(out, &packets.Pubrel{PacketID: m.PacketID})
			} else {
				out = append(out, again(m.Publish))
			}
		}
	case *packets.Puback:
		k.free(p.PacketID)
	case *packets.Pubrec:
		for _, m := range k.inflight {
			m.released = m.released || m.PacketID == p.PacketID
		}
		out = append(out, &packets.Pubrel{PacketID: p.PacketID})
	case *packets.Pubcomp:
		k.free(p.PacketID)
	}
	for len(k.inflight) < keeperWindow && len(k.todo) > 0 {
		m := &sent{Publish: k.todo[0]}
		k.todo = k.todo[1:]
		for m.PacketID = 1; slices.ContainsFunc(k.inflight, func(o *sent) bool { return o != m && o.PacketID == m.PacketID }); m.PacketID++ {
		}
		k.inflight = append(k.inflight, m)
		copied := *m.Publish
		out = append(out, &copied)
	}
	return out
}

func (k *keeper) free(id uint16) {
	k.inflight = slices.DeleteFunc(k.inflight, func(m *sent) bool { return m.PacketID == id })
}

func (k *keeper) done() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.todo) == 0 && len(k.inflight) == 0
}

// cut ends the connection.
func (k *keeper) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		k.conn.Close()
	}
}

// A worker is a flow whose runs take some time and sometimes fail. It counts successful runs,
// unless its process is dead by then.
type worker struct {
	mu   sync.Mutex
	rnd  *rand.Rand
	ran  map[string]int
	dead bool
}

func (w *worker) Run(ctx context.Context, m *flow.Message) (*flow.Message, error) {
	w.mu.Lock()
	pause, fails := time.Duration(w.rnd.IntN(60))*time.Millisecond, w.rnd.IntN(8) == 0
	w.mu.Unlock()
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if fails || w.dead {
		return nil, errGate
	}
	w.ran[fmt.Sprint(m.Attribute["QoS"], string(m.Payload.Blob))]++
	return nil, nil
}

var ledgerSeeds = flag.Uint64("ledger.seeds", 6, "how many lives of a session TestLedgerThroughCrashes tries")

// Processes die and connections break at any moment, while many messages are equal. Every message runs
// successfully as often as it was sent, at QoS 2 exactly as often; none is given up, and little is left
// behind.
func TestLedgerThroughCrashes(t *testing.T) {
	for seed := range *ledgerSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(d *dialogue) { d.throughCrashes(seed) })
		})
	}
}

func (d *dialogue) throughCrashes(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	server, ran, want := new(keeper), make(map[string]int), make(map[string]int)
	for range 120 {
		qos, payload := packets.QoS(1+rnd.IntN(2)), string(rune('a'+rnd.IntN(3)))
		server.todo = append(server.todo, publish("t/x", qos, 1, payload))
		want[fmt.Sprint(int(qos), payload)]++
	}
	p := onFailure(9, connector.OnFailure{Then: connector.DeadLetter, DeadLetterTopic: "dlq", InitialDelay: ptr(20 * time.Millisecond)})
	p.Concurrency = 1 + rnd.IntN(8)
	cfg := kept(p)
	cfg.Advanced.MaxReconnectInterval = ptr(10 * time.Millisecond)
	cfg = stored(d.T, cfg)

	var serving sync.WaitGroup
	accepting, stop := context.WithCancel(d.ctx)
	first := true
	serving.Go(func() {
		for {
			conn, err := d.server.Accept(accepting)
			if err != nil {
				return
			}
			resume := !first
			first = false
			serving.Go(func() { server.serve(conn, resume) })
		}
	})
	deaths := 0
	for {
		w := &worker{rnd: rand.New(rand.NewPCG(seed, uint64(deaths)+1)), ran: ran}
		d.build(cfg, w)
		require.NoError(d, d.connector.Start(d.ctx))
		for life := 1 + rnd.IntN(4); life > 0 && !server.done(); life-- {
			time.Sleep(time.Duration(rnd.IntN(150)) * time.Millisecond)
			if life > 1 && rnd.IntN(3) == 0 {
				server.cut()
			}
		}
		if server.done() {
			break
		}
		if deaths++; deaths > 400 {
			d.Fatalf("no progress: %d left, %d in flight", len(server.todo), len(server.inflight))
		}
		synctest.Wait()
		w.mu.Lock()
		w.dead = true
		w.mu.Unlock()
		server.cut()
		cfg = d.crash(cfg)
	}
	h := d.connector.Health()
	require.LessOrEqual(d, len(d.notes(cfg)), 2*keeperWindow, "what crashes left behind")
	first = true
	server.cut()
	require.Empty(d, d.notes(cfg), "a new session, a new ledger")
	d.stop(time.Minute)
	server.cut()
	stop()
	serving.Wait()
	require.Zero(d, h.DeadLettered)
	for key, n := range want {
		if key[0] == '2' {
			require.Equal(d, n, ran[key], "%s, %d deaths", key, deaths)
		} else {
			require.GreaterOrEqual(d, ran[key], n, "%s, %d deaths", key, deaths)
		}
	}
}
