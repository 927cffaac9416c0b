package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A frame is a Send on its way to the network.
type frame struct {
	n, after uint64
	typ      packets.Type
	id       uint16
	msg      *outMessage // the message of a PUBLISH
	dup      bool
	free     bool // may overtake a Send that waits: PINGREQ and QoS 0
	bytes    []byte
}

// report is a Done that waits for its record.
type report struct {
	msg   *outMessage
	err   error
	after uint64
}

// A delivery is a message that the application has.
type delivery struct {
	token session.Token
	msg   *inMessage
}

// A driver is one process of the client. It does what package client does, without goroutines.
type driver struct {
	s       *session.Session
	cfg     session.Config
	link    *link
	in      []byte // received, not a whole packet yet
	frames  []frame
	partial []byte // the rest of the frame that is being written
	begun   uint64 // the newest Send of which a byte may have left
	passed  uint64 // the same for Sends that overtook one that waits
	passing bool   // partial is one that overtook
	closing bool
	reports []report
	inbox   []delivery
	tokens  map[session.Token]*outMessage
	heardAt time.Time
	acks    map[uint16]*inMessage // the messages that a PUBACK would acknowledge
}

func (w *world) start(records []session.Record) {
	p := &w.profile
	cfg := session.Config{
		ClientID: "c", CleanSession: p.clean, KeepAlive: p.keepAlive, PingTimeout: 5 * time.Second,
		MaxInflight: p.inflight, Durable: p.durable, FailQoS1: p.failQoS1, RepublishQoS2: p.republish,
		NoScrub: !p.scrub || w.o.Mutant == Unscrubbed,
	}
	if w.process > 0 && chance(w.r, 30) {
		cfg.MaxInflight = 1 << w.r.IntN(5)
	}
	w.inflight = cfg.MaxInflight
	if w.o.Mutant == WiderWindow {
		cfg.MaxInflight++
	}
	w.stillCompleted(records)
	s, err := session.Restore(cfg, w.mutateRecords(records))
	if err != nil {
		w.fail("Restore: %v", err)
	}
	w.process++
	w.c = &driver{s: s, cfg: cfg, tokens: make(map[session.Token]*outMessage),
		acks: make(map[uint16]*inMessage)}
	w.drain()
	w.wishAgain()
}

// drain performs the session's outputs.
func (w *world) drain() {
	c := w.c
	for {
		o, ok := c.s.Next()
		if !ok {
			break
		}
		switch o.Op {
		case session.Save, session.Forget:
			w.record(o)
		case session.Send:
			w.queue(o)
		case session.Deliver:
			w.delivered(o.Packet.(*packets.Publish), o.Token)
		case session.Done:
			w.done(o)
		case session.Notify:
			w.event(o.Event)
		case session.Close:
			w.logf("client  closes: %v", o.Err)
			w.checkClose(o.Err)
			if o.Err == nil {
				w.flushDisconnect()
			}
			c.closing = true
		}
	}
	w.settle()
	if err := c.s.SelfCheck(); err != nil {
		w.fail("%v", err)
	}
}

// settle reports the records that have become durable.
func (w *world) settle() {
	c := w.c
	c.reports = slices.DeleteFunc(c.reports, func(r report) bool {
		if r.after > 0 && w.o.Mutant != ReportEarly && !w.disk.durable(r.after) {
			w.disk.demand(r.after)
			return false
		}
		w.ended(r.msg, r.err)
		return true
	})
}

func (w *world) record(o *session.Output) {
	e := entry{n: o.N, forget: o.Op == session.Forget, record: *o.Record}
	if o.Record.Publish != nil {
		pub := *o.Record.Publish
		e.record.Publish = &pub
	}
	if w.mutateEntry(&e) {
		return
	}
	w.noteRecord(&e)
	late := e.forget && w.profile.lateForgets && e.record.Kind != session.RecordReleased
	w.disk.append(e, late)
}

func (w *world) queue(o *session.Output) {
	c := w.c
	b, err := o.AppendPacket(nil)
	if err != nil {
		w.fail("a Send that cannot be encoded: %v", err)
	}
	f := frame{n: o.N, after: o.After, typ: o.Type, id: o.PacketID, bytes: b}
	if pub, ok := o.Packet.(*packets.Publish); ok {
		f.msg, f.dup = w.messageOf(pub), pub.Dup
		f.free = pub.QoS == packets.AtMostOnce
	}
	f.free = f.free || o.Type == packets.PINGREQ
	if f.free && o.After != 0 {
		w.fail("a %s waits for a record", o.Type)
	}
	w.mutateFrame(&f)
	w.disk.demand(f.after)
	c.frames = append(c.frames, f)
	w.checkSend(&f)
	w.mutateQueue()
}

