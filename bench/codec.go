package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strings"

	pahopackets "github.com/eclipse/paho.mqtt.golang/packets"
	mochipackets "github.com/mochi-mqtt/server/v2/packets"
	"github.com/mqtt311/mqtt311/packets"
)

// A codecCase is a packet as each codec represents it. Libraries without a codec that can be
// imported are missing.
type codecCase struct {
	name  string
	ours  packets.Packet
	paho  pahopackets.ControlPacket
	mochi mochipackets.Packet
	// encode and decode are mochi's, which has a method for each type.
	encode func(*mochipackets.Packet, *bytes.Buffer) error
	decode func(*mochipackets.Packet, []byte) error
}

const topic = "plant/7/line/3/machine/42/state" // 31 bytes

func codecCases() []codecCase {
	var cases []codecCase
	for i, name := range []string{"16 B", "256 B", "4 KiB", "64 KiB"} {
		payload := bytes.Repeat([]byte{'x'}, 16<<(4*i))
		p := pahopackets.NewControlPacket(pahopackets.Publish).(*pahopackets.PublishPacket)
		p.TopicName, p.Payload = topic, payload
		cases = append(cases, codecCase{
			name: "PUBLISH " + name,
			ours: &packets.Publish{Topic: topic, Payload: payload}, paho: p,
			mochi:  mochipackets.Packet{FixedHeader: mochipackets.FixedHeader{Type: mochipackets.Publish}, TopicName: topic, Payload: payload},
			encode: (*mochipackets.Packet).PublishEncode, decode: (*mochipackets.Packet).PublishDecode,
		})
	}
	return append(cases, connectCase(), subscribeCase(), pubackCase())
}

