// Package doctor finds out how a server really behaves. [Run] has raw conversations with it and reports the results and their
// consequences for the settings of a connector; [Report.Judge] compares a configuration with them.
//
// Everything happens under client ids and topics of its own. Sessions and retained messages are deleted at the end, even
// after a failure.
package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/packets"
)

// Options select the server, and say how patiently to test it.
type Options struct {
	// Client provides Dial and the credentials. Its other fields are not used.
	Client client.Config

	// MaxPacket is the largest packet to try, in bytes. If zero, a mebibyte.
	MaxPacket int

	// Patience is how long the server may be silent before an answer counts as missing. If zero, a second.
	Patience time.Duration

	// Resend is how long a message is left unacknowledged to see whether it is sent again. If zero, 10
	// seconds.
	Resend time.Duration

	// Forbidden is a topic that the server's rules refuse, to see how they do. If empty, only a topic below $SYS
	// is tried.
	Forbidden string

	// Prefix begins all topics, for users that may not use others.
	Prefix string

	// Closing returns the context for cleaning up, which bounds the time after the context of the run has ended. If nil, 10
	// seconds.
	Closing func(context.Context) (context.Context, context.CancelFunc)

	// Progress, if not nil, is called with the name of each finished probe, from several goroutines.
	Progress func(probe string)
}

// A Text is a text in both languages.
type Text struct{ EN, ZH string }

// In returns the text in "en" or "zh".
func (t Text) In(lang string) string {
	if lang == "zh" {
		return t.ZH
	}
	return t.EN
}

// A Row is the result of a probe.
type Row struct {
	Probe  string
	Asked  Text
	Answer Text
	Means  Text // consequences for the settings of a connector; empty if nothing needs to be done
	Failed bool // the probe could not be made, and nothing is known: Answer says why
}

// A Report describes the behaviour of a server.
type Report struct {
	Rows  []Row
	Facts Facts
	Left  []string // what could not be removed: client ids of sessions, and topics of retained messages
}

// A probe tests one property.
type probe struct {
	name  string
	asked Text
	try   func(*doctor, context.Context) (answer, means Text, err error)
	heavy bool // it sends so much that others would have to wait: it runs alone
	alone bool // it works even if no message reaches a subscriber
}

// delivery comes first: if no published message arrives, the probes that wait for messages would only find that
// again.
var delivery = probe{"delivery", Text{"a message to a subscriber", "发给订阅者的消息"}, (*doctor).delivery, false, true}

// probes are in the order of the report, after delivery.
var probes = []probe{
	{"qos", Text{"QoS 1 and 2", "QoS 1 与 2"}, (*doctor).qos, false, false},
	{"session", Text{"a kept session", "保留的会话"}, (*doctor).session, false, false},
	{"redelivery", Text{"unacknowledged messages after a reconnect", "重连后未确认的消息"}, (*doctor).redelivery, false, false},
	{"resend", Text{"sends again on a living connection", "在同一连接上重发"}, (*doctor).resend, false, false},
	{"window", Text{"messages that it sends unacknowledged", "发出后等待确认的消息数"}, (*doctor).window, true, false},
	{"window-qos2", Text{"unreleased QoS 2 messages that it accepts", "可接收的未完成 QoS 2 消息数"}, (*doctor).windowQoS2, true, false},
	{"order", Text{"order of messages", "消息顺序"}, (*doctor).order, false, false},
	{"retained", Text{"retained messages", "保留消息"}, (*doctor).retained, false, false},
	{"will", Text{"wills", "遗嘱"}, (*doctor).will, false, false},
	{"share", Text{"$share/group/filter", "$share/组/主题"}, (*doctor).share, false, false},
	{"overlap", Text{"overlapping filters", "重叠的订阅主题"}, (*doctor).overlap, false, false},
	{"takeover", Text{"a second client of the same id", "相同客户端 ID 的第二个连接"}, (*doctor).takeover, false, true},
	{"largest", Text{"the largest packet", "最大报文"}, (*doctor).largest, true, true},
	{"topics", Text{"unusual topics", "特殊主题"}, (*doctor).topics, false, false},
	{"refusal", Text{"how it refuses", "拒绝的方式"}, (*doctor).refusal, false, true},
}

