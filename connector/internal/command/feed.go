package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// feedPatience is how long a line may wait before the feed logs it; tests shorten it.
var feedPatience = 5 * time.Second

// feedRetry is how often a feed checks whether a waiting line can continue.
const feedRetry = 20 * time.Millisecond

// A feeder passes lines of standard input to producers, as many at a time as its window allows. While
// the server is unreachable, lines wait.
type feeder struct {
	o    *runOptions
	p    *Program
	c    *connector.Connector
	log  *slog.Logger
	ctx  context.Context // lines are read until it ends
	stop context.CancelFunc

	patience context.Context // the last line that was read waits for room until it ends
	giveUp   context.CancelFunc

	started chan struct{} // closed when the connector has started
	failed  chan error    // receives the error of a line that ends the command
	readIn  chan struct{} // closed when no further line will be read
	over    chan struct{} // closed when the outcome of each line is known
	lines   chan fedLine
	window  feedWindow
	reading feedMark // the line that waits for room
	waiting feedMark // the line that waits for its confirmation

	mu    sync.Mutex
	read  int
	bad   int
	open  map[int]bool // lines that were read and are not confirmed
	lost  int          // QoS 0 messages that may not have arrived
	input error        // why standard input could not be read to its end
}

// A fedLine is a line that a producer has accepted.
type fedLine struct {
	n, size int
	pending *connector.Pending
}

// A feedMark is the line that a goroutine is waiting for.
type feedMark struct {
	mu    sync.Mutex
	n     int // 0: none
	since time.Time
}

func (m *feedMark) set(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n, m.since = n, time.Now()
}

// late returns the number of the line if it has waited for longer than feedPatience, else 0.
func (m *feedMark) late() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == 0 || time.Since(m.since) < feedPatience {
		return 0
	}
	return m.n
}

// feeder returns the feeder of a connector, or nil if standard input feeds no producers.
func (o *runOptions) feeder(ctx context.Context, p *Program, c *connector.Connector, cfg *connector.Config, log *slog.Logger) *feeder {
	if !o.feeds(p, cfg) {
		return nil
	}
	f := &feeder{
		o: o, p: p, c: c, log: log, started: make(chan struct{}), failed: make(chan error, 1),
		readIn: make(chan struct{}), over: make(chan struct{}), lines: make(chan fedLine, mostFedLines),
	}
	f.ctx, f.stop = context.WithCancel(ctx)
	f.patience, f.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	return f
}

// run feeds lines until standard input ends, a line ends the command, or f.ctx ends; then it waits for the outcomes
// of the accepted lines.
func (f *feeder) run() {
	defer close(f.over)
	confirmed := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { f.watch(confirmed) })
	go func() {
		defer close(confirmed)
		f.confirm()
	}()
	err := f.readAll()
	f.mu.Lock()
	f.input = err
	f.mu.Unlock()
	close(f.readIn)
	close(f.lines)
	watching.Wait()
	f.mu.Lock()
	read, bad := f.read, f.bad
	f.mu.Unlock()
	level := slog.LevelInfo
	if bad > 0 {
		level = slog.LevelWarn
	}
	if f.ctx.Err() != nil { // interrupted, or stopped by a bad line
		if bad > 0 {
			f.log.Log(f.ctx, level, f.p.Say("standard input was not read to its end", "标准输入未读完"), "lines", read, "bad", bad)
		}
		return
	}
	f.log.Log(f.ctx, level, f.p.Say("standard input has ended", "标准输入已结束"), "lines", read, "bad", bad)
	if f.o.consumers.Load() == 0 {
		f.drain()
	}
}

// cease stops reading. The last line that was read has lastLine to be accepted.
func (f *feeder) cease() {
	if f == nil {
		return
	}
	f.stop()
	select {
	case <-f.readIn:
	case <-time.After(lastLine):
	}
	f.giveUp()
}

// lastLine is how long the last line may wait for room after the feed was stopped.
const lastLine = time.Second

// await waits for the outcomes of the lines, after the connector has stopped.
func (f *feeder) await() {
	if f == nil {
		return
	}
	select {
	case <-f.over:
	case <-time.After(lastLine): // the connector did not stop
	}
}

// readAll reads lines until there is a reason to stop. It returns an error of reading.
func (f *feeder) readAll() error {
	in := f.p.pieces(f.ctx, false)
	for piece, err := range in.all {
		f.mu.Lock()
		f.read++
		n := f.read
		f.mu.Unlock()
		f.log.Debug("a line of standard input was read", "line", n)
		if err == nil {
			err = f.offer(n, piece)
		}
		if err != nil && !f.pass(n, err) || f.ctx.Err() != nil {
			return nil
		}
	}
	if err := in.err(); err != nil && f.ctx.Err() == nil {
		return badInput(err)
	}
	return nil
}

// offer passes the message of a line to its producer. It returns an error only if the line itself
// is wrong.
func (f *feeder) offer(n int, line []byte) error {
	prod, m, err := f.o.messageOf(f.c, line)
	if err != nil {
		return err
	}
	return f.give(n, prod, m, len(line))
}

