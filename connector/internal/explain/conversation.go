package explain

import (
	"fmt"

	"github.com/mqtt311/mqtt311/packets"
)

// A Conversation judges packets by the earlier ones on the same connection.
type Conversation struct {
	// Partial means that the beginning of the connection was not captured: packets that seem to be missing may have been
	// in it.
	Partial bool

	budget    *budget
	charged   int
	began     [2]bool // by direction: a packet was sent
	connected bool    // CONNECT was sent
	clean     bool    // CONNECT asked for a clean session
	gone      bool    // DISCONNECT was sent
	asked     map[uint16]int
	open      [2]map[uint16]packets.Type // by direction of the PUBLISH: the acknowledgement that must come next
}

// A Side is a sender of packets.
type Side int

// The sides.
const (
	Client Side = iota
	Server
)

// other is the opposite side.
func (s Side) other() Side { return 1 - s }

// Judge adds findings about a packet at this point of the conversation.
func (c *Conversation) Judge(from Side, p *Packet) {
	first := !c.began[from]
	c.began[from] = true
	c.direction(from, p)
	switch {
	case from == Client && first && !c.Partial && p.Type != packets.CONNECT:
		p.fault(-1, "MQTT-3.1.0-1", "the first packet of a Client is CONNECT", "客户端的第一个报文必须是 CONNECT")
	case from == Server && first && !c.Partial && p.Type != packets.CONNACK:
		p.fault(-1, "MQTT-3.2.0-1", "the first packet of a Server is CONNACK", "服务端的第一个报文必须是 CONNACK")
	}
	if from == Client && c.gone {
		p.fault(-1, "MQTT-3.14.4-2", "a Client sends nothing after DISCONNECT", "客户端发送 DISCONNECT 后不得再发送报文")
	}
	if p.value != nil {
		c.exchange(from, p)
	}
}

// direction reports packets that only the other side may send, table 2.1.
func (c *Conversation) direction(from Side, p *Packet) {
	switch p.Type {
	case packets.CONNECT, packets.SUBSCRIBE, packets.UNSUBSCRIBE, packets.PINGREQ, packets.DISCONNECT:
		if from == Server {
			p.fault(0, "", fmt.Sprintf("a Server does not send %v (table 2.1)", p.Type), fmt.Sprintf("服务端不会发送 %v（表 2.1）", p.Type))
		}
	case packets.CONNACK, packets.SUBACK, packets.UNSUBACK, packets.PINGRESP:
		if from == Client {
			p.fault(0, "", fmt.Sprintf("a Client does not send %v (table 2.1)", p.Type), fmt.Sprintf("客户端不会发送 %v（表 2.1）", p.Type))
		}
	}
}

// exchange follows requests and their answers.
func (c *Conversation) exchange(from Side, p *Packet) {
	switch v := p.value.(type) {
	case *packets.Connect:
		if c.connected && from == Client {
			p.fault(-1, "MQTT-3.1.0-2", "a second CONNECT on one connection", "同一连接上的第二个 CONNECT")
		}
		c.connected, c.clean = true, v.CleanSession // not the packet itself, which may be large
	case *packets.Connack:
		if c.clean && v.SessionPresent && v.Code == packets.Accepted {
			p.fault(2, "MQTT-3.2.2-1", "Session Present is 1, and a clean session was asked for", "请求了清除会话，Session Present 却为 1")
		}
	case *packets.Disconnect:
		c.gone = from == Client
	case *packets.Subscribe:
		c.ask(v.PacketID, len(v.Subscriptions))
	case *packets.Unsubscribe:
		c.ask(v.PacketID, 0)
	case *packets.Suback:
		n, ok := c.answered(v.PacketID)
		switch {
		case !ok && !c.Partial:
			p.fault(p.header.length, "MQTT-3.8.4-2", "no SUBSCRIBE with this Packet Identifier waits for an answer", "没有使用该报文标识符的 SUBSCRIBE 在等待应答")
		case ok && n != len(v.Codes):
			p.fault(-1, "MQTT-3.8.4-5", fmt.Sprintf("it has %d return codes for %d topic filters", len(v.Codes), n), fmt.Sprintf("返回码 %d 个，而订阅主题 %d 个", len(v.Codes), n))
		}
	case *packets.Unsuback:
		if _, ok := c.answered(v.PacketID); !ok && !c.Partial {
			p.fault(p.header.length, "MQTT-3.10.4-4", "no UNSUBSCRIBE with this Packet Identifier waits for an answer", "没有使用该报文标识符的 UNSUBSCRIBE 在等待应答")
		}
	case *packets.Publish:
		c.publish(from, p, v)
	case *packets.Puback:
		c.answer(from.other(), p, v.PacketID, packets.PUBACK, 0)
	case *packets.Pubrec:
		c.answer(from.other(), p, v.PacketID, packets.PUBREC, packets.PUBREL)
	case *packets.Pubrel:
		c.answer(from, p, v.PacketID, packets.PUBREL, packets.PUBCOMP)
	case *packets.Pubcomp:
		c.answer(from.other(), p, v.PacketID, packets.PUBCOMP, 0)
	}
}

