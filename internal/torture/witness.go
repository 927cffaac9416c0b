package torture

import (
	"errors"

	"github.com/mqtt311/mqtt311/packets"
)

// A witness reads what the Server sends to the child, to tell whose fault a message is that comes
// again. A Server must not send a PUBLISH again once it has sent PUBREL [MQTT-4.3.3-1], because
// the receiver has forgotten the Packet Identifier by then. mosquitto does, up to 2.0 at least,
// when a connection ends twice before it has sent the PUBREL again.
type witness struct {
	number   map[uint16]int // of the QoS 2 message under a Packet Identifier
	released map[int]bool   // numbers whose PUBREL was sent
	again    map[int]int    // how often a number was published after that
}

func newWitness() *witness {
	return &witness{number: make(map[uint16]int), released: make(map[int]bool), again: make(map[int]int)}
}

// read takes the whole packets from the front of b and returns the rest.
func (w *witness) read(b []byte) ([]byte, error) {
	for {
		p, n, err := packets.Parse(b)
		if errors.Is(err, packets.ErrShort) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		b = b[n:]
		switch p := p.(type) {
		case *packets.Publish:
			if p.QoS == packets.ExactlyOnce {
				w.publish(p)
			}
		case *packets.Pubrel:
			if n, ok := w.number[p.PacketID]; ok {
				w.released[n] = true
			}
		}
	}
}

func (w *witness) publish(p *packets.Publish) {
	n, err := Number(p.Payload)
	if err != nil {
		return
	}
	w.number[p.PacketID] = n
	if w.released[n] {
		w.again[n]++
		delete(w.released, n) // it has a PUBREL to come
	}
}