// give passes the message of a line to its producer, for as long as that takes. It returns an error only if the
// line itself is wrong.
func (f *feeder) give(n int, prod *connector.Producer, m *flow.Message, size int) error {
	f.reading.set(n)
	defer f.reading.set(0)
	f.begin(n)
	stores := prod.DoneWhen() == connector.DoneWhenStored
	if !stores { // RunAsync would wait for the first connection
		select {
		case <-f.started:
		case <-f.patience.Done():
			return nil
		}
	}
	if !f.window.take(f.patience, size) {
		return nil
	}
	for {
		pending, err := prod.RunAsync(f.patience, m)
		if err == nil {
			f.lines <- fedLine{n, size, pending} // never blocks: the window limits how many are in it
			return nil
		}
		if ofTheLine(err) {
			f.window.release(size)
			f.end(n)
			return err
		}
		for again := false; !again; {
			select {
			case <-time.After(feedRetry):
				again = stores || prod.Connected()
			case <-f.c.Done():
				f.stop()
				return nil
			case <-f.patience.Done():
				return nil
			}
		}
	}
}

// ofTheLine reports whether an error is due to the line, so that waiting does not help.
func ofTheLine(err error) bool {
	for _, t := range []flow.ErrorType{
		flow.TypeExpression, flow.TypeInvalidTopic, flow.TypePayloadTooLarge, flow.TypePublishRefused, flow.TypeConfig,
	} {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// confirm waits for the outcomes of the lines, in order.
func (f *feeder) confirm() {
	for l := range f.lines {
		f.waiting.set(l.n)
		err := l.pending.Wait(context.Background())
		f.waiting.set(0)
		f.window.release(l.size)
		f.judge(l.n, l.pending.QoS(), err)
	}
}

// judge records the outcome of line n.
func (f *feeder) judge(n int, qos packets.QoS, err error) {
	var e *flow.Error
	switch {
	case err == nil:
		f.end(n)
		f.log.Debug("a line of standard input is done", "line", n)
	case errors.As(err, &e) && e.Delivered == flow.DeliveredLater: // the session store holds it
		f.end(n)
	case ofTheLine(err):
		f.end(n)
		f.pass(n, err)
	case qos == packets.AtMostOnce: // QoS 0 lost with its connection does not stop the feed
		f.end(n)
		f.mu.Lock()
		f.lost++
		f.mu.Unlock()
	}
}

func (f *feeder) begin(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = make(map[int]bool)
	}
	f.open[n] = true
}

func (f *feeder) end(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, n)
}

// pass skips a bad line and returns true, or lets it end the command and returns false.
func (f *feeder) pass(n int, err error) bool {
	if f.stops() {
		f.fail(badLine(n, err))
		return false
	}
	f.mu.Lock()
	f.bad++
	f.mu.Unlock()
	f.log.Error(f.p.Say("a line of standard input is skipped", "已跳过标准输入中的一行"), "line", n, "error", f.p.text(err))
	return true
}

// stops reports whether a bad line ends the command. Without --bad-lines it does, as in pub, unless there are
// consumers.
func (f *feeder) stops() bool {
	if f.o.badLines == "" {
		return f.o.consumers.Load() == 0
	}
	return f.o.badLines == "stop"
}

// fail ends the command because of a line.
func (f *feeder) fail(err error) {
	if f.o.consumers.Load() > 0 {
		zh := (&Program{Lang: "zh"}).text(err)
		err = &codedError{code: ExitPublish, err: fmt.Errorf("%w; the consumers stop, too: --bad-lines stop", err), zh: zh + "；Consumer 也随之停止：--bad-lines stop"}
	}
	select {
	case f.failed <- err:
	default: // another line failed first
	}
	f.stop()
}

// watch logs once that lines wait, and once that they continue.
func (f *feeder) watch(over <-chan struct{}) {
	tick := time.NewTicker(feedPatience / 4)
	defer tick.Stop()
	for told := 0; ; {
		select {
		case <-tick.C:
		case <-over:
			if told > 0 && f.ctx.Err() == nil {
				f.tellGoesOn(told)
			}
			return
		}
		late := f.waiting.late()
		if late == 0 {
			late = f.reading.late()
		}
		switch h := f.c.Health(); {
		case late > 0 && told == 0:
			f.log.Warn(f.p.Say("standard input waits", "标准输入等待中"), "line", late, "state", f.p.state(h), "stored", h.Stored)
			told = late
		case late == 0 && told > 0:
			f.tellGoesOn(told)
			told = 0
		}
	}
}

func (f *feeder) tellGoesOn(line int) {
	f.log.Warn(f.p.Say("standard input goes on", "标准输入已继续"), "line", line)
}

