package explain

import (
	"fmt"
	"strings"
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

// discouraged notes characters that section 1.5.3 advises against.
func (p *Packet) discouraged(s string, what Text) {
	at := packets.Discouraged(s)
	if at < 0 {
		return
	}
	r, _ := utf8.DecodeRuneInString(s[at:])
	p.note(-1, "", fmt.Sprintf("%s holds the character %U, which a Server may close the connection for (section 1.5.3)", what.EN, r),
		fmt.Sprintf("%s包含字符 %U，服务端可能因此断开连接（1.5.3 节）", what.ZH, r))
}

// reasonZH returns the reason of an error of the codec in Chinese.
func reasonZH(reason string) string {
	if zh, ok := reasons[reason]; ok {
		return zh
	}
	for _, part := range parts {
		rest, ok := strings.CutPrefix(reason, part.en)
		if !ok {
			continue
		}
		if zh, ok := partReasons[rest]; ok {
			return part.zh + zh
		}
	}
	return patternZH(reason)
}

// patternZH is for reasons with something of the packet in them.
func patternZH(reason string) string {
	for _, p := range patterns {
		if middle, ok := strings.CutPrefix(reason, p.before); ok {
			if middle, ok = strings.CutSuffix(middle, p.behind); ok {
				return fmt.Sprintf(p.zh, middle)
			}
		}
	}
	return reason
}

var reasons = map[string]string{
	"reserved packet type (table 2.1)":                                "报文类型为保留值（表 2.1）",
	"reserved flags are wrong (table 2.2)":                            "固定报头的保留标志有误（表 2.2）",
	"remaining length has more than four bytes (section 2.2.3)":       "剩余长度超过四个字节（2.2.3 节）",
	"remaining length takes more bytes than it needs (section 2.2.3)": "剩余长度占用的字节数多于必要（2.2.3 节）",
	"remaining length is too small for the packet":                    "剩余长度小于该报文所需",
	"remaining length is too large for the packet":                    "剩余长度大于该报文可能的长度",
	"reserved acknowledge flags are set (section 3.2.2.1)":            "连接确认标志的保留位被置位（3.2.2.1 节）",
	"client identifier is empty without clean session":                "客户端 ID 为空，而清除会话标志为 0",
	"bytes follow the last field that the connect flags announce":     "连接标志声明的最后一个字段之后还有字节",
	"reserved connect flag is set":                                    "连接标志的保留位被置位",
	"will QoS without a will [MQTT-3.1.2-11]":                         "没有遗嘱却设置了遗嘱 QoS [MQTT-3.1.2-11]",
	"will retain without a will [MQTT-3.1.2-11]":                      "没有遗嘱却设置了遗嘱保留标志 [MQTT-3.1.2-11]",
	"will QoS is 3":                  "遗嘱 QoS 为 3",
	"password without a user name":   "有密码而没有用户名",
	"packet identifier is zero":      "报文标识符为 0",
	"QoS is 3":                       "QoS 为 3",
	"DUP is set at QoS 0":            "QoS 0 却设置了 DUP",
	"has no topic filter":            "没有订阅主题",
	"requested QoS is not 0, 1 or 2": "请求的 QoS 不是 0、1 或 2",
}

// parts are the fields that reasons begin with; partReasons is what follows.
var parts = []struct{ en, zh string }{
	{"protocol name ", "协议名"}, {"protocol level ", "协议级别"}, {"connect flags ", "连接标志"}, {"keep alive ", "Keep Alive "},
	{"client identifier ", "客户端 ID "}, {"will topic ", "遗嘱主题"}, {"will message ", "遗嘱消息"}, {"user name ", "用户名"},
	{"password ", "密码"}, {"packet identifier ", "报文标识符"}, {"acknowledge flags ", "连接确认标志"}, {"return code ", "返回码"},
	{"topic name ", "主题"}, {"topic filter ", "订阅主题"}, {"requested QoS ", "请求的 QoS "},
}

var partReasons = map[string]string{
	"is missing":                              "缺失",
	"is longer than the packet":               "超出报文长度",
	"holds a NUL character":                   "包含字符 U+0000",
	"is not well-formed UTF-8 [MQTT-1.5.3-1]": "不是合法的 UTF-8 [MQTT-1.5.3-1]",
	"is empty":                                "为空",
	"holds a wildcard [MQTT-4.7.1-1]":         "包含通配符 [MQTT-4.7.1-1]",
	"has '#' not as its whole last level":     "中的“#”没有独占最后一级",
	"has '+' not as a whole level":            "中的“+”没有独占一级",
}

var patterns = []struct{ before, behind, zh string }{
	{"protocol name is ", `, not "MQTT"`, `协议名为 %s，而不是 "MQTT"`},
	{"protocol level is ", ", not 4", "协议级别为 %s，而不是 4"},
	{"return code ", " is reserved", "返回码 %s 为保留值"},
}
