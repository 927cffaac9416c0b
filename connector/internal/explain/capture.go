package explain

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/capture"
	"github.com/mqtt311/mqtt311/packets"
)

// A Connection is a TCP connection in a capture that carries MQTT, or may carry it.
type Connection struct {
	Number         int // from 1, among all TCP connections of the capture
	Client, Server netip.AddrPort
	Start          time.Time
	Transport      Transport
	Partial        bool // its beginning was not captured
}

// A Transport is the protocol that carries the packets.
type Transport string

// The transports.
const (
	OverTCP       Transport = "tcp"
	OverWebSocket Transport = "websocket"
	OverTLS       Transport = "tls" // unreadable
)

// An Event is a packet of a connection, or a finding about the connection.
type Event struct {
	*Connection
	At      time.Time
	From    Side
	Packet  *Packet // nil: Finding is about the connection
	Finding *Finding
}

// mostShared is the memory for packets of all connections in a capture, in bytes. mostGreeting is how much of each
// direction of a connection is held in addition, until its protocol is known.
const (
	mostShared   = 64 << 20
	mostGreeting = 16 << 10
)

// Capture decodes a capture file, pcap or pcapng, and calls emit with each packet, in the order in which they were
// complete. It skips connections with other protocols. If the file is not a capture, it returns
// [capture.ErrFormat].
func Capture(r io.Reader, o Options, emit func(Event)) (capture.Skipped, error) {
	return capture.Read(r, &reader{o: o, emit: emit, budget: &budget{left: mostShared}})
}

// A reader decodes the connections of a capture.
type reader struct {
	o      Options
	emit   func(Event)
	budget *budget
}

// A link is the state of a connection: it is the Tag of its flow.
type link struct {
	r       *reader
	flow    *capture.Flow
	c       Connection
	what    kind
	swapped bool            // the client is the side that accepted the connection, as far as it was captured
	early   [2]bytes.Buffer // by direction: bytes received before the protocol was known
	sides   [2]*side        // by direction of the flow
	talk    Conversation
	at      time.Time
}

// A kind is the kind of data that a connection carries.
type kind int

const (
	unknown kind = iota
	foreign      // another protocol
	carries      // MQTT, or a remark about it
)

// A side is one direction of a connection that carries MQTT.
type side struct {
	link   *link
	from   Side
	stream *Stream
	frames *frames // for WebSocket
}

func (r *reader) link(f *capture.Flow) *link {
	l, ok := f.Tag.(*link)
	if !ok {
		l = &link{r: r, flow: f, c: Connection{
			Number: f.Number, Client: f.Opener, Server: f.Other, Start: f.Start, Transport: OverTCP, Partial: !f.Opened,
		}}
		l.talk = Conversation{Partial: !f.Opened, budget: r.budget}
		f.Tag = l
	}
	return l
}

// Data implements capture.Handler.
func (r *reader) Data(f *capture.Flow, d capture.Direction, at time.Time, b []byte) {
	l := r.link(f)
	l.at = at
	switch l.what {
	case carries:
		if s := l.sides[d]; s != nil {
			s.write(b)
		}
	case unknown:
		if l.c.Partial {
			l.join(d, b)
		} else {
			l.greet(d, b)
		}
	}
}

// Gap implements capture.Handler.
func (r *reader) Gap(f *capture.Flow, d capture.Direction, at time.Time, n int64) {
	l := r.link(f)
	l.at = at
	switch {
	case l.what == carries && l.sides[d] != nil:
		from := l.sides[d].from
		l.find(from, Finding{false, -1, "", Text{
			fmt.Sprintf("%d bytes of %v are missing in the capture", n, from), fmt.Sprintf("捕获中缺少%s的 %d 字节", from.zh(), n),
		}})
		l.talk.Partial = true
		l.sides[d].gap(n)
	case l.what == unknown: // the beginning is missing, so the protocol stays unknown
		l.c.Partial, l.talk.Partial = true, true
		l.early = [2]bytes.Buffer{}
	}
}

// Close implements capture.Handler.
func (r *reader) Close(f *capture.Flow, how capture.Ending) {
	l := r.link(f)
	if l.what == unknown && l.early[capture.FromOpener].Len() > 0 && l.servesMQTT() {
		l.carry()
	}
	if l.what == carries && l.c.Transport != OverTLS {
		for _, s := range l.sides {
			if s == nil {
				continue
			}
			s.stream.Close()
			if n := s.stream.Unread(); n > 0 {
				l.find(s.from, Finding{false, -1, "", Text{
					fmt.Sprintf("%d further bytes of %v have no known meaning", n, s.from), fmt.Sprintf("%s之后的 %d 字节含义不明", s.from.zh(), n),
				}})
			}
		}
		if t := l.ended(how); t.EN != "" {
			l.find(Client, Finding{false, -1, "", t})
		}
	}
	l.talk.forget()
	f.Tag = nil
}

// ended returns a text about how the connection ended.
func (l *link) ended(how capture.Ending) Text {
	farewell := Text{", without DISCONNECT", "，此前没有 DISCONNECT"}
	if l.talk.gone {
		farewell = Text{}
	}
	switch how {
	case capture.Finished:
		return Text{"the connection ends" + farewell.EN, "连接结束" + farewell.ZH}
	case capture.Reset:
		return Text{"the connection is reset" + farewell.EN, "连接被重置" + farewell.ZH}
	case capture.GivenUp:
		return Text{"given up here, because the capture has too many connections at once", "捕获中同时存在的连接过多，此连接不再继续解析"}
	case capture.PortReused:
		return Text{"another connection between the same ports begins", "相同端口之间开始了另一个连接"}
	}
	return Text{}
}

