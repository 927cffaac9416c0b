// Package capturetest writes capture files for tests, of TCP connections that a test makes up or that a
// [Proxy] recorded.
package capturetest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// The flags of TCP.
const (
	FIN = 1
	SYN = 2
	RST = 4
	ACK = 16
)

// A Segment is a TCP segment. Snap is how many bytes of its payload are captured; if zero, all of
// them.
type Segment struct {
	From, To netip.AddrPort
	Seq, Ack uint32
	Flags    byte
	Payload  []byte
	Snap     int
}

// A Format is a kind of capture file.
type Format struct {
	NG        bool // pcapng
	BigEndian bool
	Nanos     bool
	Link      int // numbered as on tcpdump.org
}

// epoch is the time at which captures begin.
var epoch = time.Unix(1_700_000_000, 0).UTC()

// File returns a capture file with a frame for each segment, a millisecond apart.
func File(f Format, segments ...Segment) []byte {
	frames := make([][]byte, len(segments))
	lengths := make([]int, len(segments))
	for i, s := range segments {
		frames[i] = frame(f.Link, s)
		lengths[i] = len(frames[i])
		if s.Snap > 0 {
			frames[i] = frames[i][:len(frames[i])-len(s.Payload)+s.Snap]
		}
	}
	if f.NG {
		return pcapng(f, frames, lengths)
	}
	return pcap(f, frames, lengths)
}

func (f Format) order() binary.AppendByteOrder {
	if f.BigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// ticks converts a time to the units of the format.
func (f Format) ticks(at time.Time) uint64 {
	if f.Nanos {
		return uint64(at.UnixNano())
	}
	return uint64(at.UnixMicro())
}

func pcap(f Format, frames [][]byte, lengths []int) []byte {
	o, magic, unit := f.order(), uint32(0xA1B2C3D4), uint64(1e6)
	if f.Nanos {
		magic, unit = 0xA1B23C4D, 1e9
	}
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(o.AppendUint16(b, 2), 4)
	b = o.AppendUint32(append(b, make([]byte, 8)...), 262144)
	b = o.AppendUint32(b, uint32(f.Link))
	for i, frame := range frames {
		at := f.ticks(epoch.Add(time.Duration(i) * time.Millisecond))
		b = o.AppendUint32(o.AppendUint32(b, uint32(at/unit)), uint32(at%unit))
		b = o.AppendUint32(o.AppendUint32(b, uint32(len(frame))), uint32(lengths[i]))
		b = append(b, frame...)
	}
	return b
}

func pcapng(f Format, frames [][]byte, lengths []int) []byte {
	o := f.order()
	block := func(b []byte, kind uint32, body []byte) []byte {
		body = append(body, make([]byte, -len(body)&3)...)
		b = o.AppendUint32(o.AppendUint32(b, kind), uint32(12+len(body)))
		return o.AppendUint32(append(b, body...), uint32(12+len(body)))
	}
	section := o.AppendUint16(o.AppendUint16(o.AppendUint32(nil, 0x1A2B3C4D), 1), 0)
	section = append(section, bytes.Repeat([]byte{0xFF}, 8)...)
	b := block(nil, 0x0A0D0D0A, section)
	iface := o.AppendUint32(o.AppendUint16(o.AppendUint16(nil, uint16(f.Link)), 0), 262144)
	if f.Nanos {
		iface = append(o.AppendUint16(o.AppendUint16(iface, 9), 1), 9, 0, 0, 0)
		iface = o.AppendUint32(iface, 0)
	}
	b = block(b, 1, iface)
	b = block(b, 5, make([]byte, 12)) // statistics: a block that holds no frame
	for i, frame := range frames {
		at := f.ticks(epoch.Add(time.Duration(i) * time.Millisecond))
		body := o.AppendUint32(o.AppendUint32(o.AppendUint32(nil, 0), uint32(at>>32)), uint32(at))
		body = o.AppendUint32(o.AppendUint32(body, uint32(len(frame))), uint32(lengths[i]))
		b = block(b, 6, append(body, frame...))
	}
	return b
}

// frame returns a frame for the link layer that contains the segment.
func frame(link int, s Segment) []byte {
	packet, kind := ip(s), uint16(0x0800)
	if s.From.Addr().Is6() {
		kind = 0x86DD
	}
	be := binary.BigEndian
	var head []byte
	switch link {
	case 0:
		head = binary.LittleEndian.AppendUint32(nil, map[uint16]uint32{0x0800: 2, 0x86DD: 30}[kind])
	case 108:
		head = be.AppendUint32(nil, map[uint16]uint32{0x0800: 2, 0x86DD: 24}[kind])
	case 1:
		head = be.AppendUint16(make([]byte, 12), 0x8100) // of VLAN 7
		head = be.AppendUint16(be.AppendUint16(head, 7), kind)
	case 113:
		head = be.AppendUint16(make([]byte, 14), kind)
	case 276:
		head = append(be.AppendUint16(nil, kind), make([]byte, 18)...)
	}
	return append(head, packet...)
}

func ip(s Segment) []byte {
	be := binary.BigEndian
	tcp := be.AppendUint16(be.AppendUint16(nil, s.From.Port()), s.To.Port())
	tcp = be.AppendUint32(be.AppendUint32(tcp, s.Seq), s.Ack)
	tcp = append(tcp, 6<<4, s.Flags, 0xFF, 0xFF, 0, 0, 0, 0, 1, 1, 1, 0) // with four bytes of options
	tcp = append(tcp, s.Payload...)
	from, to := s.From.Addr().AsSlice(), s.To.Addr().AsSlice()
	if s.From.Addr().Is4() {
		b := be.AppendUint16([]byte{0x45, 0}, uint16(20+len(tcp)))
		b = append(b, 0, 0, 0x40, 0, 64, 6, 0, 0)
		return append(append(append(b, from...), to...), tcp...)
	}
	b := be.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(8+len(tcp)))
	b = append(b, 0, 64) // hop by hop options
	b = append(append(b, from...), to...)
	return append(append(b, 6, 0, 1, 4, 0, 0, 0, 0), tcp...)
}

