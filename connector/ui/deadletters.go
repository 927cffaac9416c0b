package ui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/deadletters"
	"github.com/mqtt311/mqtt311/packets"
)

// The page works only on the dead letter files that the configuration named when the server
// started, so that a user of the page cannot read other files.
type letterFiles struct {
	s     *Server
	paths []string

	mu   sync.Mutex
	open map[string]*deadletters.File

	replaying chan struct{} // contains a value while dead letters are replayed
}

const (
	mostListed      = 100              // dead letters per response
	mostLookedAt    = 64 << 20         // bytes of payloads searched per response
	mostLookedThese = 10_000           // dead letters searched per response
	mostShown       = 64 << 10         // bytes of a payload that are shown
	mostActed       = 1000             // dead letters per action
	publishTimeout  = 20 * time.Second // per replayed dead letter
)

func (s *Server) deadLettersPage() {
	l := &letterFiles{s: s, open: make(map[string]*deadletters.File), replaying: make(chan struct{}, 1)}
	if cfg := s.reach.cfg; cfg != nil {
		for _, name := range slices.Sorted(maps.Keys(cfg.Consumers)) {
			if c := cfg.Consumers[name]; c.OnFailure.DeadLetterFile != "" && !slices.Contains(l.paths, c.OnFailure.DeadLetterFile) {
				l.paths = append(l.paths, c.OnFailure.DeadLetterFile)
			}
		}
	}
	context.AfterFunc(s.ctx, l.close)
	s.get("deadletters/files", l.files)
	s.post("deadletters/list", l.list)
	s.post("deadletters/show", l.show)
	s.post("deadletters/remove", l.remove)
	s.post("deadletters/copy", l.copy)
	s.stream("deadletters/replay", l.replay)
}

func (l *letterFiles) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.open {
		f.Close()
	}
	clear(l.open)
}

type letterFile struct {
	Name      string   `json:"name"` // without its folder
	Consumers []string `json:"consumers"`
}

