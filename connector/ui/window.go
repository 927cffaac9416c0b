package ui

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

const (
	mostMessages    = 25        // in a window
	mostWindowBytes = 64 << 10  // bytes of topics and payloads in it; a single message may be larger
	mostPayload     = 4 << 10   // bytes of a payload that are shown
	mostTopics      = 1000      // topics that are counted individually
	mostTopicBytes  = 256 << 10 // of their names
)

// A window collects the messages to show next. Adding never waits for the browser: messages that do
// not fit are counted, but neither copied nor searched.
type window struct {
	search string

	mu                        sync.Mutex
	messages                  []liveMessage
	bytes                     int
	received, leftOut, others uint64
	told                      uint64 // value of received when the window was last taken
	topics                    map[string]*topicCount
	topicBytes                int
	changed                   []*topicCount
}

// A liveMessage is a message for the page.
type liveMessage struct {
	Time     time.Time `json:"time"`
	Topic    string    `json:"topic"`
	Payload  []byte    `json:"payload"` // the beginning
	Size     int       `json:"size"`    // size of the whole payload
	Retained bool      `json:"retained,omitempty"`
}

// A topicCount is the number of messages on a topic.
type topicCount struct {
	Topic   string `json:"topic"`
	Count   uint64 `json:"count"`
	changed bool
}

func newWindow(search string) *window {
	return &window{search: search, topics: make(map[string]*topicCount)}
}

// add adds a message. payload may be only the start of one of size bytes, and is not retained.
func (w *window) add(topic string, payload []byte, size int, retained bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.received++
	w.count(topic)
	shown := payload[:min(len(payload), mostPayload)]
	room := len(topic) + len(shown)
	if len(w.messages) == mostMessages || w.bytes > 0 && w.bytes+room > mostWindowBytes {
		w.leftOut++
		return
	}
	if w.search != "" && !strings.Contains(topic, w.search) && !bytes.Contains(payload, []byte(w.search)) {
		return
	}
	w.bytes += room
	w.messages = append(w.messages, liveMessage{time.Now(), strings.Clone(topic), bytes.Clone(shown), size, retained})
}

func (w *window) count(topic string) {
	t := w.topics[topic]
	if t == nil {
		if len(w.topics) == mostTopics || w.topicBytes+len(topic) > mostTopicBytes {
			w.others++
			return
		}
		t = &topicCount{Topic: strings.Clone(topic)}
		w.topics[t.Topic] = t
		w.topicBytes += len(topic)
	}
	t.Count++
	if !t.changed {
		t.changed = true
		w.changed = append(w.changed, t)
	}
}

// take empties the window. news is false if nothing was added since the last call.
func (w *window) take() (line liveLine, news bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	line = liveLine{Messages: w.messages, Received: w.received, LeftOut: w.leftOut, Others: w.others}
	for _, t := range w.changed {
		line.Topics = append(line.Topics, *t)
		t.changed = false
	}
	news = w.received != w.told
	w.told = w.received
	w.messages, w.bytes, w.changed = nil, 0, w.changed[:0]
	return line, news
}
