package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"

	"github.com/mqtt311/mqtt311/packets"
)

// A limitConn writes prepared bytes and counts received ones. It shows what the work costs if only
// reads and writes are left, each of at most batch packets. It has one goroutine.
type limitConn struct {
	conn   net.Conn
	batch  int
	window int
	owned  bool
	bytes  map[string][]byte // for a window, by kind of packet
	acks   []byte
}

func connectLimit(batch int) func(options) (conn, error) {
	return func(o options) (conn, error) {
		c, err := o.dial()
		if err != nil {
			return nil, err
		}
		connect := packets.Connect{ClientID: o.id, CleanSession: true, KeepAlive: 30}
		b, err := connect.AppendBinary(nil)
		if err != nil {
			return nil, err
		}
		if _, err := c.Write(b); err != nil {
			return nil, err
		}
		var connack [4]byte
		_, err = io.ReadFull(c, connack[:])
		return &limitConn{c, batch, o.window, o.owned, windows(o.window), make([]byte, 4*batch)}, err
	}
}

// windows encodes the packets of a full window, and the acknowledgements for it.
func windows(window int) map[string][]byte {
	all := make(map[string][]byte)
	for i := range window {
		id := uint16(i + 1)
		for qos, name := range []string{"PUBLISH 0", "PUBLISH 1", "PUBLISH 2"} {
			p := packets.Publish{Topic: topic, Payload: payload256, QoS: packets.QoS(qos)}
			if qos > 0 {
				p.PacketID = id
			}
			b, err := p.AppendBinary(all[name])
			must(err)
			all[name] = b
		}
		for _, t := range []packets.Type{packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP} {
			all[t.String()] = packets.AppendAck(all[t.String()], t, id)
		}
	}
	return all
}

// write writes the first n packets of a window in batches.
func (l *limitConn) write(kind string, n int) error {
	b := l.bytes[kind]
	size := len(b) / l.window
	for n > 0 {
		k := min(n, l.batch)
		if _, err := l.conn.Write(b[:k*size]); err != nil {
			return err
		}
		b, n = b[k*size:], n-k
	}
	return nil
}

// read reads n acknowledgements in batches.
func (l *limitConn) read(n int) error {
	for n > 0 {
		k := min(n, l.batch)
		if _, err := io.ReadFull(l.conn, l.acks[:4*k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func (l *limitConn) publish(load load) error {
	kind := []string{"PUBLISH 0", "PUBLISH 1", "PUBLISH 2"}[load.qos]
	for n := load.n; n > 0; n -= l.window {
		k := min(n, l.window)
		if load.before != nil {
			for range k {
				load.before()
			}
		}
		if err := l.write(kind, k); err != nil {
			return err
		}
		if load.qos > 0 {
			if err := l.read(k); err != nil {
				return err
			}
		}
		if load.qos == 2 {
			if err := l.write("PUBREL", k); err != nil {
				return err
			}
			if err := l.read(k); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *limitConn) block(qos byte) error { return l.publish(load{n: 1, qos: qos}) }

// receive splits the stream by the lengths of packets. With a batch of one it reads one packet at a
// time.
func (l *limitConn) receive(qos byte, each func()) error {
	s := packets.Subscribe{PacketID: 1, Subscriptions: []packets.Subscription{{Filter: topic, QoS: packets.QoS(qos)}}}
	b, err := s.AppendBinary(nil)
	if err != nil {
		return err
	}
	if _, err := l.conn.Write(b); err != nil {
		return err
	}
	if _, err := io.ReadFull(l.conn, make([]byte, 5)); err != nil {
		return err
	}
	size := len(l.bytes["PUBLISH 1"]) / l.window
	if qos == 0 {
		size -= 2
	}
	buf, w := make([]byte, max(l.batch*size, 64<<10)), 0
	if l.batch == 1 {
		buf = buf[:size]
	}
	var out []byte
	for {
		n, err := l.conn.Read(buf[w:])
		if err != nil {
			return nil
		}
		w += n
		r := 0
		for {
			body, k := cut(buf[r:w])
			if k == 0 {
				break
			}
			out = answer(out, buf[r], body)
			if buf[r]>>4 == byte(packets.PUBLISH) {
				if l.owned {
					kept = bytes.Clone(payload(body))
				}
				each()
			}
			r += k
		}
		w = copy(buf, buf[r:w])
		if len(out) > 0 {
			if _, err := l.conn.Write(out); err != nil {
				return nil
			}
			out = out[:0]
		}
	}
}

// cut returns the body of the first packet in b and the length of the packet, or 0 if it is
// incomplete.
func cut(b []byte) (body []byte, n int) {
	if len(b) < 2 {
		return nil, 0
	}
	size, k := binary.Uvarint(b[1:])
	if n = 1 + k + int(size); k <= 0 || n > len(b) {
		return nil, 0
	}
	return b[1+k : n], n
}

// answer appends a receiver's answer to a packet.
func answer(out []byte, header byte, body []byte) []byte {
	switch packets.Type(header >> 4) {
	case packets.PUBLISH:
		at := 2 + int(binary.BigEndian.Uint16(body))
		switch header >> 1 & 3 {
		case 1:
			return append(out, byte(packets.PUBACK)<<4, 2, body[at], body[at+1])
		case 2:
			return append(out, byte(packets.PUBREC)<<4, 2, body[at], body[at+1])
		}
	case packets.PUBREL:
		return append(out, byte(packets.PUBCOMP)<<4, 2, body[0], body[1])
	case packets.PINGREQ:
		return append(out, byte(packets.PINGRESP)<<4, 0)
	case packets.CONNECT:
		return append(out, byte(packets.CONNACK)<<4, 2, 0, 0)
	}
	return out
}

func (l *limitConn) close() { l.conn.Close() }
