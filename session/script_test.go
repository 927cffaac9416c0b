package session_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/script"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// TestConversations runs testdata/*.txt, the course in the protocol.
//
//	session key=value...        a new Session: clean, durable, keepalive, inflight, queue, filters, ...
//	open                        a Network Connection is up
//	recv PACKET key=value...    a packet came from the Server
//	publish TOPIC qos= payload= retain=
//	subscribe FILTER:QOS...     unsubscribe FILTER...
//	ack N                       the application acknowledges delivery N
//	withdraw pN                 the caller of publish N gives up
//	stall                       from here on nothing is written until "written"
//	written                     everything is written
//	passed N                    Send N is written before others that still wait
//	lost [left=N] [passed=N] [by=peer|network]
//	                            the connection ended; bytes up to Send N may have left (default: all)
//	wait DURATION               time passes; Tick is called whenever Deadline says so
//	sleep DURATION              time passes and nothing runs; then one late Tick
//	shed [off]                  new messages from the Server are left to it, or not
//	hold [off]                  new messages to the Server wait for the next connection, or not
//	again, ungranted            AskAgain; the filters that are not granted
//	pause, resume, disconnect, abandon, counters, outstanding
//	restart [clean=1]           the process dies; Restore from what was saved
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			w := &world{now: time.Unix(0, 0)}
			var wires [][]wire // of each step
			blocks := script.Run(t, f, func(t *testing.T, command string) []string {
				out := w.do(t, command)
				wires, w.wires = append(wires, w.wires), nil
				return out
			})
			if blocks != nil {
				writeCourse(t, f, files, blocks, wires)
			}
		})
	}
}

// A world is a driver with a store and a clock.
type world struct {
	s       *session.Session
	cfg     session.Config
	now     time.Time
	records []session.Record
	sent    uint64
	stalled bool
	names   map[session.Token]string
	counts  map[string]int
	tokens  []session.Token // of deliveries, by number
	wires   []wire          // packets sent and received since the last look
}

func (w *world) do(t *testing.T, command string) []string {
	a := script.Parse(command)
	require.NotEmpty(t, a.Words, command)
	defer func() { require.NoError(t, w.s.SelfCheck(), command) }()
	var err error
	switch a.Words[0] {
	case "session":
		w.configure(t, a)
	case "open":
		err = w.s.Opened(w.now, session.Login{})
	case "recv":
		p := parsePacket(t, a)
		w.wires = append(w.wires, wireOf(t, "from the Server", p))
		w.s.Received(w.now, p)
	case "publish":
		var tok session.Token
		tok, err = w.s.Publish(w.now, session.Message{
			Topic: a.Words[1], QoS: packets.QoS(number(a.Named["qos"])),
			Payload: []byte(a.Named["payload"]), Retain: a.Named["retain"] == "1",
		})
		w.name(tok, "p")
	case "subscribe":
		var tok session.Token
		tok, err = w.s.Subscribe(w.now, subscriptions(a.Words[1:])...)
		w.name(tok, "s")
	case "unsubscribe":
		var tok session.Token
		tok, err = w.s.Unsubscribe(w.now, a.Words[1:]...)
		w.name(tok, "u")
	case "again":
		w.s.AskAgain()
	case "ungranted":
		return []string{fmt.Sprintf("ungranted %q", w.s.Ungranted())}
	case "ack":
		err = w.s.Ack(w.tokens[number(a.Words[1])-1])
	case "withdraw":
		for tok, name := range w.names {
			if name == a.Words[1] && !w.s.Withdraw(tok) {
				return []string{"too late"}
			}
		}
	case "pubcomps":
		var out []string
		for id := number(a.Words[1]); id <= number(a.Words[2]); id++ {
			w.s.Received(w.now, &packets.Pubcomp{PacketID: uint16(id)})
			out = append(out, w.drain()...)
		}
		return out
	case "stall":
		w.stalled = true
	case "written":
		w.stalled = false
	case "passed":
		w.s.Passed(w.now, uint64(number(a.Words[1])))
	case "lost":
		left := w.sent
		if v, ok := a.Named["left"]; ok {
			left = uint64(number(v))
		}
		loss := session.Loss{Position: left, Passed: uint64(number(a.Named["passed"]))}
		switch a.Named["by"] {
		case "peer":
			loss.By = session.ByPeer
		case "network":
			loss.By = session.ByNetwork
		}
		w.s.Lost(w.now, loss)
		w.stalled = false
	case "wait":
		return w.wait(t, a.Words[1])
	case "sleep":
		d, perr := time.ParseDuration(a.Words[1])
		require.NoError(t, perr)
		w.now = w.now.Add(d)
		w.s.Tick(w.now)
	case "pause":
		w.s.Paused()
	case "resume":
		w.s.Resumed(w.now)
	case "shed":
		w.s.Shed(len(a.Words) == 1)
	case "hold":
		w.s.Hold(w.now, len(a.Words) == 1)
	case "disconnect":
		w.s.Disconnect()
	case "abandon":
		w.s.Abandon()
	case "outstanding":
		return []string{fmt.Sprint("outstanding ", w.s.Outstanding())}
	case "counters":
		return strings.Fields(strings.Trim(fmt.Sprintf("%+v", w.s.Counters()), "{}"))
	case "restart":
		if v, ok := a.Named["clean"]; ok {
			w.cfg.CleanSession = v == "1"
		}
		w.s, err = session.Restore(w.cfg, slices.Clone(w.records))
		w.sent = 0
	default:
		t.Fatalf("no such command: %s", command)
	}
	if err != nil {
		return append([]string{"error   " + err.Error()}, w.drain()...)
	}
	return w.drain()
}

