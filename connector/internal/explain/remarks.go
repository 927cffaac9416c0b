package explain

import (
	"fmt"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/packets"
)

// remarks adds remarks about a packet that the codec accepts.
func (p *Packet) remarks() {
	switch v := p.value.(type) {
	case *packets.Connect:
		p.discouraged(v.ClientID, Text{"the client identifier", "客户端 ID"})
		if n := len(v.ClientID); n > 23 {
			p.note(-1, "MQTT-3.1.3-5", fmt.Sprintf("the client identifier has %d bytes; a Server need not accept more than 23", n),
				fmt.Sprintf("客户端 ID 有 %d 字节，服务端可以只接受 23 字节以内", n))
		}
		if v.Will != nil {
			p.discouraged(v.Will.Topic, Text{"the will topic", "遗嘱主题"})
		}
	case *packets.Connack:
		p.connack(v)
	case *packets.Publish:
		p.discouraged(v.Topic, Text{"the topic", "主题"})
		if v.Retain && payloadSize(v, p.header.remains) == 0 {
			p.note(-1, "MQTT-3.3.1-10", "it deletes the retained message of its topic", "它会删除该主题的保留消息")
		}
	case *packets.Subscribe:
		for _, s := range v.Subscriptions {
			p.discouraged(s.Filter, Text{"a topic filter", "订阅主题"})
		}
	case *packets.Suback:
		for i, c := range v.Codes {
			if c >= packets.SubscribeFailure {
				p.note(p.header.length+2+i, "MQTT-3.9.3-2", fmt.Sprintf("the Server refused filter %d", i+1), fmt.Sprintf("服务端拒绝了第 %d 个订阅主题", i+1))
			}
		}
	}
}

func (p *Packet) connack(v *packets.Connack) {
	code := min(int(v.Code), len(connectCodes)-1)
	if code == 0 {
		return
	}
	c := connectCodes[code]
	p.note(3, "", "the Server refused: "+c.short.EN+". "+c.what.EN, "服务端拒绝："+c.short.ZH+"。"+c.what.ZH)
	if v.SessionPresent {
		p.fault(2, "MQTT-3.2.2-4", "Session Present is 1 in a refusal", "拒绝连接时 Session Present 为 1")
	}
}

// discouraged adds a remark about characters that section 1.5.3 advises against.
func (p *Packet) discouraged(s string, what Text) {
	at := packets.Discouraged(s)
	if at < 0 {
		return
	}
	r, _ := utf8.DecodeRuneInString(s[at:])
	p.note(-1, "", fmt.Sprintf("%s contains the character %U, for which a Server may close the connection (section 1.5.3)", what.EN, r),
		fmt.Sprintf("%s包含字符 %U，服务端可能因此断开连接（1.5.3 节）", what.ZH, r))
}