func (c *Conversation) ask(id uint16, filters int) {
	if c.asked == nil {
		c.asked = make(map[uint16]int)
	}
	if _, there := c.asked[id]; there || c.afford() {
		c.asked[id] = filters
	}
}

// answered removes a request, and returns how many filters it had.
func (c *Conversation) answered(id uint16) (filters int, ok bool) {
	if filters, ok = c.asked[id]; ok {
		delete(c.asked, id)
		c.refund()
	}
	return filters, ok
}

// await records the packet that a delivery waits for.
func (c *Conversation) await(sender Side, id uint16, next packets.Type) {
	if c.open[sender] == nil {
		c.open[sender] = make(map[uint16]packets.Type)
	}
	if _, there := c.open[sender][id]; there || c.afford() {
		c.open[sender][id] = next
	}
}

// perIdentifier is the approximate memory of a map entry, in bytes.
const perIdentifier = 64

// afford takes the cost of another Packet Identifier from the budget. Once it is used up, missing packets are no fault.
func (c *Conversation) afford() bool {
	n := c.budget.take(perIdentifier)
	c.charged += n
	if n < perIdentifier {
		c.Partial = true
	}
	return n == perIdentifier
}

// refund returns the cost of a finished identifier to the budget.
func (c *Conversation) refund() {
	if c.charged >= perIdentifier {
		c.charged -= perIdentifier
		c.budget.give(perIdentifier)
	}
}

// forget returns the whole cost to the budget.
func (c *Conversation) forget() {
	c.budget.give(c.charged)
	c.charged = 0
}

func (c *Conversation) publish(from Side, p *Packet, v *packets.Publish) {
	if v.QoS == packets.AtMostOnce {
		return
	}
	next := packets.PUBACK
	if v.QoS == packets.ExactlyOnce {
		next = packets.PUBREC
	}
	before, open := c.open[from][v.PacketID]
	switch {
	case open && !v.Dup:
		p.fault(-1, "MQTT-2.3.1-2", "its Packet Identifier is still in use on this connection", "其报文标识符在本连接上仍被占用")
	case open && before == packets.PUBCOMP, open && before == packets.PUBREL:
		p.fault(-1, "MQTT-4.3.3-1", "the PUBLISH is sent again after its PUBREC", "收到 PUBREC 之后又重发 PUBLISH")
		return
	case open:
		p.note(-1, "", "sent again on a living connection", "在同一连接上重发")
	case v.Dup:
		p.note(-1, "", "a message that was sent before, on an earlier connection", "此前（在之前的连接上）发送过的消息")
	}
	c.await(from, v.PacketID, next)
}

// answer processes an acknowledgement of type is for a message sent by sender; next is the type that follows
// it. PUBREC may be repeated for a repeated PUBLISH, and PUBREL and PUBCOMP for a delivery from an earlier
// connection.
func (c *Conversation) answer(sender Side, p *Packet, id uint16, is, next packets.Type) {
	want, open := c.open[sender][id]
	switch {
	case !open && (is == packets.PUBREL || is == packets.PUBCOMP || c.Partial):
		if is == packets.PUBREL {
			c.await(sender, id, next)
		}
		return
	case !open:
		p.fault(p.header.length, "MQTT-2.3.1-6", fmt.Sprintf("no message with this Packet Identifier waits for %v", is), fmt.Sprintf("没有使用该报文标识符的消息在等待 %v", is))
		return
	case want != is && !(is == packets.PUBREC && want == packets.PUBREL) && !(is == packets.PUBREL && want == packets.PUBCOMP):
		p.fault(0, "MQTT-4.3.3-1", fmt.Sprintf("%v instead of %v", is, want), fmt.Sprintf("此处应为 %[2]v，而不是 %[1]v", is, want))
	}
	if next == 0 {
		delete(c.open[sender], id)
		c.refund()
	} else if open {
		c.open[sender][id] = next
	}
}
