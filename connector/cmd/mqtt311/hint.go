package main

import (
	"errors"
	"io"
	"syscall"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport"
)

// hint says what to try, in the user's language; nothing if there is nothing to say.
func (p *program) hint(err error) string {
	var en, zh string
	if h, ok := transport.HintOf(err); ok {
		en, zh = h.EN, h.ZH
	}
	var h *handshakeError
	if errors.As(err, &h) {
		en, zh = handshakeHint(h)
	}
	if p.lang == "zh" {
		return zh
	}
	return en
}

// A handshakeError ended an attempt to connect after the transport was open.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// attempt marks err, unless the transport did not open.
func attempt(err error) error {
	var dial *transport.DialError
	if errors.As(err, &dial) {
		return err
	}
	return &handshakeError{err}
}

func handshakeHint(err error) (en, zh string) {
	var (
		refused  *client.RefusedError
		format   *packets.FormatError
		protocol *session.ProtocolError
	)
	switch {
	case errors.As(err, &refused):
		h := refusalHints[refused.Code]
		return h[0], h[1]
	case errors.Is(err, client.ErrConnectTimeout):
		return "The server took the connection and says nothing: check that port and protocol fit (a TLS or WebSocket port?).",
			"服务端接受了连接但没有应答：请核对端口与协议是否一致（是否为 TLS 或 WebSocket 端口？）。"
	case errors.As(err, &format), errors.As(err, &protocol):
		return "What answers does not speak MQTT 3.1.1: check host, port and protocol.",
			"对端不是 MQTT 3.1.1 服务：请核对主机、端口与协议。"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "The server closed the connection without an answer: check that port and protocol fit (a TLS port?), and that it lets this client in.",
			"服务端未应答即关闭了连接：请核对端口与协议是否一致（是否为 TLS 端口？），以及服务端是否允许该客户端。"
	}
	return "", ""
}

var refusalHints = map[packets.ConnectCode][2]string{
	packets.UnacceptableProtocolVersion: {"The server does not take MQTT 3.1.1; ask who runs it which versions it takes.", "服务端不接受 MQTT 3.1.1；请向管理员确认所支持的版本。"},
	packets.IdentifierRejected:          {"Choose another client id: some servers limit its length and characters.", "请更换客户端 ID：部分服务端限制其长度和字符。"},
	packets.ServerUnavailable:           {"The server is there but not ready; try again later.", "服务端暂不可用；请稍后重试。"},
	packets.BadUserNameOrPassword:       {"Check user name and password.", "请检查用户名和密码。"},
	packets.NotAuthorized:               {"Check user name and password, and that the server lets this client id in.", "请检查用户名和密码，以及服务端是否允许该客户端 ID。"},
}
