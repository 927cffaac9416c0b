package connector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// The table of docs/connector.md, row by row. A message has two retries, and its flow fails in one way,
// always or for a while. If the failure is charged to the message, it goes to `then` after its third run;
// otherwise it never does.
func TestWhoseFailureIsIt(t *testing.T) {
	always := 1000
	returns := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	for name, c := range map[string]struct {
		fail    func(context.Context) error
		times   int
		runs    int  // the good one included
		dropped bool // otherwise it succeeds
		charged bool
	}{
		"an error of its own":                {returns(errGate), always, 3, true, true},
		"a type of its own":                  {returns(&flow.Error{Code: "SHOP:FULL", Type: "SHOP:FULL"}), always, 3, true, true},
		"a connection of its own":            {returns(&flow.Error{Type: flow.TypeConnectionLost}), always, 3, true, true},
		"a template that does not fit":       {returns(flow.AsError(fmt.Errorf("x: %w", &flow.Error{Type: flow.TypeExpression}))), always, 3, true, true},
		"a panic":                            {func(context.Context) error { panic("x") }, always, 3, true, true},
		"a Goexit":                           {func(context.Context) error { runtime.Goexit(); return nil }, always, 3, true, true},
		"flow_timeout":                       {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, always, 3, true, true},
		"permanent":                          {returns(flow.Permanent(errGate)), always, 1, true, true},
		"not of retry_on":                    {returns(context.Canceled), always, 1, true, true},
		"the server closes over its publish": {returns(flow.AsError(client.ErrPoison)), always, 1, true, true},
		"the same, wrapped":                  {returns(fmt.Errorf("step 3: %w", client.ErrPoison)), always, 1, true, true},
		"uncharged":                          {returns(flow.Uncharged(errGate)), 50, 51, false, false},
		"uncharged within a retry that was exhausted": {returns(flow.AsError(fmt.Errorf("x: %w", flow.Uncharged(errGate)))), 50, 51, false, false},
		"uncharged though permanent":                  {returns(flow.Permanent(flow.Uncharged(errGate))), 50, 51, false, false},
		"uncharged though not of retry_on":            {returns(flow.Uncharged(context.Canceled)), 50, 51, false, false},
		"a suspect":                                   {returns(flow.Suspect(errGate)), 50, 51, false, false},
		"its own, less often than its retries":        {returns(errGate), 2, 3, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				p := onFailure(2, connector.OnFailure{Then: connector.Drop, RetryOn: []flow.ErrorType{
					flow.TypeRuntime, flow.TypePublishRefused, flow.TypeTimeout, flow.TypeExpression, "SHOP:*",
				}})
				if name == "not of retry_on" || name == "uncharged though not of retry_on" {
					p.OnFailure.RetryOn = []flow.ErrorType{flow.TypeTimeout}
				}
				p.FlowTimeout = ptr(time.Second)
				var mu sync.Mutex
				var attempts []int
				d.run(kept(p), step(func(ctx context.Context) error {
					mu.Lock()
					attempts = append(attempts, flow.Attempt(ctx))
					n := len(attempts)
					mu.Unlock()
					if n > c.times {
						return nil
					}
					return c.fail(ctx)
				}))
				d.deliver(1, "a")
				d.expect("PUBACK id=1")
				require.Len(t, attempts, c.runs)
				h := d.connector.Health()
				require.Equal(t, c.dropped, h.Dropped == 1)
				if c.charged {
					require.Equal(t, c.runs, attempts[len(attempts)-1])
					require.Zero(t, h.Uncharged)
				} else {
					require.Equal(t, 1, attempts[len(attempts)-1])
					require.EqualValues(t, c.times, h.Uncharged)
				}
			})
		})
	}
}

// Uncharged runs do not affect the number of charged ones, in whatever order they come. A message that was
// once a suspect remains one in every later run.
func TestUnchargedBetweenCharged(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		failures := []error{flow.Uncharged(errGate), errGate, flow.Suspect(errGate), flow.Uncharged(errGate), errGate, flow.Suspect(errGate), errGate}
		var attempts []int
		var suspected []bool
		d.run(kept(onFailure(2, connector.OnFailure{Then: connector.Drop})), step(func(ctx context.Context) error {
			attempts, suspected = append(attempts, flow.Attempt(ctx)), append(suspected, flow.Suspected(ctx))
			return failures[len(attempts)-1]
		}))
		d.deliver(1, "a")
		d.expect("PUBACK id=1")
		require.Equal(t, []int{1, 1, 2, 2, 2, 3, 3}, attempts)
		require.Equal(t, []bool{false, false, false, true, true, true, true}, suspected)
		require.EqualValues(t, 1, d.connector.Health().Dropped)
	})
	require.NoError(t, flow.Uncharged(nil))
	require.NoError(t, flow.Suspect(nil))
	require.False(t, flow.Suspected(t.Context()))
	require.ErrorIs(t, flow.Uncharged(errGate), errGate)
}

