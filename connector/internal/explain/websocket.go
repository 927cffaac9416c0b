package explain

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A frames parses one direction of a WebSocket (RFC 6455) and passes the contents of its binary frames to its
// stream. The boundaries of frames have no meaning in MQTT [MQTT-6.0.0-2].
type frames struct {
	side   *side
	inside bool   // the handshake is over
	head   []byte // of the handshake or of a frame, as far as received
	opcode byte   // of the frame
	binary bool   // the message of the frame is binary
	left   uint64 // bytes of the frame that are still to come
	mask   [4]byte
	masked bool
	at     int // offset in the payload, for the mask
	close  []byte
	dead   bool // the rest cannot be read
}

// The opcodes.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
)

func (f *frames) write(b []byte) {
	for len(b) > 0 && !f.dead {
		switch {
		case !f.inside:
			b = f.handshake(b)
		case f.left > 0:
			b = f.payload(b)
		default:
			b = f.frame(b)
		}
	}
}

func (f *frames) say(fault bool, spec, en, zh string, args ...any) {
	f.side.link.find(f.side.from, Finding{fault, -1, spec, Text{fmt.Sprintf(en, args...), fmt.Sprintf(zh, args...)}})
}

// handshake reads the header of the request or of its answer.
func (f *frames) handshake(b []byte) []byte {
	before := len(f.head)
	f.head = append(f.head, b[:min(len(b), mostGreeting+4-before)]...)
	end := bytes.Index(f.head, []byte("\r\n\r\n"))
	if end < 0 {
		f.dead = len(f.head) >= mostGreeting
		return b[len(f.head)-before:]
	}
	rest := b[max(end+4-before, 0):]
	first, _, _ := bytes.Cut(f.head, []byte("\r\n"))
	protocol, offered := httpHeader(f.head[:end+2])["sec-websocket-protocol"]
	f.head, f.inside = f.head[:0], true
	has := false
	for word := range strings.SplitSeq(protocol, ",") {
		has = has || strings.TrimSpace(word) == "mqtt"
	}
	switch status := statusOf(first); {
	case f.side.from == Client && !has:
		f.say(true, "MQTT-6.0.0-3", "the request offers the subprotocol %q instead of \"mqtt\"", "请求提供的子协议为 %q，而不是 \"mqtt\"", protocol)
	case f.side.from == Client:
	case status != "101":
		f.say(false, "", "the Server answered HTTP status %q: there is no WebSocket", "服务端应答 HTTP 状态 %q：WebSocket 未建立", status)
		f.dead = true
	case !offered:
		f.say(true, "MQTT-6.0.0-4", "the Server chose no subprotocol; \"mqtt\" is required", "服务端没有选择子协议，应为 \"mqtt\"")
	case !has:
		f.say(true, "MQTT-6.0.0-4", "the Server chose the subprotocol %q instead of \"mqtt\"", "服务端选择的子协议为 %q，应为 \"mqtt\"", protocol)
	}
	return rest
}

// statusOf returns the status in an HTTP response.
func statusOf(line []byte) string {
	_, rest, _ := strings.Cut(string(line), " ")
	status, _, _ := strings.Cut(rest, " ")
	return clipped(status)
}

// frame reads the header of a frame.
func (f *frames) frame(b []byte) []byte {
	f.head = append(f.head, b[0])
	head, ok := parseFrame(f.head)
	if !ok {
		return b[1:]
	}
	f.head = f.head[:0]
	f.left, f.mask, f.masked, f.at = head.size, head.mask, head.masked, 0
	switch {
	case head.reserved != 0:
		f.say(false, "", "WebSocket frames have reserved bits set, for example by compression: what follows cannot be read", "WebSocket 帧设置了保留位（例如启用了压缩）：其后内容无法读取")
		f.dead = true
		return b[1:]
	case head.masked != (f.side.from == Client):
		f.say(true, "", "a frame of %[1]v is masked the wrong way (RFC 6455, section 5.1)", "%[2]s的帧掩码有误（RFC 6455 5.1 节）", f.side.from, f.side.from.zh())
	}
	switch f.opcode = head.opcode; f.opcode {
	case opBinary:
		f.binary = true
	case opText:
		f.binary = false
		f.say(true, "MQTT-6.0.0-1", "a text frame: MQTT must use binary frames", "文本帧：MQTT 必须使用二进制帧")
	}
	if f.left == 0 {
		f.end()
	}
	return b[1:]
}

