package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/packets"
)

// Live shows messages as they arrive. Each browser has a client of its own, which subscribes at QoS
// 0 in a clean session, so that nothing is acknowledged and nothing is queued for it at the server.
// A slow browser gets fewer messages.

const (
	mostReaders   = 4                      // browsers at a time
	windowEvery   = 250 * time.Millisecond // between lines
	windowBeat    = 5 * time.Second        // between lines when there is nothing new
	largestPacket = 64 << 10               // bytes; of a larger one only the start of the payload is kept
	inboxMessages = 4096                   // more than arrive in a turn of a paced connection, so that the client need not pause during it
	answerTimeout = 10 * time.Second       // of SUBSCRIBE
	mostSearched  = 256                    // bytes of the text to search for
)

type live struct {
	s     *Server
	seats chan struct{}
}

func (s *Server) livePage() {
	l := &live{s: s, seats: make(chan struct{}, mostReaders)}
	s.get("live/topics", func(*http.Request) (any, error) {
		return map[string][]string{"filters": s.reach.filters()}, nil
	})
	s.stream("live/listen", l.listen)
	s.post("live/publish", l.publish)
}

var (
	errReaders = &fault{http.StatusConflict, "Too many pages listen at the same time: close one.", "同时监听的页面过多，请先关闭一个。"}
	errNoTopic = &fault{http.StatusConflict, "The configuration has no consumer: enter a topic.", "配置中没有 Consumer：请输入主题。"}
	errSearch  = &fault{http.StatusBadRequest, "The text to search for is too long.", "搜索文字过长。"}
	errQoS     = &fault{http.StatusBadRequest, "QoS is 0, 1 or 2.", "QoS 只能为 0、1 或 2。"}
	errSilent  = &fault{http.StatusGatewayTimeout, "The server did not answer in time. The message may have arrived.", "服务端未及时应答，消息可能已到达。"}
)

func badFilter(filter string, err error) *fault {
	return &fault{http.StatusBadRequest, fmt.Sprintf("%q cannot be subscribed to: %v", filter, err), fmt.Sprintf("不能订阅 %q：%s", filter, chinese.Of(err.Error()))}
}

// A liveLine is a line of the stream to the page.
type liveLine struct {
	ClientID string   `json:"client_id,omitempty"` // in the first line
	Filters  []string `json:"filters,omitempty"`   // in the first line, and when the topics of the consumers have changed
	Refused  []string `json:"refused,omitempty"`   // of those
	State    string   `json:"state"`               // of the client

	Messages []liveMessage `json:"messages,omitempty"`
	Topics   []topicCount  `json:"topics,omitempty"` // whose counts have changed
	Received uint64        `json:"received"`         // all since the first line
	LeftOut  uint64        `json:"left_out"`         // of those, not searched, because too many arrived
	Others   uint64        `json:"others"`           // of those, on topics that are not counted individually
}

// subscriptions returns those of the consumers, or the requested one.
func (l *live) subscriptions(filter string) (subs []packets.Subscription, filters []string, err error) {
	filters = l.s.reach.filters()
	if filter != "" {
		if err := packets.ValidTopicFilter(filter); err != nil {
			return nil, nil, badFilter(filter, err)
		}
		if _, ok := packets.Undecorated(filter); ok {
			return nil, nil, badFilter(filter, errors.New("a share group would take messages away"))
		}
		filters = []string{filter}
	}
	for _, f := range filters {
		subs = append(subs, packets.Subscription{Filter: f})
	}
	return subs, filters, nil
}

// listen sends messages until the browser disconnects.
func (l *live) listen(ctx context.Context, r *http.Request, send func(any) error) error {
	in, err := decode[struct {
		Filter string `json:"filter"` // empty: the topics of the consumers
		Search string `json:"search"`
	}](r)
	if err != nil {
		return err
	}
	subs, filters, err := l.subscriptions(in.Filter)
	switch {
	case err != nil:
		return err
	case l.s.reach.cfg == nil:
		return errNoConfig
	case len(subs) == 0:
		return errNoTopic
	case len(in.Search) > mostSearched:
		return errSearch
	}
	select {
	case l.seats <- struct{}{}:
		defer func() { <-l.seats }()
	default:
		return errReaders
	}
	w := newWindow(in.Search)
	c, id, err := l.s.reach.connect(ctx, func(cfg *client.Config) {
		cfg.Dial = pacedDial(cfg.Dial)
		for i := range cfg.Fallbacks {
			cfg.Fallbacks[i] = pacedDial(cfg.Fallbacks[i])
		}
		cfg.NoReconnect, cfg.LendPayloads, cfg.SkipMalformed = false, true, true
		cfg.InboxMessages, cfg.InboxBytes = inboxMessages, 1<<20
		cfg.MaxPacketSize, cfg.SkipOversize, cfg.TakeOversize = largestPacket, true, w.takeOversize
	})
	if err != nil {
		return err
	}
	l.s.log.Info("ui: listens to messages", "topics", filters, "client_id", id, "from", r.RemoteAddr)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for d, err := range c.Messages(ctx) {
			if err != nil {
				return
			}
			w.add(d.Topic, d.Payload, len(d.Payload), d.Retain)
		}
	}()
	defer func() {
		cancel()
		leave(ctx, c)
		<-ended
		l.s.log.Info("ui: listens no longer", "client_id", id, "from", r.RemoteAddr)
	}()
	refused, err := l.subscribe(ctx, c, subs)
	if err != nil {
		return err
	}
	var follow *follower
	if in.Filter == "" {
		follow = &follower{c: c, filters: filters}
	}
	if err := send(liveLine{ClientID: id, Filters: filters, Refused: refused, State: c.State().String()}); err != nil {
		return err
	}
	return l.tell(ctx, c, w, follow, send)
}

