package explain

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/packets"
)

// A walker takes fields from the front of a packet. It judges nothing: a truncated field is shown
// as far as it was captured, and bytes that belong to no field are shown as such.
type walker struct {
	b      []byte
	at     int
	o      Options
	fields []Field
	hides  bool // the values of fields with a length are hidden
}

// The most that is shown of a packet: bytes of a field, characters of a text, and entries of a
// list.
const (
	mostBytes = 16
	mostText  = 64
	mostItems = 256
)

// add adds a field for the next n bytes, or as many as there are.
func (w *walker) add(n int, name Text, value Text) {
	n = min(n, len(w.b)-w.at)
	w.fields = append(w.fields, Field{w.at, n, name, value, w.b[w.at : w.at+min(n, mostBytes)]})
	w.at += n
}

func (w *walker) left() int { return len(w.b) - w.at }

func (w *walker) packet(h header) {
	first := w.b[0]
	kind := packets.Type(first >> 4)
	value := kind.String()
	switch flags := first & 15; {
	case kind == 0 || kind == 15:
		value = strconv.Itoa(int(kind))
	case kind == packets.PUBLISH:
		value += fmt.Sprintf(", DUP %d, QoS %d, RETAIN %d", flags>>3, flags>>1&3, flags&1)
	default:
		value += fmt.Sprintf(", flags %04b", flags)
	}
	w.add(1, Text{"Control Packet type and flags", "报文类型与标志"}, same(value))
	if len(w.b) == 1 {
		return
	}
	if !h.readable {
		w.add(min(4, w.left()), Text{"Remaining Length", "剩余长度"}, Text{"continues beyond these bytes", "在这些字节之后仍未结束"})
		w.rest()
		return
	}
	w.add(h.length-1, Text{"Remaining Length", "剩余长度"}, same(strconv.FormatInt(h.remains, 10)))
	w.body(kind, first&15)
	w.rest()
}

func (w *walker) body(kind packets.Type, flags byte) {
	switch kind {
	case packets.CONNECT:
		w.connect()
	case packets.CONNACK:
		w.number(1, Text{"Connect Acknowledge Flags", "连接确认标志"}, func(v int) Text {
			return same(fmt.Sprintf("Session Present %d", v&1) + reserved(v>>1))
		})
		w.number(1, Text{"Connect Return code", "连接返回码"}, func(v int) Text {
			return Text{fmt.Sprintf("%d, %v", v, packets.ConnectCode(v)), fmt.Sprintf("%d，%s", v, connectCodes[min(v, 6)].short.ZH)}
		})
	case packets.PUBLISH:
		w.text(topicName)
		if flags>>1&3 != 0 {
			w.packetID()
		}
		w.payload()
	case packets.SUBSCRIBE:
		w.packetID()
		for i := 1; w.left() > 0 && i <= mostItems; i++ {
			w.text(numbered("Topic Filter", "订阅主题", i))
			w.number(1, numbered("Requested QoS", "请求的 QoS", i), plain)
		}
	case packets.SUBACK:
		w.packetID()
		for i := 1; w.left() > 0 && i <= mostItems; i++ {
			w.number(1, numbered("Return Code", "返回码", i), func(v int) Text {
				return Text{fmt.Sprintf("0x%02x, %v", v, packets.SubscribeCode(v)), fmt.Sprintf("0x%02x，%s", v, subackZH(v))}
			})
		}
	case packets.UNSUBSCRIBE:
		w.packetID()
		for i := 1; w.left() > 0 && i <= mostItems; i++ {
			w.text(numbered("Topic Filter", "订阅主题", i))
		}
	case packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP, packets.UNSUBACK:
		w.packetID()
	}
}

var topicName = Text{"Topic Name", "主题"}

func numbered(en, zh string, i int) Text {
	return Text{fmt.Sprintf("%s %d", en, i), fmt.Sprintf("%s %d", zh, i)}
}

func plain(v int) Text { return same(strconv.Itoa(v)) }

// reserved shows reserved bits that are set.
func reserved(bits int) string {
	if bits == 0 {
		return ""
	}
	return fmt.Sprintf(", reserved bits %#x", bits)
}

// connect takes the fields of CONNECT, section 3.1. In another version of the protocol, other fields
// follow the protocol level.
func (w *walker) connect() {
	// In a malformed CONNECT the flags or a length may be wrong, and what looks like a name may be a password.
	_, _, err := packets.Parse(w.b)
	lies := err != nil && !w.o.Secrets
	named := bytes.HasPrefix(w.b[w.at:], []byte("\x00\x04MQTT")) || bytes.HasPrefix(w.b[w.at:], []byte("\x00\x06MQIsdp"))
	w.hides = lies && !named
	w.text(Text{"Protocol Name", "协议名"})
	w.hides = lies
	level := -1
	w.number(1, Text{"Protocol Level", "协议级别"}, func(v int) Text { level = v; return same(levelName(v)) })
	if level != 4 && level != 3 {
		return
	}
	flags := 0
	w.number(1, Text{"Connect Flags", "连接标志"}, func(v int) Text {
		flags = v
		return same(fmt.Sprintf("User Name %d, Password %d, Will Retain %d, Will QoS %d, Will %d, Clean Session %d",
			v>>7, v>>6&1, v>>5&1, v>>3&3, v>>2&1, v>>1&1) + reserved(v&1))
	})
	w.number(2, Text{"Keep Alive", "Keep Alive"}, func(v int) Text {
		if v == 0 {
			return Text{"0, off", "0，关闭"}
		}
		return Text{fmt.Sprintf("%d s", v), fmt.Sprintf("%d 秒", v)}
	})
	w.text(Text{"Client Identifier", "客户端 ID"})
	if flags&4 != 0 {
		w.text(Text{"Will Topic", "遗嘱主题"})
		w.counted(Text{"Will Message", "遗嘱消息"}, shownBytes)
	}
	if flags&0x80 != 0 {
		w.secret(Text{"User Name", "用户名"})
	}
	if flags&0x40 != 0 {
		w.secret(Text{"Password", "密码"})
	}
}