// drain waits until the connector has started and the session store is empty. It gives up when nothing has left
// the store for --drain-timeout.
func (f *feeder) drain() {
	last, since := 0, time.Now()
	started := f.started
	for {
		left := f.c.Health().Stored
		if left != last {
			last, since = left, time.Now()
		}
		if left == 0 && started == nil || left > 0 && time.Since(since) >= f.o.drain {
			return
		}
		select {
		case <-started:
			started = nil
		case <-time.After(feedRetry):
		case <-f.c.Done():
			return
		case <-f.ctx.Done():
			return
		}
	}
}

// outcome returns the error about lines that were not published. It is called when the feed or the connector has
// ended.
func (f *feeder) outcome(interrupted bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := 0
	for n := range f.open {
		if first == 0 || n < first {
			first = n
		}
	}
	switch {
	case first > 0:
		err := Fail(ExitPublish, "standard input: lines that were read and not published: %d, from line %d; some may have arrived", "标准输入：已读取但未确认发布的行：%d 行，自第 %d 行起；其中一些可能已送达", len(f.open), first)
		err.(*codedError).always = true
		return err
	case interrupted:
		return nil
	case f.input != nil:
		return f.input
	case f.lost > 0:
		return Fail(ExitPublish, "the connection was lost: %d messages of QoS 0 may not have arrived; QoS 1 sends them again", "连接曾中断：%d 条 QoS 0 消息可能未送达；使用 QoS 1 可重新发送", f.lost)
	}
	return nil
}

// A feedWindow limits the number and bytes of the lines in flight.
type feedWindow struct {
	mu           sync.Mutex
	lines, bytes int
	changed      chan struct{} // closed by release; nil: nobody waits
}

const (
	mostFedLines = 1024
	mostFedBytes = 16 << 20
)

// take waits for room for a line. It reports false if ctx ends first.
func (w *feedWindow) take(ctx context.Context, size int) bool {
	for {
		w.mu.Lock()
		if w.lines == 0 || w.lines < mostFedLines && w.bytes+size <= mostFedBytes {
			w.lines++
			w.bytes += size
			w.mu.Unlock()
			return true
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (w *feedWindow) release(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines--
	w.bytes -= size
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// A stdinLine is a message for a producer, as a line of JSON.
type stdinLine struct {
	Producer  string         `json:"producer"`
	Attribute map[string]any `json:"attribute"`
	Variable  map[string]any `json:"variable"`
	content
}

// messageOf parses a line.
func (o *runOptions) messageOf(c *connector.Connector, text []byte) (*connector.Producer, *flow.Message, error) {
	if o.producer != "" { // adopt has made sure that it exists
		return c.Producer(o.producer), &flow.Message{Payload: flow.Entity{Blob: text}}, nil
	}
	var l stdinLine
	if err := decodeLine(text, &l); err != nil {
		return nil, nil, lineFault("not a message (%w); with --producer each line is a payload", "不是一条消息（%w）；给出 --producer 时每行是一条内容", err)
	}
	prod := c.Producer(l.Producer)
	if prod == nil {
		return nil, nil, lineFault("there is no producer %q", "没有 Producer %q", l.Producer)
	}
	payload, mimeType, given, err := l.bytes()
	switch {
	case err != nil:
		return nil, nil, err
	case !given && !prod.HasPayload():
		return nil, nil, lineFault(`the line has no payload, and neither has the producer: "payload": "" is an empty one`, `该行没有 payload，Producer 也没有：空内容请写 "payload": ""`)
	}
	return prod, &flow.Message{Payload: flow.Entity{Blob: payload, MimeType: mimeType}, Attribute: l.Attribute, Variable: l.Variable}, nil
}

// with returns err, the error with which a connector ended, or else the error about lines that were
// not published.
func (f *feeder) with(err error, interrupted bool) error {
	if f == nil {
		return err
	}
	lines := f.outcome(interrupted)
	if err != nil && lines != nil {
		f.log.Error(f.p.text(lines))
	}
	return cmp.Or(err, lines)
}

// start starts the feed and then the connector; the feed comes first because storing messages needs no connection.
// It reports whether the connector runs. It may return false without an error, after an interrupt or at the end of
// the feed.
func (o *runOptions) start(ctx context.Context, c *connector.Connector, f *feeder) (bool, error) {
	if f == nil {
		err := c.Start(ctx)
		switch {
		case err == nil:
			return true, nil
		case ctx.Err() != nil: // interrupted, which is not an error
			return false, nil
		}
		return false, Coded(codeOf(err), err)
	}
	starting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go f.run()
	go func() {
		select {
		case <-f.ctx.Done(): // interrupted, or stopped by a bad line
		case <-f.over:
			if o.consumers.Load() > 0 {
				return
			}
		case <-starting.Done():
			return
		}
		f.cease()
		f.await() // store what was read before Start ends
		cancel()
	}()
	err := c.Start(starting)
	if err == nil {
		close(f.started)
		return true, nil
	}
	needless := starting.Err() != nil
	f.cease()
	f.await()
	select {
	case failed := <-f.failed:
		return false, failed
	default:
	}
	if needless {
		return false, nil
	}
	return false, Coded(codeOf(err), err)
}
