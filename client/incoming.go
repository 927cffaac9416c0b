package client

import (
	"errors"
	"fmt"
	"io"

	"github.com/mqtt311/mqtt311/packets"
)

// An IncomingError describes a received message that was not accepted because it is larger than
// Config.MaxPacketSize or its Topic Name is malformed. See Config.SkipOversize and
// Config.SkipMalformed.
type IncomingError struct {
	Topic    string // as received; not validated
	QoS      packets.QoS
	PacketID uint16 // 0 at QoS 0, and if it cannot be read
	Size     int    // of the whole packet, in bytes
	Retain   bool   // as in Delivery
	Dup      bool   // as in Delivery
	Taken    bool   // whether Config.TakeOversize took the payload
	TakeErr  error  // the error of Config.TakeOversize
	Err      error  // a [*packets.TooLargeError] or a [*packets.FormatError]
}

func (e *IncomingError) Error() string {
	s := fmt.Sprintf("client: received message on %s (QoS %d", quoted(e.Topic), e.QoS)
	if e.QoS > packets.AtMostOnce {
		s += fmt.Sprintf(", id %d", e.PacketID)
	}
	var large *packets.TooLargeError
	if errors.As(e.Err, &large) {
		return s + fmt.Sprintf(", %d bytes) is larger than Config.MaxPacketSize, %d bytes", e.Size, large.Max)
	}
	var fault *packets.FormatError
	if errors.As(e.Err, &fault) {
		return s + fmt.Sprintf(", %d bytes) is malformed: byte %d: %s [%s]", e.Size, fault.Offset, fault.Reason, fault.Spec)
	}
	return s + "): " + bare(e.Err)
}

// Unwrap returns Err.
func (e *IncomingError) Unwrap() error { return e.Err }

func (e *IncomingError) oversize() bool {
	var large *packets.TooLargeError
	return errors.As(e.Err, &large)
}

// examine checks whether the packet just read is a message that is not accepted, and if so sets
// l.bad. It skips the payload of a message that is too large. An error ends the connection.
func (c *Client) examine(l *link, p packets.Packet) error {
	l.bad = nil
	pub, ok := p.(*packets.Publish)
	if !ok {
		return nil
	}
	payload, fault := l.reader.Payload(), l.reader.Malformed()
	if payload == nil && fault == nil {
		return nil
	}
	bad := &IncomingError{Topic: pub.Topic, QoS: pub.QoS, PacketID: pub.PacketID, Size: l.reader.Size(), Retain: pub.Retain, Dup: pub.Dup}
	if fault != nil {
		bad.Err = fault
	}
	if payload != nil { // only with SkipOversize
		bad.Err = &packets.TooLargeError{Type: packets.PUBLISH, Size: bad.Size, Max: c.cfg.MaxPacketSize, QoS: bad.QoS}
	}
	if fault != nil && !c.cfg.SkipMalformed || !l.up {
		return bad
	}
	if payload != nil {
		if fault == nil && c.cfg.TakeOversize != nil {
			if err := c.offer(l, pub, bad, payload); err != nil {
				return err
			}
		}
		if _, err := io.Copy(io.Discard, payload); err != nil {
			return err
		}
	}
	l.bad = bad
	return nil
}

// comesAgain reports whether the Server will send the message that ended a connection with err
// again on the next one. Of other unreadable packets that is unknown. With SkipMalformed it returns
// false for a message that cannot be skipped, since the client is wanted to go on.
func (c *Client) comesAgain(err error) bool {
	var bad *IncomingError
	if errors.As(err, &bad) {
		return bad.QoS > packets.AtMostOnce
	}
	var large *packets.TooLargeError
	if errors.As(err, &large) {
		return large.Type == packets.PUBLISH && large.QoS > packets.AtMostOnce
	}
	var fault *packets.FormatError
	return errors.As(err, &fault) && fault.Type == packets.PUBLISH && !c.cfg.SkipMalformed &&
		fault.Spec != "MQTT-3.3.1-2" // DUP at QoS 0
}
