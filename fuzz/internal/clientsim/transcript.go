package clientsim

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A line is a line of the transcript. It is formatted only when the transcript is read, which for
// nearly all runs never happens. What its arguments print must not change in the meantime.
type line struct {
	at     time.Duration
	format string
	args   []any
}

// unread has the buffers of transcripts that were not read, as *[]line.
var unread sync.Pool

// logf adds a line to the transcript. The caller holds mu.
func (w *world) logf(format string, args ...any) {
	w.active = time.Now()
	if w.dull > mostDull {
		w.write("        (and %d more packets of keep alive, or about identifiers of no message)", w.dull-mostDull)
	}
	w.dull = 0
	w.write(format, args...)
}

// mostDull is how many packets in a row are logged that are not about a message.
const mostDull = 8

// A view is which side sees a packet, and its direction: the format of its line.
type view string

const (
	clientSends view = "client %d > %v"
	clientReads view = "client %d < %v"
	serverSends view = "server %d > %v"
	serverReads view = "server %d < %v"
)

// logPacket adds a packet. One that only keeps a connection alive is no sign of progress. The packet must not be
// reused, except for those read by the server, which are copied.
func (w *world) logPacket(v view, number int, p packets.Packet) {
	id := uint16(0)
	switch p := p.(type) {
	case *packets.Pingreq, *packets.Pingresp:
	case *packets.Pubrel:
		id = p.PacketID
	case *packets.Pubcomp:
		id = p.PacketID
	default:
		w.logf(string(v), number, v.kept(p))
		return
	}
	if id > 0 {
		w.active = time.Now()
	}
	toServer := v == clientSends || v == serverReads
	ours := p.Type() == packets.PUBREL == toServer // it concerns a message from the client
	if id > 0 && (w.byID[id] || !ours) {
		w.logf(string(v), number, v.kept(p))
	} else if w.dull++; w.dull <= mostDull {
		w.write(string(v), number, v.kept(p))
	}
}

// An ack is a packet that has only an identifier.
type ack struct {
	t  packets.Type
	id uint16
}

func (a ack) String() string { return fmt.Sprintf("%v id=%d", a.t, a.id) }

// kept returns a value that prints like the packet, even after the server's reader has reused the
// packet.
func (v view) kept(p packets.Packet) any {
	if v != serverReads {
		return p
	}
	switch p := p.(type) {
	case *packets.Publish:
		return *p // a payload prints as its size only
	case *packets.Puback:
		return ack{packets.PUBACK, p.PacketID}
	case *packets.Pubrec:
		return ack{packets.PUBREC, p.PacketID}
	case *packets.Pubrel:
		return ack{packets.PUBREL, p.PacketID}
	case *packets.Pubcomp:
		return ack{packets.PUBCOMP, p.PacketID}
	case *packets.Pingreq, *packets.Pingresp, *packets.Disconnect:
		return p
	}
	return fmt.Sprint(p)
}

func (w *world) write(format string, args ...any) {
	if w.decided {
		return // the verdict is known; the rest only ends the run
	}
	w.lines = append(w.lines, line{time.Since(w.began), format, args})
}

// transcript returns the lines as text.
func (w *world) transcript() []byte {
	var b bytes.Buffer
	for i := range w.lines {
		l := &w.lines[i]
		fmt.Fprintf(&b, "%12s  ", l.at)
		fmt.Fprintf(&b, l.format, l.args...)
		b.WriteByte('\n')
	}
	return b.Bytes()
}
