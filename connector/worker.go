package connector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// A run is one run of a flow for a job. It is the flow.Runner of the context of the flow.
type run struct {
	job     *job
	attempt int
	message flow.Message
	ctx     flow.Context

	deferred atomic.Pointer[chan error] // nil if the run ends when Run returns
}

// work runs the flow for one job after another. If the flow calls Goexit, which ends the goroutine,
// another one replaces it.
func (k *consumer) work(w *waiter) {
	var r *run
	defer func() {
		if r == nil {
			return
		}
		k.mu.Lock()
		k.waking = true
		k.mu.Unlock()
		go k.work(w)
		k.ended(r.job, flow.ErrGoexit, false)
	}()
	for arrived := true; ; arrived = false {
		j, _ := k.give(context.Background(), w, arrived, anyJob)
		if j == nil {
			return
		}
		r = j.newRun()
		timedOut, err := k.runFlow(r)
		r = nil
		k.ended(j, err, timedOut)
	}
}

func (j *job) newRun() *run {
	r := &j.first
	if j.number > 1 {
		r = new(run) // goroutines left by an earlier run may still use theirs
	}
	r.job, r.attempt = j, j.attempt
	return r
}

// runFlow runs the flow once and returns the result.
func (k *consumer) runFlow(r *run) (timedOut bool, err error) {
	r.ctx.Context, r.ctx.Runner = k.conn.flowContext, r
	if in := r.job.fed; in != nil && in.Context != nil {
		ctx, cancel := context.WithCancelCause(in.Context)
		defer context.AfterFunc(k.conn.flowContext, func() { cancel(context.Cause(k.conn.flowContext)) })()
		defer cancel(nil)
		r.ctx.Context = ctx
	}
	s := k.now()
	limit := deref(s.params.FlowTimeout, 0)
	if limit > 0 {
		ctx, cancel := context.WithTimeout(r.ctx.Context, limit)
		defer cancel()
		r.ctx.Context = ctx
	}
	k.fill(&r.message, r.job, &s.params)
	_, err = flow.Run(&r.ctx, s.flow, &r.message)
	err = r.settled(err)
	return limit > 0 && errors.Is(r.ctx.Err(), context.DeadlineExceeded), err
}

// fill sets m to the message for a job with these parameters. The payload is a copy.
func (k *consumer) fill(m *flow.Message, j *job, p *ConsumerParams) {
	m.Payload = flow.Entity{Blob: bytes.Clone(j.d.Payload), MimeType: p.MimeType, Encoding: p.Encoding}
	m.Attribute = flow.Attributes(j.d.Topic, j.d.QoS, j.d.PacketID)
	m.Variable = make(map[string]any)
	if p.ExtendedAttributes {
		m.Attribute[flow.AttributeRetained] = j.d.Retain
		m.Attribute[flow.AttributeDuplicate] = j.d.Dup
		m.Attribute[flow.AttributeAttempt] = j.attempt
		m.Attribute[flow.AttributeFilter] = j.taken.filterOf(j.d.Topic)
		m.Attribute[flow.AttributeTopicLevels] = strings.Split(j.d.Topic, "/")
		m.Attribute[flow.AttributeReceivedAt] = j.at.UTC().Format(time.RFC3339Nano)
		m.Attribute[flow.AttributeClientID] = k.conn.conn.cfg.ClientID
		m.Attribute[flow.AttributeBroker] = k.conn.cfg.General.BrokerURL
		m.Attribute[flow.AttributeIdempotencyKey] = k.keyOf(j)
	}
}

// filterOf returns the topic of the parameters that matches, or "" if none does.
func (s *settings) filterOf(topic string) string {
	if i := s.filter(topic); i >= 0 {
		return s.params.Topics[i].Topic
	}
	return ""
}

// keyOf returns the key of a message.
func (k *consumer) keyOf(j *job) string {
	if j.fed != nil && j.fed.Key != "" {
		return j.fed.Key
	}
	name := fmt.Sprintf("%s/%x.%x", k.name, k.conn.began, j.n)
	if j.entry != nil {
		name = strings.TrimPrefix(j.entry.name, notePrefix)
	}
	return k.conn.conn.cfg.ClientID + "/" + name
}

// Key implements flow.Runner.
func (r *run) Key() string { return r.job.consumer.keyOf(r.job) }

// Attempt implements flow.Runner.
func (r *run) Attempt() int { return r.attempt }

// Suspected implements flow.Runner.
func (r *run) Suspected() bool { return r.job.suspect }

// Retained reports whether the message is retained.
func (r *run) Retained() bool { return r.job.d.Retain }

// Shown implements flow.Runner.
func (r *run) Shown(e *flow.Error) *flow.Error { return r.job.consumer.conn.shown(e) }

// Defer implements flow.Runner.
func (r *run) Defer() (settle func(error)) {
	ch := make(chan error, 1)
	if !r.deferred.CompareAndSwap(nil, &ch) {
		ch = *r.deferred.Load()
	}
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			select {
			case ch <- err:
			default: // already settled
			}
		})
	}
}

// settled returns the result of a run whose Run returned err.
func (r *run) settled(err error) error {
	ch := r.deferred.Load()
	if err != nil || ch == nil {
		return err
	}
	select {
	case err := <-*ch:
		return flow.Readable(err)
	case <-r.ctx.Done():
		return fmt.Errorf("connector: the flow was not settled: %w", context.Cause(&r.ctx))
	}
}
