package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/packets"
	"golang.org/x/term"
)

// ahead is how many messages the producer may be before the consumer: a broker drops
// what a slow subscriber leaves in its queue.
const ahead = 200

// identity tells messages apart: topic and content.
type identity [sha256.Size]byte

func identify(topic string, payload []byte) identity {
	return sha256.Sum256(append([]byte(topic+"\x00"), payload...))
}

// A tally is what became of the readings at one QoS.
type tally struct {
	sent, received, succeeded int
	acknowledged              uint64
	seconds                   float64
	want, got                 map[identity]int
}

// lost and duplicated compare what was sent with what came.
func (t *tally) lost() (n int) {
	for id, want := range t.want {
		n += max(0, want-t.got[id])
	}
	return n
}

func (t *tally) duplicated() (n int) {
	for id, got := range t.got {
		n += max(0, got-t.want[id])
	}
	return n
}

// A run sends all readings at each QoS and counts.
type run struct {
	readings []reading
	say      language
	root     string // of the topics, so that runs on one broker do not meet

	mu       sync.Mutex
	arrived  chan struct{} // something came
	tallies  [3]tally
	consumer *connector.Connector
	producer *connector.Connector
}

func newRun(rs []reading, say language) *run {
	r := &run{readings: rs, say: say, root: "quickstart/" + strings.ToLower(rand.Text()[:8]), arrived: make(chan struct{}, 1)}
	for i := range r.tallies {
		r.tallies[i].want, r.tallies[i].got = make(map[identity]int), make(map[identity]int)
	}
	return r
}

func (r *run) topic(qos int) string { return fmt.Sprintf("%s/qos%d", r.root, qos) }

func (r *run) config(address, role string) connector.Config {
	return connector.Config{
		General:  connector.General{BrokerURL: address, ClientID: role + "-" + r.root[len("quickstart/"):]},
		Advanced: connector.Advanced{AutoReconnect: true},
	}
}

func (r *run) do(ctx context.Context, address string) error {
	if err := r.startConsumer(ctx, address); err != nil {
		return err
	}
	defer r.consumer.Stop(ctx)
	if err := r.startProducer(ctx, address); err != nil {
		return err
	}
	defer r.producer.Stop(ctx)
	show := newProgress(3*len(r.readings), r.say)
	defer show.end()
	for qos := range r.tallies {
		before := r.consumer.Health().Acknowledged
		start := time.Now()
		if err := r.send(ctx, qos, show); err != nil {
			return err
		}
		r.settle(ctx, qos, before, show)
		r.tallies[qos].seconds = time.Since(start).Seconds()
	}
	return nil
}

// startConsumer starts a consumer for each QoS with a flow that checks what comes.
func (r *run) startConsumer(ctx context.Context, address string) (err error) {
	cfg := r.config(address, "consumer")
	cfg.Consumers = make(map[string]connector.ConsumerParams)
	for qos := range r.tallies {
		cfg.Consumers[fmt.Sprint("qos", qos)] = connector.ConsumerParams{
			Topics: []connector.TopicQoS{{Topic: r.topic(qos) + "/#"}},
			QoS:    packets.QoS(qos),
		}
	}
	if r.consumer, err = connector.New(cfg, connector.Options{}); err != nil {
		return err
	}
	for qos := range r.tallies {
		if err := r.consumer.Consume(fmt.Sprint("qos", qos), r.flow(qos)); err != nil {
			return err
		}
	}
	return r.consumer.Start(ctx)
}

// flow is what a user would write: it does its work, here counting, and its success is
// what acknowledges the message.
func (r *run) flow(qos int) flow.Flow {
	return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		topic := strings.TrimPrefix(m.Topic(), r.topic(qos)+"/")
		r.mu.Lock()
		t := &r.tallies[qos]
		t.received++
		t.succeeded++
		t.got[identify(topic, m.Payload.Blob)]++
		r.mu.Unlock()
		select {
		case r.arrived <- struct{}{}:
		default:
		}
		return nil, nil
	})
}

func (r *run) startProducer(ctx context.Context, address string) (err error) {
	cfg := r.config(address, "producer")
	cfg.Producers = make(map[string]connector.ProducerParams)
	for qos := range r.tallies {
		cfg.Producers[fmt.Sprint("qos", qos)] = connector.ProducerParams{
			Topic: r.topic(qos) + "/${attribute.topic}",
			QoS:   packets.QoS(qos),
		}
	}
	if r.producer, err = connector.New(cfg, connector.Options{}); err != nil {
		return err
	}
	return r.producer.Start(ctx)
}