func levelName(v int) string {
	switch v {
	case 3:
		return "3, MQTT 3.1"
	case 4:
		return "4, MQTT 3.1.1"
	case 5:
		return "5, MQTT 5"
	}
	return strconv.Itoa(v)
}

// number takes an integer of n bytes, section 1.5.2; nothing if it is incomplete.
func (w *walker) number(n int, name Text, show func(v int) Text) {
	if w.left() < n {
		return
	}
	v := int(w.b[w.at])
	if n == 2 {
		v = int(binary.BigEndian.Uint16(w.b[w.at:]))
	}
	w.add(n, name, show(v))
}

func (w *walker) packetID() { w.number(2, Text{"Packet Identifier", "报文标识符"}, plain) }

// text takes a UTF-8 encoded string, section 1.5.3.
func (w *walker) text(name Text) { w.counted(name, shownText) }

// counted takes a field that is preceded by a length of two bytes.
func (w *walker) counted(name Text, show func([]byte) Text) {
	if w.left() < 2 {
		return
	}
	n := int(binary.BigEndian.Uint16(w.b[w.at:]))
	if w.hides {
		show = notShown
		defer func() { w.fields[len(w.fields)-1].Bytes = nil }()
	}
	if there := w.left() - 2; there < n {
		v := show(w.b[w.at+2:])
		w.add(2+n, name, Text{
			fmt.Sprintf("%s, %d bytes announced and %d there", v.EN, n, there),
			fmt.Sprintf("%s，声明 %d 字节，实有 %d 字节", v.ZH, n, there),
		})
		return
	}
	w.add(2+n, name, show(w.b[w.at+2:w.at+2+n]))
}

// secret takes a field that is shown only with Options.Secrets.
func (w *walker) secret(name Text) {
	if w.o.Secrets {
		w.counted(name, shownBytes)
		return
	}
	hides := w.hides
	w.hides = true
	w.counted(name, nil)
	w.hides = hides
}

// notShown returns the text that replaces a secret value.
func notShown(b []byte) Text {
	return Text{fmt.Sprintf("%d bytes, not shown", len(b)), fmt.Sprintf("%d 字节，不显示", len(b))}
}

// payload takes the remaining bytes as the payload of a PUBLISH.
func (w *walker) payload() {
	if w.left() > 0 {
		w.add(w.left(), Text{"Payload", "消息内容"}, shownBytes(w.b[w.at:]))
	}
}

// rest shows bytes that belong to no field. In a malformed CONNECT, or one of another version, they may be the user
// name and password.
func (w *walker) rest() {
	if w.left() == 0 {
		return
	}
	value := Text{fmt.Sprintf("%d bytes", w.left()), fmt.Sprintf("%d 字节", w.left())}
	hidden := packets.Type(w.b[0]>>4) == packets.CONNECT && !w.o.Secrets
	if hidden {
		value.EN, value.ZH = value.EN+", not shown", value.ZH+"，不显示"
	}
	w.add(w.left(), Text{"further bytes", "其余字节"}, value)
	if hidden {
		w.fields[len(w.fields)-1].Bytes = nil
	}
}

// shownText returns a text in quotation marks, with control characters and invalid UTF-8 escaped.
func shownText(b []byte) Text {
	cut := b
	if len(cut) > mostText {
		cut = cut[:mostText]
		for len(cut) > mostText-utf8.UTFMax && !utf8.RuneStart(b[len(cut)]) {
			cut = cut[:len(cut)-1]
		}
	}
	s := strconv.Quote(string(cut))
	if len(cut) < len(b) {
		return Text{fmt.Sprintf("%s…, %d bytes", s, len(b)), fmt.Sprintf("%s…，%d 字节", s, len(b))}
	}
	return same(s)
}

// shownBytes returns bytes as text if they are text, and in hex otherwise.
func shownBytes(b []byte) Text {
	head := b[:min(len(b), mostText+utf8.UTFMax)]
	for i := 0; i < utf8.UTFMax && len(head) < len(b) && !utf8.Valid(head); i++ { // drop a character that the cut divides
		head = head[:len(head)-1]
	}
	printable := !strings.ContainsFunc(string(head), func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' })
	if utf8.Valid(head) && printable {
		return shownText(b)
	}
	if len(b) <= mostBytes {
		return same(fmt.Sprintf("% x", b))
	}
	return Text{fmt.Sprintf("% x…, %d bytes", b[:mostBytes], len(b)), fmt.Sprintf("% x…，%d 字节", b[:mostBytes], len(b))}
}