// A producer's failure is uncharged if its message only waited: for a connection, for room, or for
// an answer that was lost with the connection. It is charged if a server accepts the message and
// never answers.
func TestProducerWaitsUncharged(t *testing.T) {
	params := connector.ProducerParams{Topic: "out", QoS: 1, AckTimeout: ptr(5 * time.Second)}
	for name, c := range map[string]struct {
		params func(*connector.ProducerParams)
		before func(d *dialogue) // Run
		during func(d *dialogue)
		want   bool
	}{
		"no answer":               {during: func(d *dialogue) { d.conn.Receive() }, want: false},
		"no connection at QoS 0":  {params: func(p *connector.ProducerParams) { p.QoS = 0 }, before: (*dialogue).away, want: true},
		"no connection":           {before: (*dialogue).away, want: true},
		"the connection is lost":  {during: func(d *dialogue) { d.conn.Receive(); d.away() }, want: true},
		"lost, and there again":   {during: func(d *dialogue) { d.conn.Receive(); d.cut(); d.accept(true); d.conn.Receive() }, want: true},
		"others are before it":    {params: func(p *connector.ProducerParams) { p.MaxInFlight = 1 }, before: (*dialogue).occupy, want: true},
		"a topic that is none":    {params: func(p *connector.ProducerParams) { p.Topic = "out/${variable.x}" }, want: false},
		"a topic with a wildcard": {params: func(p *connector.ProducerParams) { p.Topic = "out/${payload}" }, want: false},
		"its time was used up": {before: func(d *dialogue) {
			over, cancel := context.WithCancel(d.ctx)
			cancel()
			d.ctx = over
		}, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				p := params
				if c.params != nil {
					c.params(&p)
				}
				d.run(producing(p), nil)
				if c.before != nil {
					c.before(d)
				}
				m := reading()
				m.Payload.Blob = []byte("a+")
				ctx := d.ctx
				done := d.start(func() error { _, err := d.connector.Producer("out").Run(ctx, m); return err })
				if c.during != nil {
					c.during(d)
				}
				err := done()
				require.Error(t, err)
				require.Equal(t, c.want, flow.IsUncharged(err), "%v", err)
				d.ctx = t.Context()
			})
		})
	}
}

// away ends the connection and refuses new ones.
func (d *dialogue) away() {
	d.server.Refuse(errors.New("away"))
	d.cut()
	synctest.Wait()
}

// occupy publishes another message, which the server does not answer, and sets a context in which the
// next message gives up before that one.
func (d *dialogue) occupy() {
	p := d.connector.Producer("out")
	go p.Publish(d.ctx, client.Message{Topic: "first", QoS: 1})
	d.conn.Receive()
	synctest.Wait()
	ctx, cancel := context.WithTimeout(d.ctx, 2*time.Second)
	d.Cleanup(cancel)
	d.ctx = ctx
}

// A strict is a server that keeps a session and closes the connection over a PUBLISH to out/denied.
type strict struct {
	mu       sync.Mutex
	waiting  []string // unacknowledged payloads, by identifier
	arrived  map[string]int
	closes   int
	connects int
}