// servesMQTT reports whether the server's port is the port for MQTT.
func (l *link) servesMQTT() bool { return l.c.Server.Port() == 1883 }

// greet determines from the first bytes of a connection what it carries.
func (l *link) greet(d capture.Direction, b []byte) {
	n := min(len(b), mostGreeting-l.early[d].Len())
	l.early[d].Write(b[:n])
	first := l.early[capture.FromOpener].Bytes()
	full := l.early[d].Len() >= mostGreeting
	switch {
	case len(first) == 0 && !full:
	case looksTLS(first):
		l.tls()
	case looksHTTP(first):
		if end := bytes.Index(first, []byte("\r\n\r\n")); end >= 0 {
			l.upgrade(first[:end+2])
		} else if full {
			l.what = foreign
		}
	case looksConnect(first) == yes:
		l.carry()
	case looksConnect(first) == perhaps && !full:
	case l.servesMQTT():
		l.carry()
	default:
		l.what = foreign
	}
	switch {
	case l.what == foreign:
		l.early = [2]bytes.Buffer{}
	case l.what == carries && l.sides[d] != nil:
		l.sides[d].write(b[n:])
	}
}

// join searches for packets in a connection whose beginning was not captured.
func (l *link) join(d capture.Direction, b []byte) {
	inside, masked, framed := frameOf(b)
	switch {
	case StartsPacket(b):
	case framed && StartsPacket(inside):
		l.c.Transport = OverWebSocket
		l.swapped = masked != (d == capture.FromOpener)
		l.carry()
		l.sides[d].write(b)
		return
	case looksTLS(b):
		l.tls()
		return
	default:
		return
	}
	l.swapped = l.sender(d, b) == Server != (d == capture.FromOther)
	l.carry()
	l.sides[d].write(b)
}

// sender determines the sender of a packet by its type, or else by the ports.
func (l *link) sender(d capture.Direction, b []byte) Side {
	switch packets.Type(b[0] >> 4) {
	case packets.CONNECT, packets.SUBSCRIBE, packets.UNSUBSCRIBE, packets.PINGREQ, packets.DISCONNECT:
		return Client
	case packets.CONNACK, packets.SUBACK, packets.UNSUBACK, packets.PINGRESP:
		return Server
	}
	from := l.c.Client.Port()
	to := l.c.Server.Port()
	if d == capture.FromOther {
		from, to = to, from
	}
	if from < to {
		return Server
	}
	return Client
}

// tls emits the finding that the connection cannot be read.
func (l *link) tls() {
	l.what, l.c.Transport = carries, OverTLS
	l.early = [2]bytes.Buffer{}
	l.find(Client, Finding{false, -1, "", Text{
		"TLS: what it carries cannot be read. Capture where TLS ends, or connect without it for a test.",
		"TLS：内容无法读取。请在 TLS 终止处捕获，或为测试改用非 TLS 连接。",
	}})
}

// carry treats the connection as MQTT, beginning with the bytes already received.
func (l *link) carry() {
	l.what = carries
	if l.swapped {
		l.c.Client, l.c.Server = l.c.Server, l.c.Client
	}
	for d := range l.sides {
		s := &side{link: l, from: Client}
		if (d == int(capture.FromOther)) != l.swapped {
			s.from = Server
		}
		s.stream = NewStream(l.r.o, s.packet)
		s.stream.budget = l.r.budget
		if l.c.Partial {
			s.stream.Lose()
		}
		if l.c.Transport == OverWebSocket {
			s.frames = &frames{side: s, inside: l.c.Partial, binary: true}
		}
		l.sides[d] = s
	}
	for d := range l.sides {
		b := l.early[d].Bytes()
		l.early[d] = bytes.Buffer{}
		if len(b) > 0 {
			l.sides[d].write(b)
		}
	}
}

// upgrade checks whether the request asks for a WebSocket that carries MQTT.
func (l *link) upgrade(head []byte) {
	h := httpHeader(head)
	if !strings.Contains(strings.ToLower(h["upgrade"]), "websocket") {
		l.what = foreign
		return
	}
	path, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !strings.Contains(h["sec-websocket-protocol"], "mqtt") && !bytes.Contains(path, []byte("mqtt")) && !l.servesMQTT() {
		l.what = foreign
		return
	}
	l.c.Transport = OverWebSocket
	l.carry()
}

func (l *link) find(from Side, f Finding) {
	l.r.emit(Event{Connection: &l.c, At: l.at, From: from, Finding: &f})
}

func (s *side) write(b []byte) {
	if s.frames != nil {
		s.frames.write(b)
		return
	}
	s.stream.Write(b)
}

func (s *side) gap(n int64) {
	if s.frames != nil {
		s.frames.gap(n)
		return
	}
	s.stream.Gap(n)
}

// packet emits a packet of the side.
func (s *side) packet(p Packet) {
	s.link.talk.Judge(s.from, &p)
	s.link.r.emit(Event{Connection: &s.link.c, At: s.link.at, From: s.from, Packet: &p})
}

// String returns who it is.
func (s Side) String() string {
	if s == Server {
		return "the Server"
	}
	return "the Client"
}

func (s Side) zh() string {
	if s == Server {
		return "服务端"
	}
	return "客户端"
}