// A doctor is a run. Each probe writes its own fields of Facts; mu guards the other fields.
type doctor struct {
	o     Options
	name  string // prefix of client ids and topics
	facts Facts

	mu       sync.Mutex
	count    int
	sessions map[string]bool // client ids of sessions that the server keeps
	retains  map[string]bool // retained messages
}

// Run tests a server. An error means that it could not be reached or refuses every client; the failures of single probes are in
// the report. Run cleans up even when ctx ends, and then also returns the report, with what it could not remove.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.MaxPacket == 0 {
		o.MaxPacket = 1 << 20
	}
	if o.Patience == 0 {
		o.Patience = time.Second
	}
	if o.Resend == 0 {
		o.Resend = 10 * time.Second
	}
	if o.Closing == nil {
		o.Closing = func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		}
	}
	d := &doctor{o: o, name: "doctor-" + strings.ToLower(rand.Text()[:8]), sessions: make(map[string]bool), retains: make(map[string]bool)}
	first, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return nil, err
	}
	first.leave()
	r := &Report{Rows: make([]Row, 1+len(probes))}
	try := func(row *Row, p probe) {
		*row = d.row(ctx, p)
		if o.Progress != nil {
			o.Progress(p.name)
		}
	}
	try(&r.Rows[0], delivery)
	rows := r.Rows[1:]
	var running sync.WaitGroup
	for i, p := range probes {
		if !p.heavy {
			running.Go(func() { try(&rows[i], p) })
		}
	}
	running.Wait()
	for i, p := range probes {
		if p.heavy {
			try(&rows[i], p)
		}
	}
	stop, cancel := o.Closing(ctx)
	defer cancel()
	r.Left = d.clean(stop)
	r.Facts = d.facts
	return r, ctx.Err()
}

func (d *doctor) row(ctx context.Context, p probe) Row {
	row := Row{Probe: p.name, Asked: p.asked}
	var err error
	if p.alone || d.facts.Delivers() {
		row.Answer, row.Means, err = p.try(d, ctx)
	} else {
		err = errNothing
	}
	if err != nil {
		row.Failed, row.Means = true, Text{}
		row.Answer = notKnown(err)
	}
	return row
}

// topic returns a topic for a probe.
func (d *doctor) topic(probe string) string { return d.o.Prefix + d.name + "/" + probe }

// keep records a session, before the server creates it.
func (d *doctor) keep(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[id] = true
}

// retain records a retained message, before the server has it.
func (d *doctor) retain(topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retains[topic] = true
}

// clean removes sessions and retained messages, and returns those that it could not remove.
func (d *doctor) clean(ctx context.Context) (left []string) {
	for id := range d.sessions {
		p, err := d.connect(ctx, id, true, nil) // a clean session discards the stored one [MQTT-3.1.2-6]
		if err != nil {
			left = append(left, id)
			continue
		}
		p.leave()
	}
	for topic := range d.retains {
		if err := d.forget(ctx, topic); err != nil {
			left = append(left, topic)
		}
	}
	slices.Sort(left)
	return left
}

// forget deletes a retained message [MQTT-3.3.1-10].
func (d *doctor) forget(ctx context.Context, topic string) error {
	p, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return err
	}
	defer p.leave()
	return p.publish(ctx, &packets.Publish{Topic: topic, QoS: 1, Retain: true})
}

// The failures of a conversation.
var (
	errSilent  = errors.New("the server is silent")
	errClosed  = errors.New("the server closed the connection")
	errRefused = errors.New("SUBACK refuses the subscription")
	errNothing = errors.New("no message reaches a subscriber")
	errPrefix  = errors.New("the prefix has no leading slash")
)

// notKnown returns the text for a probe that failed.
func notKnown(err error) Text { return bothf("not known: %v", "未知：%v", err) }

// ways describes how a conversation ended, in both languages.
func ways(err error) Text {
	switch {
	case errors.Is(err, errSilent):
		return Text{"no answer", "没有应答"}
	case errors.Is(err, errClosed):
		return Text{"closes the connection", "断开连接"}
	}
	return Text{err.Error(), chinese.Of(err.Error())}
}

// bothf formats a text that has the same arguments in both languages.
func bothf(en, zh string, args ...any) Text {
	text := Text{EN: fmt.Sprintf(en, args...)}
	for i, a := range args {
		if err, ok := a.(error); ok {
			args[i] = chinese.Of(err.Error())
		}
	}
	text.ZH = fmt.Sprintf(zh, args...)
	return text
}