// subscribe returns the filters that the server refuses, and an error if it refuses all.
func (l *live) subscribe(ctx context.Context, c *client.Client, subs []packets.Subscription) (refused []string, err error) {
	within, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err = c.Subscribe(within, subs...)
	refused = refusedOf(subs, err)
	if err != nil && (refused == nil || len(refused) == len(subs)) {
		return nil, l.s.reach.told(err)
	}
	return refused, nil
}

// refusedOf returns the filters that the server refuses.
func refusedOf(subs []packets.Subscription, err error) (refused []string) {
	var some *client.SubscribeError
	if !errors.As(err, &some) {
		return nil
	}
	for i, result := range some.Results {
		if result.Err != nil {
			refused = append(refused, subs[i].Filter)
		}
	}
	return refused
}

// A follower keeps a client subscribed to the current topics of the consumers.
type follower struct {
	c       *client.Client
	filters []string
	asked   []packets.Subscription
	answer  *client.Receipt // result of asking for them, or nil if none is pending
}

// change subscribes to new filters and unsubscribes from all others. After a reconnect the client
// repeats requests that the server has not answered.
func (f *follower) change(filters []string) (err error) {
	var subs []packets.Subscription
	for _, filter := range filters {
		if !slices.Contains(f.filters, filter) {
			subs = append(subs, packets.Subscription{Filter: filter})
		}
	}
	gone := slices.DeleteFunc(slices.Clone(f.filters), func(filter string) bool { return slices.Contains(filters, filter) })
	if f.filters = filters; len(subs) > 0 {
		f.asked = subs
		if f.answer, err = f.c.SubscribeAsync(subs...); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		_, err = f.c.UnsubscribeAsync(gone...)
	}
	return err
}

// refused returns the filters that the server has refused since the last call.
func (f *follower) refused() []string {
	if f.answer == nil {
		return nil
	}
	select {
	case <-f.answer.Done():
		err := f.answer.Err()
		f.answer = nil
		return refusedOf(f.asked, err)
	default:
		return nil
	}
}

// tell sends lines until ctx is done or the client is closed. Unless follow is nil, it keeps the
// subscriptions in step with the topics of the consumers.
func (l *live) tell(ctx context.Context, c *client.Client, w *window, follow *follower, send func(any) error) error {
	tick := time.NewTicker(windowEvery)
	defer tick.Stop()
	var (
		state string
		told  time.Time
	)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.Done():
			return l.s.reach.told(c.Err())
		case now := <-tick.C:
			line, news := w.take()
			if follow != nil {
				if now := l.s.reach.filters(); !slices.Equal(now, follow.filters) {
					if err := follow.change(now); err != nil {
						return l.s.reach.told(err)
					}
					line.Filters, news = now, true
				}
				line.Refused = follow.refused()
				news = news || line.Refused != nil
			}
			line.State = c.State().String()
			line.LeftOut += c.Stats().Dropped
			if !news && line.State == state && now.Sub(told) < windowBeat {
				continue
			}
			if err := send(line); err != nil {
				return err
			}
			state, told = line.State, now
		}
	}
}

// publish publishes a message and responds when it is acknowledged or, at QoS 0, written to the
// network.
func (l *live) publish(r *http.Request) (any, error) {
	in, err := decode[struct {
		Topic    string `json:"topic"`
		Payload  []byte `json:"payload"`
		QoS      int    `json:"qos"`
		Retained bool   `json:"retained"`
	}](r)
	if err != nil {
		return nil, err
	}
	if err := packets.ValidTopicName(in.Topic); err != nil {
		return nil, badTopic(in.Topic, err)
	}
	if in.QoS < 0 || in.QoS > 2 {
		return nil, errQoS
	}
	ctx, cancel := context.WithTimeout(r.Context(), publishTimeout)
	defer cancel()
	c, _, err := l.s.reach.connect(ctx, func(*client.Config) {})
	if err != nil {
		return nil, err
	}
	defer leave(ctx, c)
	begun := time.Now()
	err = c.Publish(ctx, client.Message{Topic: in.Topic, Payload: in.Payload, QoS: packets.QoS(in.QoS), Retain: in.Retained})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = errSilent
	case err != nil:
		err = l.s.reach.told(err)
	}
	if err != nil {
		l.s.log.Warn("ui: a message was not published", "topic", in.Topic, "qos", in.QoS, "error", err, "from", r.RemoteAddr)
		return nil, err
	}
	l.s.log.Info("ui: published a message", "topic", in.Topic, "qos", in.QoS, "retained", in.Retained, "bytes", len(in.Payload), "from", r.RemoteAddr)
	return map[string]float64{"ms": float64(time.Since(begun)) / float64(time.Millisecond)}, nil
}

// takeOversize keeps the start of a message that is too large to be received whole.
func (w *window) takeOversize(_ context.Context, m *client.IncomingError, payload io.Reader) (bool, error) {
	begin, err := io.ReadAll(io.LimitReader(payload, mostPayload))
	if err == nil {
		w.add(strings.ToValidUTF8(m.Topic, "\ufffd"), begin, payloadSize(m), m.Retain)
	}
	return err == nil, err
}

// payloadSize returns how many bytes the payload of a packet has.
func payloadSize(m *client.IncomingError) int {
	header := 2 + len(m.Topic) // section 3.3.2
	if m.QoS > 0 {
		header += 2
	}
	length := 1 // bytes of Remaining Length, section 2.2.3
	for most := 128; m.Size-1-length >= most && length < 4; most *= 128 {
		length++
	}
	return max(0, m.Size-1-length-header)
}