// files returns the list of files; other requests refer to a file by its index in this list.
func (l *letterFiles) files(*http.Request) (any, error) {
	out := []letterFile{}
	for _, path := range l.paths {
		f := letterFile{Name: filepath.Base(path)}
		for _, name := range slices.Sorted(maps.Keys(l.s.reach.cfg.Consumers)) {
			if l.s.reach.cfg.Consumers[name].OnFailure.DeadLetterFile == path {
				f.Consumers = append(f.Consumers, name)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

var (
	errNoLetters = &fault{http.StatusNotFound, "The configuration names no such dead letter file.", "配置中没有该死信文件。"}
	errGone      = &fault{http.StatusNotFound, "The dead letter is not there any more.", "该死信已不存在。"}
	errMany      = &fault{http.StatusBadRequest, "Too many dead letters at once.", "一次选择的死信过多。"}
	errDone      = &fault{http.StatusConflict, "It was replayed meanwhile.", "该死信已被重放。"}
	errReplaying = &fault{http.StatusConflict, "Dead letters are being replayed already: wait until that has ended.", "正在重放死信，请等待完成。"}
	errNoFlow    = &fault{http.StatusConflict, "No flow of its consumer runs here: replay it to a topic.", "此处没有运行该 Consumer 的流程：请重放到主题。"}
)

// file returns a file as it is now, or nil if it does not exist yet, which is not an error.
func (l *letterFiles) file(ctx context.Context, n int) (*deadletters.File, error) {
	if n < 0 || n >= len(l.paths) {
		return nil, errNoLetters
	}
	path := l.paths[n]
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.open[path]
	if f != nil && f.IsMoved() {
		delete(l.open, path) // a request may still read it; it is closed when none does
		f = nil
	}
	if f != nil {
		return f, f.Refresh(ctx)
	}
	f, err := deadletters.Open(ctx, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		l.open[path] = f
	}
	return f, err
}

// letter returns a file and an entry of it.
func (l *letterFiles) letter(ctx context.Context, n int, id string) (*deadletters.File, deadletters.Entry, error) {
	f, err := l.file(ctx, n)
	if err != nil {
		return nil, deadletters.Entry{}, err
	}
	if f == nil || len(id) != 16 {
		return nil, deadletters.Entry{}, errGone
	}
	e, err := f.Find(id)
	if err != nil {
		return nil, e, errGone
	}
	return f, e, nil
}

// A shownLetter is a dead letter in a list.
type shownLetter struct {
	ID    deadletters.ID `json:"id"`
	State string         `json:"state"`
	Size  int64          `json:"size"`
	Why   string         `json:"why"`
	Flow  bool           `json:"flow"` // a running connector has a flow for it
	*deadletters.Record
}

func (l *letterFiles) shown(e deadletters.Entry, r *deadletters.Record) shownLetter {
	out := shownLetter{e.ID, e.State.String(), e.Size, l.s.reach.scrub(r.Why()), l.hasFlow(r), r}
	r.Error = nil // Why contains what is shown of the error
	return out
}

func (l *letterFiles) hasFlow(r *deadletters.Record) bool {
	c := l.s.opts.Running
	return c != nil && c.Replays(r.Consumer)
}

type letterList struct {
	Letters []shownLetter `json:"letters"` // the newest first
	Next    int           `json:"next"`    // where to continue; 0 if there are no more
	Waiting int           `json:"waiting"`
	All     int           `json:"all"`
	Faults  int           `json:"faults"` // unreadable lines
}

// list answers with dead letters before a place in the file, newest first.
func (l *letterFiles) list(r *http.Request) (any, error) {
	in, err := decode[struct {
		File   int    `json:"file"`
		Search string `json:"search"`
		All    bool   `json:"all"`
		Before int    `json:"before"`
	}](r)
	if err != nil {
		return nil, err
	}
	out := letterList{Letters: []shownLetter{}}
	f, err := l.file(r.Context(), in.File)
	if f == nil {
		return out, err
	}
	out.All = f.Len()
	_, out.Faults, _ = f.Faults()
	for i := range out.All {
		if f.At(i).State == deadletters.Waiting {
			out.Waiting++
		}
	}
	if in.Before <= 0 || in.Before > out.All {
		in.Before = out.All
	}
	bytes, seen := int64(0), 0
	for i := in.Before - 1; i >= 0; i-- {
		if len(out.Letters) == mostListed || bytes > mostLookedAt || seen == mostLookedThese || r.Context().Err() != nil {
			out.Next = i + 1
			break
		}
		e := f.At(i)
		if !in.All && e.State != deadletters.Waiting {
			continue
		}
		record, err := f.Record(e)
		if err != nil {
			return nil, err
		}
		seen++
		if in.Search != "" {
			bytes += e.Size
		}
		if f.Has(e, record, in.Search) {
			out.Letters = append(out.Letters, l.shown(e, record))
		}
	}
	return out, nil
}

type letterView struct {
	shownLetter
	Payload []byte `json:"payload"` // the beginning
	Whole   bool   `json:"whole"`   // whether that is all of it
}

// show answers with one dead letter and the beginning of its payload.
func (l *letterFiles) show(r *http.Request) (any, error) {
	in, err := decode[struct {
		File int    `json:"file"`
		ID   string `json:"id"`
	}](r)
	if err != nil {
		return nil, err
	}
	f, e, err := l.letter(r.Context(), in.File, in.ID)
	if err != nil {
		return nil, err
	}
	record, err := f.Record(e)
	if err != nil {
		return nil, err
	}
	payload, err := io.ReadAll(io.LimitReader(f.Payload(e), mostShown))
	if err != nil {
		return nil, fmt.Errorf("the payload cannot be read: %w", err)
	}
	return letterView{l.shown(e, record), payload, int64(len(payload)) == e.Size}, nil
}

// An action names its dead letters, which are those that the user saw.
type letterAct struct {
	File  int      `json:"file"`
	IDs   []string `json:"ids"`
	Topic string   `json:"topic,omitempty"` // for replay: the topic to publish to
	Flow  bool     `json:"flow,omitempty"`  // for replay: use the flow of its consumer instead
	Again bool     `json:"again,omitempty"` // for replay: also those that were replayed before
}

func (l *letterFiles) remove(r *http.Request) (any, error) {
	in, err := decode[letterAct](r)
	if err != nil {
		return nil, err
	}
	if len(in.IDs) > mostActed {
		return nil, errMany
	}
	for i, id := range in.IDs {
		f, e, err := l.letter(r.Context(), in.File, id)
		if err == nil {
			err = f.Mark(r.Context(), e.ID, deadletters.Removed, "page")
		}
		if err != nil {
			return nil, err
		}
		l.s.log.Info("ui: removed a dead letter", "file", l.paths[in.File], "letter", in.IDs[i], "from", r.RemoteAddr)
	}
	return map[string]int{"removed": len(in.IDs)}, nil
}

// copy appends a copy with another topic and, unless that is null, another payload.
func (l *letterFiles) copy(r *http.Request) (any, error) {
	in, err := decode[struct {
		File    int     `json:"file"`
		ID      string  `json:"id"`
		Topic   string  `json:"topic"`
		Payload *[]byte `json:"payload"`
	}](r)
	if err != nil {
		return nil, err
	}
	if err := packets.ValidTopicName(in.Topic); err != nil {
		return nil, badTopic(in.Topic, err)
	}
	f, e, err := l.letter(r.Context(), in.File, in.ID)
	if err != nil {
		return nil, err
	}
	var payload io.Reader
	if in.Payload != nil {
		payload = bytes.NewReader(*in.Payload)
	}
	made, err := f.Copy(r.Context(), e, in.Topic, payload)
	if err != nil {
		return nil, err
	}
	l.s.log.Info("ui: copied a dead letter", "file", l.paths[in.File], "letter", in.ID, "copy", made.ID.String(), "from", r.RemoteAddr)
	return map[string]deadletters.ID{"id": made.ID}, nil
}

func badTopic(topic string, err error) *fault {
	return &fault{http.StatusBadRequest, fmt.Sprintf("%q cannot be published to: %v", topic, err), fmt.Sprintf("不能向主题 %q 发布：%s", topic, chinese.Of(err.Error()))}
}

// A replayedLine is the result for a dead letter. If there is an error, the dead letter stays.
type replayedLine struct {
	ID    string `json:"id"`
	Error *text  `json:"error,omitempty"`
}

// A replayer passes a dead letter on: to a flow, or to a topic.
type replayer func(context.Context, *deadletters.Record, []byte) error

// replay replays dead letters one after the other, and reports each result at once. Each is
// replayed at least once, because it is marked as replayed only afterwards.
func (l *letterFiles) replay(ctx context.Context, r *http.Request, send func(any) error) error {
	in, err := decode[letterAct](r)
	switch {
	case err != nil:
		return err
	case len(in.IDs) > mostActed:
		return errMany
	case in.File < 0 || in.File >= len(l.paths):
		return errNoLetters
	}
	select {
	case l.replaying <- struct{}{}:
		defer func() { <-l.replaying }()
	default:
		return errReplaying
	}
	to, over, how := l.throughFlow, func() bool { return false }, "flow"
	switch {
	case in.Flow && l.s.opts.Running == nil:
		return errNoFlow
	case !in.Flow:
		if err := packets.ValidTopicName(strings.ReplaceAll(in.Topic, "{topic}", "t")); err != nil {
			return badTopic(in.Topic, err)
		}
		c, _, err := l.s.reach.connect(ctx, func(*client.Config) {})
		if err != nil {
			return err
		}
		defer leave(ctx, c)
		to, over, how = toTopic(c, in.Topic), func() bool { return c.Err() != nil }, "topic "+in.Topic
	}
	for _, id := range in.IDs {
		line := replayedLine{ID: id}
		if err := l.replayOne(in, id, how, to); err != nil {
			line.Error = l.s.reach.both(err)
			l.s.log.Warn("ui: a dead letter was not replayed, and stays", "file", l.paths[in.File], "letter", id, "to", how, "error", err, "from", r.RemoteAddr)
		} else {
			l.s.log.Info("ui: replayed a dead letter", "file", l.paths[in.File], "letter", id, "to", how, "from", r.RemoteAddr)
		}
		if err := send(line); err != nil || ctx.Err() != nil || over() {
			return err
		}
	}
	return nil
}

// replayOne replays a dead letter and, if that succeeds, marks it. If the browser disconnects
// meanwhile, the replay continues: otherwise the work might be done without being recorded.
func (l *letterFiles) replayOne(in *letterAct, id, how string, to replayer) error {
	ctx := l.s.ctx
	f, e, err := l.letter(ctx, in.File, id)
	if err != nil {
		return err
	}
	record, err := f.Record(e)
	switch {
	case err != nil:
		return err
	case e.State == deadletters.WasRemoved || e.Size > packets.MaxRemainingLength:
		return errGone
	case e.State == deadletters.WasReplayed && !in.Again:
		return errDone
	case f.IsReadOnly():
		return deadletters.ErrReadOnly // it could not be marked, and would be replayed again and again
	}
	payload, err := io.ReadAll(f.Payload(e))
	if err != nil {
		return fmt.Errorf("the payload cannot be read: %w", err)
	}
	if record.CopyOf != nil && record.Key != "" { // a copy is another message, so it needs another key
		record.Key += "/" + e.ID.String()
	}
	if err := to(ctx, record, payload); err != nil {
		return err
	}
	if err := f.Mark(context.WithoutCancel(ctx), e.ID, deadletters.Replayed, how); err != nil {
		return &fault{http.StatusInternalServerError, fmt.Sprintf("It was replayed, but that could not be written to the file: %v", err), fmt.Sprintf("已重放，但未能写入文件：%v", err)}
	}
	return nil
}

// toTopic publishes dead letters.
func toTopic(c *client.Client, to string) replayer {
	return func(ctx context.Context, r *deadletters.Record, payload []byte) error {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		return c.Publish(ctx, client.Message{Topic: strings.ReplaceAll(to, "{topic}", r.Topic), QoS: packets.AtLeastOnce, Payload: payload})
	}
}

// throughFlow gives a dead letter to the flow of its consumer.
func (l *letterFiles) throughFlow(ctx context.Context, r *deadletters.Record, payload []byte) error {
	if !l.hasFlow(r) {
		return errNoFlow
	}
	return l.s.opts.Running.Replay(ctx, &connector.DeadLetterRecord{
		Received: r.Received, Consumer: r.Consumer, Topic: r.Topic, QoS: r.QoS, MessageID: r.MessageID, Key: r.Key, Payload: payload,
	})
}