// payload processes bytes of a frame.
func (f *frames) payload(b []byte) []byte {
	n := int(min(f.left, uint64(len(b))))
	some := b[:n]
	if f.masked {
		some = bytes.Clone(some)
		for i := range some {
			some[i] ^= f.mask[(f.at+i)&3]
		}
	}
	f.at, f.left = f.at+n, f.left-uint64(n)
	switch {
	case f.data():
		f.side.stream.Write(some)
	case f.opcode == opClose:
		f.close = append(f.close, some[:min(len(some), 125-min(len(f.close), 125))]...)
	}
	if f.left == 0 {
		f.end()
	}
	return b[n:]
}

// data reports whether the frame carries MQTT.
func (f *frames) data() bool { return f.opcode == opBinary || f.opcode == opContinuation && f.binary }

// end ends a frame.
func (f *frames) end() {
	if f.opcode != opClose {
		return
	}
	code, reason := "", ""
	if len(f.close) >= 2 {
		code = fmt.Sprintf(" %d", binary.BigEndian.Uint16(f.close))
		if text := f.close[2:]; len(text) > 0 && utf8.Valid(text) {
			reason = fmt.Sprintf(" %q", text)
		}
	}
	f.say(false, "", "%[1]v closes the WebSocket:%[2]s%[3]s", "%[4]s关闭 WebSocket：%[2]s%[3]s", f.side.from, code, reason, f.side.from.zh())
	f.dead = true
}

// gap skips bytes that were not captured. A gap within the payload of a frame does not lose the position
// of the next frame.
func (f *frames) gap(n int64) {
	switch {
	case f.dead:
	case f.inside && f.left >= uint64(n):
		f.left -= uint64(n)
		f.at += int(n & 3)
		if f.data() {
			f.side.stream.Gap(n)
		}
	default:
		f.say(false, "", "the start of a WebSocket frame was not captured: what follows cannot be read", "WebSocket 帧的边界未被捕获：其后内容无法读取")
		f.dead = true
	}
}

// A frameHead is the header of a frame.
type frameHead struct {
	opcode, reserved byte
	masked           bool
	mask             [4]byte
	size             uint64
	length           int // of the head
}

// parseFrame parses the header of a frame; ok is false if it is incomplete.
func parseFrame(b []byte) (h frameHead, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h.opcode, h.reserved, h.masked, h.size, h.length = b[0]&15, b[0]>>4&7, b[1]&0x80 != 0, uint64(b[1]&0x7F), 2
	switch h.size {
	case 126:
		h.length = 4
	case 127:
		h.length = 10
	}
	at := h.length
	if h.masked {
		h.length += 4
	}
	if len(b) < h.length {
		return h, false
	}
	switch at {
	case 4:
		h.size = uint64(binary.BigEndian.Uint16(b[2:]))
	case 10:
		h.size = binary.BigEndian.Uint64(b[2:]) &^ (1 << 63)
	}
	if h.masked {
		copy(h.mask[:], b[at:])
	}
	return h, true
}

// frameOf returns the contents of the binary frame at the start of b, if it is complete.
func frameOf(b []byte) (inside []byte, masked, ok bool) {
	h, ok := parseFrame(b)
	if !ok || h.opcode != opBinary || h.reserved != 0 || h.size > uint64(len(b)-h.length) {
		return nil, false, false
	}
	inside = bytes.Clone(b[h.length : h.length+int(h.size)])
	if h.masked {
		for i := range inside {
			inside[i] ^= h.mask[i&3]
		}
	}
	return inside, h.masked, true
}