func (w *world) configure(t *testing.T, a script.Args) {
	w.cfg = session.Config{ClientID: "c", KeepAlive: -1, NoScrub: true}
	for k, v := range a.Named {
		switch k {
		case "clean":
			w.cfg.CleanSession = v == "1"
		case "scrub":
			w.cfg.NoScrub = v != "1"
		case "durable":
			w.cfg.Durable = v == "1"
		case "keepalive":
			d, err := time.ParseDuration(v)
			require.NoError(t, err)
			w.cfg.KeepAlive = d
		case "inflight":
			w.cfg.MaxInflight, w.cfg.MaxInflightQoS2 = number(v), number(v)
		case "queue":
			w.cfg.QueueMessages = number(v)
		case "filters":
			w.cfg.FiltersPerPacket = number(v)
		case "failqos1":
			w.cfg.FailQoS1 = v == "1"
		case "republishqos2":
			w.cfg.RepublishQoS2 = v == "1"
		default:
			t.Fatalf("no such setting: %s", k)
		}
	}
	s, err := session.New(w.cfg)
	require.NoError(t, err)
	*w = world{s: s, cfg: w.cfg, now: w.now, names: make(map[session.Token]string), counts: make(map[string]int)}
}

func (w *world) name(t session.Token, kind string) {
	if t != 0 {
		w.counts[kind]++
		w.names[t] = kind + strconv.Itoa(w.counts[kind])
	}
}

// wait lets time pass and calls Tick at each deadline on the way.
func (w *world) wait(t *testing.T, s string) []string {
	d, err := time.ParseDuration(s)
	require.NoError(t, err)
	end := w.now.Add(d)
	var out []string
	for range 1000 {
		at := w.s.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		passed := at.Sub(w.now)
		w.now = at
		w.s.Tick(w.now)
		if lines := w.drain(); len(lines) > 0 {
			out = append(out, "after "+passed.String()+":")
			out = append(out, lines...)
		}
	}
	w.now = end
	w.s.Tick(w.now)
	return append(out, w.drain()...)
}