func (s *strict) serve(conn *clienttest.Conn, resumed bool) {
	defer conn.Close()
	if _, err := conn.Handshake(resumed); err != nil {
		return
	}
	s.mu.Lock()
	s.connects++
	var again []packets.Packet
	for id, payload := range s.waiting {
		if payload != "" {
			again = append(again, &packets.Publish{Topic: "plant/x", QoS: 1, PacketID: uint16(id + 1), Payload: []byte(payload), Dup: s.connects > 1})
		}
	}
	s.mu.Unlock()
	go conn.Send(again...)
	for p, err := conn.Receive(); err == nil; p, err = conn.Receive() {
		switch p := p.(type) {
		case *packets.Subscribe:
			err = conn.Send(&packets.Suback{PacketID: p.PacketID, Codes: []packets.SubscribeCode{1}})
		case *packets.Publish:
			s.mu.Lock()
			denied := p.Topic == "out/denied"
			if denied {
				s.closes++
			} else {
				s.arrived[string(p.Topic)]++
			}
			s.mu.Unlock()
			if denied {
				return
			}
			err = conn.Send(&packets.Puback{PacketID: p.PacketID})
		case *packets.Pingreq:
			err = conn.Send(&packets.Pingresp{})
		case *packets.Puback:
			s.mu.Lock()
			s.waiting[p.PacketID-1] = ""
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (s *strict) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) - len(slices.DeleteFunc(slices.Clone(s.waiting), func(p string) bool { return p != "" }))
}

// Three of sixty messages lead to a topic over which the server closes the connection. They become
// dead letters at once, no other message does, and everything takes less than a minute.
func TestRefusedPublishIsPaidForByItself(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		s := &strict{arrived: make(map[string]int)}
		for i := range 60 {
			payload := fmt.Sprint(i)
			if i%20 == 7 {
				payload = "denied"
			}
			s.waiting = append(s.waiting, payload)
		}
		file := t.TempDir() + "/dead.jsonl"
		p := onFailure(2, connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: file})
		cfg := kept(p)
		cfg.Consumers["in"] = connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "plant/#"}}, QoS: 1, OnFailure: p.OnFailure}
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out/${payload}", QoS: 1}}
		c, err := connector.New(cfg, d.options)
		require.NoError(t, err)
		require.NoError(t, c.Consume("in", c.Producer("out")))
		d.connector = c
		accepting, stop := context.WithCancel(d.ctx)
		var serving sync.WaitGroup
		serving.Go(func() {
			for n := 0; ; n++ {
				conn, err := d.server.Accept(accepting)
				if err != nil {
					return
				}
				serving.Go(func() { s.serve(conn, n > 0) })
			}
		})
		start := time.Now()
		require.NoError(t, c.Start(d.ctx))
		for s.left() > 0 && time.Since(start) < 10*time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		took := time.Since(start)
		t.Logf("%s, %d connections, %d closes", took, s.connects, s.closes)
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		dead := make(map[int]bool) // more than once if its PUBACK was lost with a connection: QoS 1
		for line := range strings.Lines(string(b)) {
			var letter struct {
				MessageID int
				Payload   []byte
			}
			require.NoError(t, json.Unmarshal([]byte(line), &letter))
			require.Equal(t, "denied", string(letter.Payload))
			dead[letter.MessageID] = true
		}
		require.Equal(t, map[int]bool{8: true, 28: true, 48: true}, dead)
		require.Len(t, s.arrived, 57)
		require.Less(t, took, time.Minute)
		require.Less(t, s.closes, 24)
		d.stop(time.Minute)
		stop()
		serving.Wait()
	})
}

// The flows of suspects run one at a time, whatever happened to the previous one, while other
// messages run beside them.
func TestSuspectsRunOneAtATime(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var mu sync.Mutex
		suspects, most, good, beside := 0, 0, 0, 0
		p := onFailure(0, connector.OnFailure{Then: connector.Drop})
		p.Concurrency = 4
		d.run(kept(p), flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			switch {
			case string(m.Payload.Blob) == "good":
				time.Sleep(time.Second)
				mu.Lock()
				defer mu.Unlock()
				good++
				beside += suspects
				return nil, nil
			case !flow.Suspected(ctx):
				time.Sleep(time.Second)
				return nil, flow.Suspect(errGate)
			}
			mu.Lock()
			suspects++
			most = max(most, suspects)
			mu.Unlock()
			defer func() { mu.Lock(); suspects--; mu.Unlock() }()
			time.Sleep(10 * time.Second)
			switch string(m.Payload.Blob) {
			case "1":
				return nil, errGate
			case "2":
				runtime.Goexit()
			case "3":
				panic("3")
			}
			return nil, nil
		}))
		for id := range uint16(6) {
			d.send(publish("t/x", 1, id+1, fmt.Sprint(id)))
		}
		time.Sleep(15 * time.Second)
		for id := range uint16(6) {
			d.send(publish("t/x", 1, id+7, "good"))
		}
		time.Sleep(3 * time.Second)
		mu.Lock()
		require.Equal(t, 6, good, "they do not wait for the suspects")
		mu.Unlock()
		for id := range uint16(12) {
			d.expect(fmt.Sprintf("PUBACK id=%d", id+1))
		}
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 1, most)
		require.Equal(t, 6, beside)
		require.EqualValues(t, 3, d.connector.Health().Dropped)
	})
}