// writable returns the index of a frame that may be written now, or -1.
func (w *world) writable() int {
	c := w.c
	if c.partial != nil {
		return 0
	}
	for i := range c.frames {
		f := &c.frames[i]
		open := f.after == 0 || w.o.Mutant == SendEarly || w.o.Mutant == SendEarlyUnseen || w.disk.durable(f.after)
		if i == 0 && open || f.free || open && w.o.Mutant == PassWaiting {
			return i
		}
	}
	return -1
}

// write writes a frame or a part of one.
func (w *world) write() {
	c := w.c
	if c.partial == nil {
		i := w.writable()
		f := c.frames[i]
		c.frames = slices.Delete(c.frames, i, i+1)
		if c.passing = i > 0; c.passing {
			c.passed = f.n
		} else {
			c.begun = f.n
		}
		w.leaving(&f)
		c.partial = f.bytes
	}
	n := len(c.partial)
	if n > 1 && chance(w.r, 10) {
		n = 1 + w.r.IntN(n-1)
	}
	c.link.toBroker(c.partial[:n])
	if c.partial = c.partial[n:]; len(c.partial) > 0 {
		return
	}
	c.partial = nil
	if c.passing {
		c.s.Passed(w.now, c.passed)
	} else {
		c.s.Written(w.now, c.begun)
	}
	w.drain()
}

// flushDisconnect writes the frames that may be written, then DISCONNECT, and drops those that still
// wait.
func (w *world) flushDisconnect() {
	c := w.c
	if len(c.frames) == 0 || c.frames[len(c.frames)-1].typ != packets.DISCONNECT {
		return
	}
	if c.partial != nil {
		c.link.toBroker(c.partial)
		c.partial = nil
	}
	last := c.frames[len(c.frames)-1]
	for _, f := range c.frames {
		if f.after > 0 && !w.disk.durable(f.after) {
			break
		}
		if f.n == last.n {
			break
		}
		c.begun = max(c.begun, f.n)
		w.leaving(&f)
		c.link.toBroker(f.bytes)
	}
	w.leaving(&last)
	c.link.toBroker(last.bytes)
}

func (w *world) read() {
	c := w.c
	c.in = append(c.in, take(w.r, &c.link.down)...)
	c.heardAt = w.now
	c.s.Heard(w.now)
	for !c.closing {
		p, n, err := packets.Parse(c.in)
		if errors.Is(err, packets.ErrShort) {
			break
		}
		if err != nil {
			w.fail("the broker sent what is not a packet: %v", err)
		}
		w.logf("client  < %v", p)
		w.mutateReceived(p)
		w.received(p)
		c.s.Received(w.now, p)
		c.in = c.in[n:]
		w.drain()
	}
	w.drain()
}

// lost ends the Network Connection on the client's side.
func (w *world) lost(byPeer bool) {
	c := w.c
	w.logf("client  lost its connection, bytes of Sends up to %d may have left, %d passed", c.begun, c.passed)
	loss := session.Loss{Position: c.begun, Passed: c.passed, By: session.EndedBy(c.begun % 2)} // us, or the network
	if byPeer || w.o.Mutant == BlameLinks {
		loss.By = session.ByPeer
	}
	if w.o.Mutant == ForgetPosition {
		loss.Position = 0
	}
	c.link.dead = true
	c.link, c.in, c.frames, c.partial, c.closing, c.passed = nil, nil, nil, nil, false, 0
	w.connectionEnded()
	c.s.Lost(w.now, loss)
	w.drain()
}

func (w *world) open() {
	c := w.c
	c.link = &link{}
	c.heardAt = w.now
	w.broker.accept(c.link)
	w.logf("client  opens a connection")
	if err := c.s.Opened(w.now, session.Login{}); err != nil {
		w.fail("Opened: %v", err)
	}
	w.drain()
}

// crash kills the process, and sometimes the whole machine.
func (w *world) crash() {
	c := w.c
	power := w.profile.powerLoss && chance(w.r, 70)
	w.logf("CRASH   power=%v", power)
	if c.link != nil {
		if chance(w.r, 50) {
			c.link.cut(w.r) // otherwise the kernel sends what it has buffered
		}
		c.link.dead, c.link.down = true, nil
	}
	records := w.disk.crash(w.r, power)
	if w.profile.wipes && chance(w.r, 40) {
		w.logf("WIPED   the disk is lost")
		w.disk.synced, records = map[key]sessionRecord{}, nil
		w.wiped()
	}
	w.crashed()
	w.start(records)
}