// drain performs all outputs and describes each in a line, but puts a batch of PUBRELs that release
// Packet Identifiers into one line.
func (w *world) drain() []string {
	out, chunk := w.drainEach(), -1
	for i := range out {
		var n, id, after int
		if k, _ := fmt.Sscanf(out[i], "send %d PUBREL id=%d after=%d", &n, &id, &after); k != 2 || w.cfg.NoScrub {
			chunk = -1
			continue
		}
		if chunk < 0 {
			chunk = i
			continue
		}
		first, _, _ := strings.Cut(out[chunk], " to ")
		out[chunk] = fmt.Sprintf("%s to id=%d", first, id)
		out[i] = ""
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

func (w *world) drainEach() []string {
	var out []string
	for {
		o, ok := w.s.Next()
		if !ok {
			if !w.stalled {
				w.s.Written(w.now, w.sent)
				if o, ok = w.s.Next(); ok {
					out = append(out, w.perform(o))
					continue
				}
			}
			return out
		}
		out = append(out, w.perform(o))
	}
}

func (w *world) perform(o *session.Output) string {
	switch o.Op {
	case session.Save:
		w.forget(*o.Record)
		r := *o.Record
		if r.Publish != nil {
			p := *r.Publish
			p.Payload = slices.Clone(p.Payload)
			r.Publish = &p
		}
		w.records = append(w.records, r)
		return fmt.Sprintf("save    %d %s", o.N, recordText(*o.Record))
	case session.Forget:
		w.forget(*o.Record)
		return fmt.Sprintf("forget  %d %s", o.N, recordText(*o.Record))
	case session.Send:
		w.sent = o.N
		b, err := o.AppendPacket(nil)
		if err == nil {
			w.wires = append(w.wires, wire{"to the Server", packetText(o), b})
		}
		s := fmt.Sprintf("send    %d %s", o.N, packetText(o))
		if o.After != 0 {
			s += fmt.Sprintf(" after=%d", o.After)
		}
		return s
	case session.Deliver:
		if o.Token == 0 {
			return "deliver " + o.Packet.String()
		}
		w.tokens = append(w.tokens, o.Token)
		return fmt.Sprintf("deliver #%d %s", len(w.tokens), o.Packet)
	case session.Done:
		return w.doneText(o)
	case session.Notify:
		return "event   " + eventText(o.Event)
	case session.Close:
		if o.Err == nil {
			return "close"
		}
		return "close   " + o.Err.Error()
	}
	return "unknown output"
}

// forget drops the record of a key.
func (w *world) forget(r session.Record) {
	w.records = slices.DeleteFunc(w.records, func(old session.Record) bool {
		switch {
		case old.Kind != r.Kind:
			return false
		case r.Kind == session.RecordReceived:
			return old.PacketID == r.PacketID
		case r.Kind == session.RecordFilter:
			return old.Filter.Filter == r.Filter.Filter
		case r.Kind == session.RecordPublish, r.Kind == session.RecordReleased:
			return old.Seq == r.Seq
		}
		return true
	})
}

func (w *world) doneText(o *session.Output) string {
	s := "done    " + w.names[o.Token]
	if w.names[o.Token] == "" {
		s = "done    somebody before the crash"
	}
	if o.Err != nil {
		s += " " + o.Err.Error()
	} else if o.Results == nil {
		s += " ok"
	}
	for _, r := range o.Results {
		s += " " + r.Filter + "="
		if r.Err != nil {
			s += "failed"
		} else {
			s += strconv.Itoa(int(r.QoS))
		}
	}
	if o.After != 0 {
		s += fmt.Sprintf(" after=%d", o.After)
	}
	return s
}

func packetText(o *session.Output) string {
	b, err := o.AppendPacket(nil)
	if err != nil {
		return err.Error()
	}
	p, n, err := packets.Parse(b)
	if err != nil || n != len(b) {
		return fmt.Sprint("not a packet: ", err)
	}
	return p.String()
}

var recordKinds = map[session.RecordKind]string{
	session.RecordPublish: "publish", session.RecordReleased: "released", session.RecordReceived: "received",
	session.RecordFilter: "filter", session.RecordSession: "session", session.RecordSequence: "sequence",
	session.RecordScrubbed: "scrubbed",
}

func recordText(r session.Record) string {
	s := recordKinds[r.Kind]
	switch r.Kind {
	case session.RecordPublish, session.RecordReleased, session.RecordReceived:
		s += fmt.Sprintf(" id=%d", r.PacketID)
	case session.RecordFilter:
		s += " " + r.Filter.Filter
	case session.RecordSession:
		s += fmt.Sprintf(" %d", r.Made)
	default:
		s += fmt.Sprintf(" %d", r.Seq)
	}
	return s
}

func eventText(e *session.Event) string {
	s := e.Kind.String()
	if e.Kind == session.EventConnected {
		return fmt.Sprintf("%s session_present=%v", s, e.SessionPresent)
	}
	if e.Count > 0 {
		s += fmt.Sprintf(" count=%d", e.Count)
	}
	if e.Kind == session.EventSubscriptionDowngraded {
		s += fmt.Sprintf(" filter=%s qos=%d", e.Filter, e.QoS)
	}
	if e.PacketID > 0 {
		s += fmt.Sprintf(" id=%d", e.PacketID)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func number(s string) int {
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func subscriptions(words []string) []packets.Subscription {
	var subs []packets.Subscription
	for _, w := range words {
		f, q, _ := strings.Cut(w, ":")
		subs = append(subs, packets.Subscription{Filter: f, QoS: packets.QoS(number(q))})
	}
	return subs
}

func parsePacket(t *testing.T, a script.Args) packets.Packet {
	id := uint16(number(a.Named["id"]))
	switch a.Words[1] {
	case "CONNACK":
		return &packets.Connack{SessionPresent: a.Named["sp"] == "1", Code: packets.ConnectCode(number(a.Named["code"]))}
	case "PUBLISH":
		return &packets.Publish{
			Topic: a.Words[2], QoS: packets.QoS(number(a.Named["qos"])), PacketID: id,
			Dup: a.Named["dup"] == "1", Retain: a.Named["retain"] == "1", Payload: []byte(a.Named["payload"]),
		}
	case "PUBACK":
		return &packets.Puback{PacketID: id}
	case "PUBREC":
		return &packets.Pubrec{PacketID: id}
	case "PUBREL":
		return &packets.Pubrel{PacketID: id}
	case "PUBCOMP":
		return &packets.Pubcomp{PacketID: id}
	case "SUBACK":
		p := &packets.Suback{PacketID: id}
		for c := range strings.SplitSeq(a.Named["codes"], ",") {
			p.Codes = append(p.Codes, packets.SubscribeCode(number(c)))
		}
		return p
	case "UNSUBACK":
		return &packets.Unsuback{PacketID: id}
	case "PINGRESP":
		return &packets.Pingresp{}
	case "DISCONNECT":
		return &packets.Disconnect{}
	case "SUBSCRIBE":
		return &packets.Subscribe{PacketID: 1, Subscriptions: []packets.Subscription{{Filter: "a"}}}
	case "PINGREQ":
		return &packets.Pingreq{}
	}
	t.Fatal(errors.New("no such packet: " + a.Words[1]))
	return nil
}
