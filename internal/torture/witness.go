package torture

import (
	"errors"
	"sync"

	"github.com/mqtt311/mqtt311/packets"
)

// A witness decodes the traffic on a client's link in both directions and assigns each packet to its message. It
// sees everything that was sent, which neither end does.
type witness struct {
	log *journal
	who string // the owner of the link

	mu       sync.Mutex
	up, down map[uint16]key // the message under each Packet Identifier, of the client and of the broker
}

// A key identifies a message.
type key struct {
	qos byte // of its topic, which is the QoS of its publisher
	n   int
}

func newWitness(log *journal, who string) *witness {
	return &witness{log: log, who: who, up: make(map[uint16]key), down: make(map[uint16]key)}
}

// read decodes the whole packets at the beginning of b, which arrived on the connection, and returns
// the rest.
func (w *witness) read(b []byte, conn int, up bool) []byte {
	for {
		p, n, err := packets.Parse(b)
		if errors.Is(err, packets.ErrShort) {
			return b
		}
		if err != nil {
			return nil // the other end reports it
		}
		b = b[n:]
		w.see(p, conn, up)
	}
}

func (w *witness) see(p packets.Packet, conn int, up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := Event{Who: w.who, What: came, Conn: conn, Text: p.Type().String()}
	own, others := w.down, w.up
	if up {
		e.What = sent
		own, others = w.up, w.down
	}
	var of map[uint16]key
	switch p := p.(type) {
	case *packets.Connack:
		if p.SessionPresent {
			e.N = 1
		}
		e.What = opened
		if p.Code == packets.Accepted {
			w.log.write(e)
		}
		return
	case *packets.Publish:
		qos, n, err := message(p.Topic, p.Payload)
		if err != nil {
			return // the consumer reports it
		}
		e.QoS, e.N, e.ID = qos, n, p.PacketID
		if p.QoS > packets.AtMostOnce {
			own[p.PacketID] = key{qos, n}
		}
		w.log.write(e)
		return
	case *packets.Puback:
		e.ID, of = p.PacketID, others
	case *packets.Pubrec:
		e.ID, of = p.PacketID, others
	case *packets.Pubrel:
		e.ID, of = p.PacketID, own
	case *packets.Pubcomp:
		e.ID, of = p.PacketID, others
	default:
		return
	}
	about, known := of[e.ID]
	if !known {
		return // an identifier that is released before its first use
	}
	e.QoS, e.N = about.qos, about.n
	if !up && e.Text != packets.PUBREC.String() && e.Text != packets.PUBREL.String() {
		delete(w.up, e.ID)
	}
	w.log.write(e)
}