// A Talk makes the segments of a connection.
type Talk struct {
	Client, Server netip.AddrPort
	Segments       []Segment
	seq            [2]uint32
}

// NewTalk begins a connection with its handshake. The sequence numbers start near their maximum, so that
// they wrap.
func NewTalk(client, server string) *Talk {
	t := &Talk{Client: netip.MustParseAddrPort(client), Server: netip.MustParseAddrPort(server), seq: [2]uint32{0xFFFFFFF0, 0xFFFFFF00}}
	t.add(0, SYN, nil)
	t.add(1, SYN|ACK, nil)
	t.add(0, ACK, nil)
	return t
}

func (t *Talk) add(side int, flags byte, b []byte) {
	s := Segment{From: t.Client, To: t.Server, Seq: t.seq[side], Ack: t.seq[1-side], Flags: flags, Payload: b}
	if side == 1 {
		s.From, s.To = t.Server, t.Client
	}
	t.Segments = append(t.Segments, s)
	t.seq[side] += uint32(len(b))
	if flags&(SYN|FIN) != 0 {
		t.seq[side]++
	}
}

// Send adds bytes from the client, in segments of 1,000 bytes.
func (t *Talk) Send(b []byte) { t.send(0, b) }

// Answer adds bytes from the server.
func (t *Talk) Answer(b []byte) { t.send(1, b) }

func (t *Talk) send(side int, b []byte) {
	for len(b) > 0 {
		n := min(1000, len(b))
		t.add(side, ACK, bytes.Clone(b[:n]))
		b = b[n:]
	}
}

// Finish ends the connection from both sides.
func (t *Talk) Finish() {
	t.add(0, FIN|ACK, nil)
	t.add(1, FIN|ACK, nil)
	t.add(0, ACK, nil)
}

// A Proxy relays a connection and records it.
type Proxy struct {
	Addr string

	mu   sync.Mutex
	talk *Talk
	done sync.WaitGroup
}

// NewProxy starts a proxy to a server, for one connection, until the end of the test.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String()}
	p.done.Go(func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer out.Close()
		p.talk = NewTalk(in.RemoteAddr().String(), server)
		var both sync.WaitGroup
		both.Go(func() { p.pass(0, out, in) })
		both.Go(func() { p.pass(1, in, out) })
		both.Wait()
	})
	t.Cleanup(func() { l.Close(); p.done.Wait() })
	return p
}

// pass copies one direction, recording bytes before it passes them on, and ends both directions
// when one ends.
func (p *Proxy) pass(side int, to, from net.Conn) {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if n > 0 {
			p.mu.Lock()
			p.talk.send(side, b[:n])
			p.mu.Unlock()
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF && to.(*net.TCPConn).CloseWrite() == nil {
				return
			}
			to.Close()
			return
		}
	}
}

// Talk returns what was recorded, once both sides have ended.
func (p *Proxy) Talk() *Talk {
	p.done.Wait()
	p.talk.Finish()
	return p.talk
}
