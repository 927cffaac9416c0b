package session

import (
	"hash/crc32"
	"hash/maphash"
	"math/bits"

	"github.com/mqtt311/mqtt311/packets"
)

// A Message is an Application Message to be published.
type Message struct {
	Topic   string
	Payload []byte // must not be modified until Done
	QoS     packets.QoS
	Retain  bool
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	seed       = maphash.MakeSeed()
)

// fingerprint distinguishes an incoming message from another one under the same Packet Identifier.
// At QoS 2 it is stored, so it must never change; it consists of two CRCs, which processors compute
// faster than memory can be read. At QoS 1 it does not outlive the process. Fingerprints detect
// accidental mix-ups, not malice: anyone who can publish can also publish twice. The memory for the
// head is kept in the receiver because the input of checksums escapes.
func (r *receiver) fingerprint(p *packets.Publish) uint64 {
	if p.QoS == packets.AtLeastOnce {
		return bits.RotateLeft64(maphash.String(seed, p.Topic), 1) ^ maphash.Bytes(seed, p.Payload)
	}
	h := append(r.head[:0], byte(p.QoS), byte(len(p.Topic)), byte(len(p.Topic)>>8))
	h = append(h, p.Topic...)
	r.head = h
	hi := crc32.Update(crc32.Update(0, castagnoli, h), castagnoli, p.Payload)
	lo := crc32.Update(crc32.Update(0, crc32.IEEETable, h), crc32.IEEETable, p.Payload)
	return uint64(hi)<<32 | uint64(lo)
}