func connectCase() codecCase {
	p := pahopackets.NewControlPacket(pahopackets.Connect).(*pahopackets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.Keepalive, p.ClientIdentifier = "MQTT", 4, 30, "line-7-gateway"
	p.UsernameFlag, p.PasswordFlag, p.Username, p.Password = true, true, "line7", []byte("secret")
	return codecCase{
		name: "CONNECT",
		ours: &packets.Connect{
			ClientID: "line-7-gateway", KeepAlive: 30, HasUserName: true, UserName: "line7", HasPassword: true, Password: []byte("secret"),
		},
		paho: p,
		mochi: mochipackets.Packet{
			FixedHeader: mochipackets.FixedHeader{Type: mochipackets.Connect}, ProtocolVersion: 4,
			Connect: mochipackets.ConnectParams{
				ProtocolName: []byte("MQTT"), ClientIdentifier: "line-7-gateway", Keepalive: 30,
				UsernameFlag: true, PasswordFlag: true, Username: []byte("line7"), Password: []byte("secret"),
			},
		},
		encode: (*mochipackets.Packet).ConnectEncode, decode: (*mochipackets.Packet).ConnectDecode,
	}
}

func subscribeCase() codecCase {
	o := &packets.Subscribe{PacketID: 9}
	p := pahopackets.NewControlPacket(pahopackets.Subscribe).(*pahopackets.SubscribePacket)
	p.MessageID = 9
	m := mochipackets.Packet{FixedHeader: mochipackets.FixedHeader{Type: mochipackets.Subscribe, Qos: 1}, ProtocolVersion: 4, PacketID: 9}
	for _, f := range strings.Fields("a/+/c b/# plant/7/line/3/+/state x y/z $SYS/# +/+ q/r/s/t") {
		o.Subscriptions = append(o.Subscriptions, packets.Subscription{Filter: f, QoS: 1})
		p.Topics, p.Qoss = append(p.Topics, f), append(p.Qoss, 1)
		m.Filters = append(m.Filters, mochipackets.Subscription{Filter: f, Qos: 1})
	}
	return codecCase{
		name: "SUBSCRIBE of 8", ours: o, paho: p, mochi: m,
		encode: (*mochipackets.Packet).SubscribeEncode, decode: (*mochipackets.Packet).SubscribeDecode,
	}
}

func pubackCase() codecCase {
	p := pahopackets.NewControlPacket(pahopackets.Puback).(*pahopackets.PubackPacket)
	p.MessageID = 7
	return codecCase{
		name: "PUBACK", ours: &packets.Puback{PacketID: 7}, paho: p,
		mochi:  mochipackets.Packet{FixedHeader: mochipackets.FixedHeader{Type: mochipackets.Puback}, ProtocolVersion: 4, PacketID: 7},
		encode: (*mochipackets.Packet).PubackEncode, decode: (*mochipackets.Packet).PubackDecode,
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// codecTables measure encoding and decoding for each case.
func (m method) codecTables() []table {
	var tables []table
	for _, c := range codecCases() {
		whole, err := c.ours.AppendBinary(nil)
		must(err)
		compare := func(name string, us, them, others, least func(n int)) {
			tables = append(tables, table{"codec: " + name + " " + c.name, []row{
				m.inProcess(ours, us), m.inProcess(paho, them), m.inProcess(mochi, others), m.inProcess(limit, least),
			}})
		}
		compare("encode", c.encodeOurs, c.encodePaho, c.encodeMochi, encodeLimit(c.ours, whole))
		compare("decode", decodeOurs(whole), decodePaho(whole), c.decodeMochi(whole), decodeLimit(c.ours, whole))
		if p, ok := c.ours.(*packets.Publish); ok && len(p.Payload) == 256 {
			compare("decode, payload owned,", decodeOwned(whole), decodePaho(whole), c.decodeMochi(whole), decodeLimitOwned(whole))
		}
	}
	return tables
}

func (c codecCase) encodeOurs(n int) {
	var buf []byte
	for range n {
		var err error
		buf, err = c.ours.AppendBinary(buf[:0])
		must(err)
	}
}

func (c codecCase) encodePaho(n int) {
	var buf bytes.Buffer
	for range n {
		buf.Reset()
		must(c.paho.Write(&buf))
	}
}

func (c codecCase) encodeMochi(n int) {
	var buf bytes.Buffer
	for range n {
		buf.Reset()
		m := c.mochi
		must(c.encode(&m, &buf))
	}
}

// encodeLimit copies the fields of a PUBLISH, or all of another packet, to their places.
func encodeLimit(p packets.Packet, whole []byte) func(n int) {
	parts := [][]byte{whole}
	if pub, ok := p.(*packets.Publish); ok {
		head := len(whole) - len(pub.Payload) - len(pub.Topic)
		parts = [][]byte{whole[:head], []byte(pub.Topic), pub.Payload}
	}
	return func(n int) {
		buf := make([]byte, 0, len(whole))
		for range n {
			buf = buf[:0]
			for _, part := range parts {
				buf = append(buf, part...)
			}
		}
	}
}

// An endless is a stream that repeats itself, in units so large that copying them costs what it
// costs a kernel.
type endless struct {
	unit []byte
	at   int
}

func stream(whole []byte) *endless {
	return &endless{unit: bytes.Repeat(whole, 1+(128<<10)/len(whole))}
}

func (e *endless) Read(b []byte) (n int, err error) {
	for n < len(b) {
		k := copy(b[n:], e.unit[e.at:])
		n += k
		if e.at += k; e.at == len(e.unit) {
			e.at = 0
		}
	}
	return n, nil
}

func decodeOurs(whole []byte) func(n int) {
	r := packets.NewReader(stream(whole), packets.ReaderOptions{})
	return func(n int) {
		for range n {
			p, err := r.ReadPacket()
			must(err)
			if pub, ok := p.(*packets.Publish); ok {
				borrowed = pub.Payload
			}
		}
	}
}

// kept and borrowed receive the decoded values, so that the compiler cannot optimise them away.
//
//lint:ignore U1000 nobody reads it
var kept, borrowed []byte

func decodeOwned(whole []byte) func(n int) {
	r := packets.NewReader(stream(whole), packets.ReaderOptions{})
	return func(n int) {
		for range n {
			p, err := r.ReadPacket()
			must(err)
			kept = bytes.Clone(p.(*packets.Publish).Payload)
		}
	}
}

// decodePaho gives paho a buffer that its client does not use: without it the reads would cost more
// than the codec.
func decodePaho(whole []byte) func(n int) {
	r := bufio.NewReaderSize(stream(whole), 64<<10)
	return func(n int) {
		for range n {
			_, err := pahopackets.ReadPacket(r)
			must(err)
		}
	}
}

// decodeMochi reads like mochi's server.
func (c codecCase) decodeMochi(whole []byte) func(n int) {
	r := bufio.NewReaderSize(stream(whole), 64<<10)
	return func(n int) {
		for range n {
			b, err := r.ReadByte()
			must(err)
			m := mochipackets.Packet{ProtocolVersion: 4}
			must(m.FixedHeader.Decode(b))
			m.FixedHeader.Remaining, _, err = mochipackets.DecodeLength(r)
			must(err)
			body := make([]byte, m.FixedHeader.Remaining)
			_, err = io.ReadFull(r, body)
			must(err)
			must(c.decode(&m, body))
		}
	}
}

// frames splits a stream by the lengths of its packets, out of a buffer of 64 KiB or of one packet.
func frames(whole []byte, each func(body []byte)) func(n int) {
	s := stream(whole)
	buf, r, w := make([]byte, max(64<<10, len(whole))), 0, 0
	return func(n int) {
		for range n {
			for {
				if size, k := binary.Uvarint(buf[min(r+1, w):w]); k > 0 && r+1+k+int(size) <= w {
					each(buf[r+1+k : r+1+k+int(size)])
					r += 1 + k + int(size)
					break
				}
				w = copy(buf, buf[r:w])
				r = 0
				k, _ := s.Read(buf[w:])
				w += k
			}
		}
	}
}

// decodeLimit finds the payload of a PUBLISH, or the bytes after the first two of another packet.
func decodeLimit(p packets.Packet, whole []byte) func(n int) {
	if _, ok := p.(*packets.Publish); ok {
		return frames(whole, func(body []byte) { borrowed = payload(body) })
	}
	return frames(whole, func(body []byte) { borrowed = body[2:] })
}

func decodeLimitOwned(whole []byte) func(n int) {
	return frames(whole, func(body []byte) { kept = bytes.Clone(payload(body)) })
}

func payload(body []byte) []byte { return body[2+int(body[0])<<8+int(body[1]):] }
