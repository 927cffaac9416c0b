package connector

import (
	"errors"
	"fmt"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// mostSkippedTold is how many skipped messages of each kind are reported per minute.
const mostSkippedTold = 10

// skippedMessage reports a message that the client of a connection skipped.
func (c *Connector) skippedMessage(from *connection, err error) {
	var bad *client.IncomingError
	if !errors.As(err, &bad) {
		return
	}
	seen := &c.malformed
	if errorType(bad) == flow.TypeOversize {
		seen = &c.oversize
	}
	n := seen.saw(bad.Topic)
	e := c.notAccepted(bad, n)
	if from.name != "" {
		if n > 0 && !c.isOver() {
			c.tell(onConnection(from.name, e), "connection", from.name)
		}
		return
	}
	c.trouble.mu.Lock()
	c.trouble.unacceptable = e
	c.trouble.mu.Unlock()
	if n > 0 {
		c.report(e)
	}
}

// notAccepted returns the error for a message that is too large or has a malformed topic: what was
// done with it, and which setting decides that. n is the number of messages since the last report,
// including this one.
func (c *Connector) notAccepted(bad *client.IncomingError, n uint64) *flow.Error {
	became := "it was acknowledged, and no flow ran for it"
	switch {
	case bad.Taken:
		became = "it was put into the dead letter file, and no flow ran for it"
	case bad.TakeErr != nil:
		became = "no flow ran for it, and it is lost: " + flow.AsError(bad.TakeErr).Description
	case bad.QoS == packets.AtMostOnce:
		became = "no flow ran for it"
	case bad.PacketID == 0:
		became = "no flow ran for it, and it was not acknowledged, because its identifier cannot be read"
	}
	others := ""
	if n > 1 {
		others = fmt.Sprintf("; %d more before it were not told", n-1)
	}
	what := fmt.Sprintf("a message on %s (%s, id %d) of %d bytes", shownTopic(bad.Topic), qosNames[bad.QoS], bad.PacketID, bad.Size)
	var large *packets.TooLargeError
	if errors.As(bad.Err, &large) {
		return flow.NewError(flow.TypeOversize, fmt.Errorf("%s is above max_packet_size, %d bytes; %s (oversize: skip)%s", what, large.Max, became, others))
	}
	reason := bad.Err.Error()
	var fault *packets.FormatError
	if errors.As(bad.Err, &fault) {
		reason = fault.Reason + " [" + fault.Spec + "]"
	}
	return flow.NewError(flow.TypeMalformed, fmt.Errorf("%s is malformed: %s; %s (malformed: skip)%s", what, reason, became, others))
}

// shownTopic returns an external topic, which may contain anything, escaped and truncated.
func shownTopic(topic string) string {
	const most = 128
	if len(topic) > most {
		return fmt.Sprintf("%+q... (%d bytes)", topic[:most], len(topic))
	}
	return fmt.Sprintf("%+q", topic)
}

// stopsOver returns the error that ends the connector if err is about a message whose policy is
// FaultStop, and otherwise nil.
func (n *connection) stopsOver(err error) *flow.Error {
	x := &n.settings.Extension
	var large *packets.TooLargeError
	var bad *client.IncomingError
	switch {
	case errors.As(err, &large) && large.Type == packets.PUBLISH && x.Oversize == FaultStop:
		return flow.NewError(flow.TypeOversize, fmt.Errorf("a message on %s (%s) of %d bytes is above max_packet_size, %d bytes (oversize: stop)",
			shownTopic(large.Topic), qosNames[large.QoS], large.Size, large.Max))
	case errors.As(err, &bad) && large == nil && x.Malformed == FaultStop:
		return flow.NewError(flow.TypeMalformed, fmt.Errorf("%w (malformed: stop)", bad))
	}
	return nil
}