// send publishes every reading and waits for the promise of its QoS.
func (r *run) send(ctx context.Context, qos int, show *progress) error {
	p := r.producer.Producer(fmt.Sprint("qos", qos))
	t := &r.tallies[qos]
	for i := range r.readings {
		reading := &r.readings[i]
		payload := reading.content()
		r.mu.Lock()
		t.want[identify(reading.Topic, payload)]++
		r.mu.Unlock()
		if _, err := p.Run(ctx, flow.NewMessage(reading.Topic, payload, 0, 0)); err != nil {
			return err
		}
		t.sent++
		if err := r.keepUp(ctx, qos, t.sent-ahead); err != nil {
			return err
		}
		show.add(1)
	}
	return nil
}

func (r *run) received(qos int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tallies[qos].received
}

// keepUp waits until so many have come.
func (r *run) keepUp(ctx context.Context, qos, least int) error {
	for r.received(qos) < least {
		select {
		case <-r.arrived:
		case <-ctx.Done():
			return fmt.Errorf(r.say.text("of %d readings at QoS %d, %d came: %w", "QoS %[2]d 的 %[1]d 条读数到了 %[3]d 条：%[4]w"), r.tallies[qos].sent, qos, r.received(qos), ctx.Err())
		}
	}
	return nil
}

// settle waits until everything came and was acknowledged, or nothing moves any more.
func (r *run) settle(ctx context.Context, qos int, before uint64, show *progress) {
	const quiet = 3 * time.Second
	t := &r.tallies[qos]
	for {
		last := r.received(qos)
		h := r.consumer.Health() // after that: what was received is acknowledged or among Unacked
		t.acknowledged = h.Acknowledged - before
		if last >= t.sent && h.Unacked == 0 {
			return
		}
		select {
		case <-r.arrived:
		case <-time.After(10 * time.Millisecond):
			if last < t.sent && r.stalled(last, qos, quiet) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// stalled reports whether nothing comes for a while.
func (r *run) stalled(last, qos int, quiet time.Duration) bool {
	if r.received(qos) != last || r.consumer.Health().Unacked > 0 {
		return false
	}
	select {
	case <-r.arrived:
		return false
	case <-time.After(quiet):
		return true
	}
}

// ok reports whether the promises were kept.
func (r *run) ok() bool {
	for qos := range r.tallies {
		t := &r.tallies[qos]
		if t.lost() > 0 || t.succeeded < t.sent || qos == 2 && t.duplicated() > 0 {
			return false
		}
	}
	return true
}

// table writes what became of the readings.
func (r *run) table(w io.Writer) {
	rows := [][]string{{"QoS", "sent", "received", "flows succeeded", "acknowledged", "lost", "duplicated", "seconds"}}
	if r.say == "zh" {
		rows = [][]string{{"QoS", "已发送", "已收到", "流程成功", "已确认", "丢失", "重复", "秒"}}
	}
	for qos := range r.tallies {
		t := &r.tallies[qos]
		acknowledged := fmt.Sprint(t.acknowledged)
		if qos == 0 {
			acknowledged = "-" // QoS 0 has no acknowledgement
		}
		rows = append(rows, strings.Fields(fmt.Sprintf("%d %d %d %d %s %d %d %.2f", qos, t.sent, t.received, t.succeeded, acknowledged, t.lost(), t.duplicated(), t.seconds)))
	}
	widths := make([]int, len(rows[0])) // in columns of a terminal, of which a Chinese letter takes two
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], terminal.Columns(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			fmt.Fprint(w, strings.Repeat(" ", 2+widths[i]-terminal.Columns(cell)), cell)
		}
		fmt.Fprintln(w)
	}
}

// A progress is a line on a terminal; elsewhere it is silent.
type progress struct {
	n, of int
	say   language
	on    bool
	next  time.Time
}

func newProgress(of int, say language) *progress {
	return &progress{of: of, say: say, on: term.IsTerminal(int(os.Stderr.Fd()))}
}

func (p *progress) add(n int) {
	p.n += n
	if now := time.Now(); p.on && now.After(p.next) {
		p.next = now.Add(100 * time.Millisecond)
		const width = 40
		done := width * p.n / p.of
		fmt.Fprintf(os.Stderr, "\r[%s%s] "+p.say.text("%d of %d", "%d/%d"), strings.Repeat("=", done), strings.Repeat(" ", width-done), p.n, p.of)
	}
}

func (p *progress) end() {
	if p.on {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
