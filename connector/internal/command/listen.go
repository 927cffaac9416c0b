package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/crowd"
)

// A watch serves the state of a connector to Prometheus and to a supervisor.
type watch struct {
	members  func() []member
	part     Part          // nil: none
	restarts func() uint64 // of the step's processes
	say      func(en, zh string) string
	divided  bool // connectors may come and go
	stopping atomic.Bool
}

// A member is a connector with the partition that this process has leased; partition is empty without
// leases.
type member struct {
	partition string
	c         *connector.Connector
}

// serve starts listening; the returned function stops it.
func (w *watch) serve(address string, log *slog.Logger) (stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", w.metrics)
	mux.HandleFunc("GET /livez", w.livez)
	mux.HandleFunc("GET /readyz", w.readyz)
	server := newServer(mux, listenIdle, log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(crowd.Limit(l, listenMost)); !errors.Is(err, http.ErrServerClosed) {
			log.Error("listen", "error", err.Error())
		}
	})
	log.Info("listening", "address", l.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(ctx)
		server.Close()
		serving.Wait()
	}, nil
}

const (
	listenIdle = 30 * time.Second // idle connections are closed after this time
	listenMost = 32               // maximum number of connections; beyond it the oldest is closed
)

// newServer returns a server that no client can block: requests have no body, and each has a time
// limit.
func newServer(h http.Handler, idle time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: min(idle, 10*time.Second),
		ReadTimeout:       min(idle, 10*time.Second),
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       idle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// A verdict is the answer of /livez and /readyz.
type verdict struct {
	OK      bool     `json:"ok"`
	Reasons []reason `json:"reasons"`
}

type reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (v *verdict) answer(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	v.OK = len(v.Reasons) == 0
	if !v.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(v)
}

// livez reports whether the process should be kept: not if its connector has ended.
func (w *watch) livez(rw http.ResponseWriter, _ *http.Request) {
	v := verdict{Reasons: []reason{}}
	for _, m := range w.members() {
		h := m.c.Health()
		if err := h.Live(); err != nil && !w.divided { // another member takes over its share
			v.Reasons = append(v.Reasons, reason{"ended", w.say("the connector has ended: ", "连接器已结束：") + w.say(err.Error(), chineseOf(err))})
		}
	}
	v.answer(rw)
}

// readyz reports whether messages flow or, with the query connection=NAME, whether that connection is
// up.
func (w *watch) readyz(rw http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	known, v := !query.Has("connection"), verdict{Reasons: []reason{}}
	for _, m := range w.members() {
		h := m.c.Health()
		if !query.Has("connection") {
			v.Reasons = append(v.Reasons, w.reasons(h)...)
		} else if n, ok := h.Connections[query.Get("connection")]; ok {
			known = true
			v.Reasons = w.notConnected(v.Reasons, n.Connected, n.Problem)
		}
	}
	if !known {
		http.NotFound(rw, r)
		return
	}
	if !query.Has("connection") {
		v.Reasons = append(v.Reasons, w.ownReasons()...)
	}
	v.answer(rw)
}

// ownReasons returns the reasons that come from the process rather than from a connector.
func (w *watch) ownReasons() (out []reason) {
	add := func(code, en, zh string, args ...any) {
		out = append(out, reason{code, fmt.Sprintf(w.say(en, zh), args...)})
	}
	if w.stopping.Load() {
		add("stopping", "the connector stops", "连接器正在停止")
	}
	if w.part != nil {
		w.part.Reasons(add)
	}
	return out
}

// notConnected adds the reason why a connection is not up.
func (w *watch) notConnected(out []reason, connected bool, problem *flow.Error) []reason {
	switch {
	case connected:
		return out
	case problem != nil:
		return append(out, reason{"not_connected", fmt.Sprintf(w.say("not connected to the server: %s", "未连接服务端：%s"), w.say(problem.Description, chinese.Of(problem.Description)))})
	}
	return append(out, reason{"not_connected", w.say("not connected to the server", "未连接服务端")})
}

// reasons returns all reasons, in the user's language; [connector.Health.Ready] returns the first
// of them.
func (w *watch) reasons(h connector.Health) []reason {
	out := []reason{}
	add := func(code, en, zh string, args ...any) {
		out = append(out, reason{code, fmt.Sprintf(w.say(en, zh), args...)})
	}
	if err := h.Live(); err != nil {
		add("ended", "the connector has ended: %v", "连接器已结束：%v", w.say(err.Error(), chineseOf(err)))
	}
	out = w.notConnected(out, h.Connected, h.Problem)
	for _, filter := range h.RefusedFilters {
		add("filter_refused", "the server refuses the topic %q", "服务端拒绝了订阅主题 %q", filter)
	}
	for _, filter := range h.UngrantedFilters {
		if h.Connected {
			add("filter_not_granted", "the server has not granted the topic %q yet", "服务端尚未确认订阅主题 %q", filter)
		}
	}
	if !h.Subscribed && len(h.RefusedFilters) == 0 && (len(h.UngrantedFilters) == 0 || !h.Connected) {
		add("not_subscribed", "not every topic is granted yet", "尚未完成订阅")
	}
	if h.StoreStands() {
		add("store_waits", "the session store has not answered for %s: look at its disk", "会话存储已 %s 未响应，请检查其所在磁盘", h.StoreWaits.Round(time.Second))
	}
	if h.Stalled {
		add("stalled", "a message waits for its acknowledgement for %s", "有消息已 %s 未确认", h.OldestUnacked.Round(time.Second))
	}
	if h.UnmatchedTopic != "" {
		add("unmatched", "a message on %q matched no consumer within the last minute", "最近一分钟内，主题 %q 的消息不匹配任何 Consumer", h.UnmatchedTopic)
	}
	return out
}
