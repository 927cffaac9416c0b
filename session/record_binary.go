package session

import (
	"encoding/binary"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/packets"
)

// The binary form of a Record is a key, unique in a store, and a value. Numbers are
// big-endian, as in the packets.
//
//	kind                  key after the kind   value
//	1 publish             Seq, 8 bytes         QoS | Retain<<2, Topic with its length in 2 bytes, Payload
//	2 released            Seq, 8 bytes         Order, 8 bytes
//	3 received            PacketID, 2 bytes    Fingerprint, 8 bytes
//	4 filter              Filter               QoS
//	5 session                                  Made, 1 byte
//	6 scrubbed                                 Seq, 8 bytes, Base, 8 bytes
//	8 sequence                                 Seq, 8 bytes
//	7 application         Name of the Note     Value of the Note

// AppendKey appends the encoded key of r to b.
func (r *Record) AppendKey(b []byte) []byte {
	b = append(b, byte(r.Kind))
	switch r.Kind {
	case RecordPublish, RecordReleased:
		b = binary.BigEndian.AppendUint64(b, r.Seq)
	case RecordReceived:
		b = binary.BigEndian.AppendUint16(b, r.PacketID)
	case RecordFilter:
		b = append(b, r.Filter.Filter...)
	case RecordApplication:
		b = append(b, r.Note.Name...)
	}
	return b
}

// AppendValue appends the encoded value of r to b.
func (r *Record) AppendValue(b []byte) []byte {
	switch r.Kind {
	case RecordPublish:
		flags := byte(r.Publish.QoS)
		if r.Publish.Retain {
			flags |= 1 << 2
		}
		b = append(b, flags)
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.Publish.Topic))) // validated on acceptance
		b = append(b, r.Publish.Topic...)
		b = append(b, r.Publish.Payload...)
	case RecordReleased:
		b = binary.BigEndian.AppendUint64(b, r.Order)
	case RecordReceived:
		b = binary.BigEndian.AppendUint64(b, r.Fingerprint)
	case RecordFilter:
		b = append(b, byte(r.Filter.QoS))
	case RecordSession:
		b = append(b, byte(r.Made))
	case RecordScrubbed:
		b = binary.BigEndian.AppendUint64(b, r.Seq)
		b = binary.BigEndian.AppendUint64(b, r.Base)
	case RecordSequence:
		b = binary.BigEndian.AppendUint64(b, r.Seq)
	case RecordApplication:
		b = append(b, r.Note.Value...)
	}
	return b
}

// ParseRecord decodes a key and value encoded by AppendKey and AppendValue. It does not retain
// them. The error says which part is invalid; it never contains a payload.
func ParseRecord(key, value []byte) (Record, error) {
	if len(key) == 0 {
		return Record{}, errors.New("session: record: empty key")
	}
	r := Record{Kind: RecordKind(key[0])}
	in := parser{key: key[1:], value: value}
	switch r.Kind {
	case RecordPublish:
		r.Seq = in.number(&in.key, 8)
		r.PacketID = packetID(r.Seq)
		r.Publish = in.publish(r.PacketID)
	case RecordReleased:
		r.Seq, r.Order = in.number(&in.key, 8), in.number(&in.value, 8)
		r.PacketID = packetID(r.Seq)
	case RecordReceived:
		r.PacketID, r.Fingerprint = uint16(in.number(&in.key, 2)), in.number(&in.value, 8)
		in.require(r.PacketID != 0, "packet identifier 0")
	case RecordFilter:
		r.Filter.Filter, r.Filter.QoS = in.rest(&in.key), packets.QoS(in.number(&in.value, 1))
		in.require(r.Filter.QoS <= packets.ExactlyOnce, "QoS above 2")
		in.require(packets.ValidTopicFilter(r.Filter.Filter) == nil, "not a Topic Filter")
	case RecordSession:
		r.Made = Made(in.number(&in.value, 1))
		in.require(r.Made <= MadeReleasing, "unknown kind of session")
	case RecordScrubbed:
		r.Seq, r.Base = in.number(&in.value, 8), in.number(&in.value, 8)
		in.require(r.Base <= r.Seq, "base above sequence number")
	case RecordSequence:
		r.Seq = in.number(&in.value, 8)
	case RecordApplication:
		r.Note = &Note{Name: in.rest(&in.key), Value: []byte(in.rest(&in.value))}
		in.require(utf8.ValidString(r.Note.Name), "name is not UTF-8")
	default:
		in.fault = "unknown kind"
	}
	in.require(len(in.key) == 0, "key too long")
	in.require(len(in.value) == 0, "value too long")
	if in.fault != "" {
		return Record{}, errors.New("session: record of kind " + strconv.Itoa(int(r.Kind)) + ": " + in.fault)
	}
	return r, nil
}

// A parser decodes a record and keeps the first error.
type parser struct {
	key, value []byte
	fault      string
}

func (p *parser) require(ok bool, fault string) {
	if !ok && p.fault == "" {
		p.fault = fault
	}
}

func (p *parser) number(from *[]byte, size int) (n uint64) {
	if len(*from) < size {
		p.require(false, "too short")
		return 0
	}
	for _, b := range (*from)[:size] {
		n = n<<8 | uint64(b)
	}
	*from = (*from)[size:]
	return n
}

func (p *parser) rest(from *[]byte) string {
	s := string(*from)
	*from = nil
	return s
}

func (p *parser) publish(id uint16) *packets.Publish {
	flags, size := p.number(&p.value, 1), p.number(&p.value, 2)
	if uint64(len(p.value)) < size {
		p.require(false, "topic too short")
		return nil
	}
	m := &packets.Publish{QoS: packets.QoS(flags & 3), Retain: flags&4 != 0, PacketID: id, Topic: string(p.value[:size])}
	p.value = p.value[size:]
	m.Payload = []byte(p.rest(&p.value))
	p.require(flags <= 7 && (m.QoS == packets.AtLeastOnce || m.QoS == packets.ExactlyOnce), "flags are not those of QoS 1 or 2")
	p.require(m.Check() == nil, "no packet can carry it")
	return m
}
