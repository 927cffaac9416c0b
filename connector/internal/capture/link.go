package capture

import (
	"encoding/binary"
	"net/netip"
)

// The supported link types.
const (
	linkNull     = 0
	linkEthernet = 1
	linkRawBSD   = 12
	linkRawOpen  = 14
	linkRaw      = 101
	linkLoop     = 108
	linkCooked   = 113
	linkIPv4     = 228
	linkIPv6     = 229
	linkCooked2  = 276
)

// A segment is a TCP segment of a frame.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
	payload  []byte
	size     int // length of the payload on the wire; more than was captured if the frame was truncated
}

// The flags of TCP.
const (
	flagFin = 1 << iota
	flagSyn
	flagRst
	flagPsh
	flagAck
)

// A why is the reason why a frame has no segment.
type why int

const (
	isSegment why = iota
	isOther       // another protocol
	isLink        // an unknown link type
	isFragment
	isShort // truncated before the end of the TCP header
)

// dissect finds the TCP segment of a frame.
func dissect(link int, b []byte) (segment, why) {
	b, ok := network(link, b)
	if !ok {
		return segment{}, isLink
	}
	if len(b) == 0 {
		return segment{}, isOther
	}
	switch b[0] >> 4 {
	case 4:
		return ipv4(b)
	case 6:
		return ipv6(b)
	}
	return segment{}, isOther
}

// network returns the IP packet in a frame, or nothing if it has none; ok is false for an unknown link type.
func network(link int, b []byte) (packet []byte, ok bool) {
	switch link {
	case linkRaw, linkRawBSD, linkRawOpen, linkIPv4, linkIPv6:
		return b, true
	case linkNull, linkLoop: // starts with the address family, whose numbers depend on the system
		return behind(b, 4), true
	case linkEthernet:
		return etherType(behind(b, 12)), true
	case linkCooked:
		return etherType(behind(b, 14)), true
	case linkCooked2:
		if len(b) < 20 {
			return nil, true
		}
		return ipOf(binary.BigEndian.Uint16(b), b[20:]), true
	}
	return nil, false
}

// behind returns b without its first n bytes.
func behind(b []byte, n int) []byte { return b[min(n, len(b)):] }

// etherType returns the IP packet after an EtherType, and after VLAN tags if there are any.
func etherType(b []byte) []byte {
	for len(b) >= 2 {
		switch kind := binary.BigEndian.Uint16(b); kind {
		case 0x8100, 0x88A8, 0x9100:
			b = behind(b, 4)
		default:
			return ipOf(kind, b[2:])
		}
	}
	return nil
}

// ipOf returns b if kind is the EtherType of IPv4 or IPv6.
func ipOf(kind uint16, b []byte) []byte {
	if kind != 0x0800 && kind != 0x86DD {
		return nil
	}
	return b
}

const protocolTCP = 6

func ipv4(b []byte) (segment, why) {
	if len(b) < 20 {
		return segment{}, isShort
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 { // segmentation is left to the network card
		total = len(b)
	}
	switch fragment := binary.BigEndian.Uint16(b[6:]); {
	case b[9] != protocolTCP:
		return segment{}, isOther
	case fragment&0x3FFF != 0: // more fragments, or an offset
		return segment{}, isFragment
	case head < 20 || head > len(b) || total < head:
		return segment{}, isShort
	}
	from, to := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	return tcp(from, to, b[head:min(len(b), total)], total-head)
}

func ipv6(b []byte) (segment, why) {
	if len(b) < 40 {
		return segment{}, isShort
	}
	from, to := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	next, size := b[6], int(binary.BigEndian.Uint16(b[4:]))
	b = b[40:]
	if size == 0 {
		size = len(b)
	}
	b = b[:min(len(b), size)]
	for next != protocolTCP {
		if len(b) < 8 {
			return segment{}, isOther
		}
		n := 8 + int(b[1])*8
		switch next {
		case 0, 43, 60: // hop by hop, routing, destination
		case 51: // authentication
			n = (int(b[1]) + 2) * 4
		case 44: // fragment
			if binary.BigEndian.Uint16(b[2:])&^6 != 0 {
				return segment{}, isFragment
			}
			n = 8
		default:
			return segment{}, isOther
		}
		if n > len(b) {
			return segment{}, isShort
		}
		next, b, size = b[0], b[n:], size-n
	}
	return tcp(from, to, b, size)
}

// tcp parses a TCP segment of size bytes, of which b was captured.
func tcp(from, to netip.Addr, b []byte, size int) (segment, why) {
	if len(b) < 20 {
		return segment{}, isShort
	}
	head := int(b[12]>>4) * 4
	if head < 20 || head > len(b) {
		return segment{}, isShort
	}
	return segment{
		from: netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(b)),
		to:   netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(b[2:])),
		seq:  binary.BigEndian.Uint32(b[4:]), ack: binary.BigEndian.Uint32(b[8:]),
		flags: b[13], payload: b[head:], size: max(size-head, 0),
	}, isSegment
}
