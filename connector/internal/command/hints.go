package command

import (
	"errors"
	"io"
	"syscall"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport"
)

// pubSubHints are hints for errors of pub and sub for which the connector's hints, which name
// settings of its configuration, would be wrong.
var pubSubHints = map[flow.ErrorType][2]string{
	flow.TypeConnectionLost:   {"The connection ended. The server's log may say why; another client with the same client id is a frequent reason.", "连接已断开。原因可查看服务端日志；常见原因是另一客户端使用了同一客户端 ID。"},
	flow.TypeWriteTimeout:     {"The server took no data for 30 seconds. Check the network and the server's load.", "服务端 30 秒内未接收数据，请检查网络与服务端负载。"},
	flow.TypeSubscribe:        {"The server refused the subscription or did not answer it. Check the rights of the user for these topics.", "服务端拒绝或未应答订阅，请检查用户对这些主题的权限。"},
	flow.TypeRejected:         {"The server refused a topic filter. Check the rights of the user.", "服务端拒绝了订阅主题，请检查用户权限。"},
	flow.TypeSubscribeTimeout: {"The server did not answer SUBSCRIBE in time. Check the server.", "服务端未在限时内应答订阅请求，请检查服务端。"},
	flow.TypePublishTimeout:   {"The server did not confirm in time. Check the connection.", "服务端未在限时内确认，请检查连接。"},
	flow.TypePayloadTooLarge:  {"MQTT has no packet larger than 256 MiB, and many servers allow less.", "MQTT 报文最大为 256 MiB，许多服务端的上限更低。"},
	flow.TypeRuntime:          {"", ""}, // no flow failed
	flow.TypeTimeout:          {"", ""},
	flow.TypePublish:          {"", ""}, // the text of the error is enough
}

// optionHints replace hints of package transport, by code, if an option of the command should be changed.
var optionHints = map[string][2]string{
	"unknown-authority":           {"The server's certificate comes from an authority that is not trusted here: give that authority's certificate with --cafile.", "服务端证书的签发机构不受信任：请用 --cafile 给出该机构的证书。"},
	"wrong-name":                  {"The certificate is for other names, which the message lists: use one of them as host, or give it with --tls-servername.", "证书属于其他名称（见错误信息）：请使用其中之一作为主机名，或用 --tls-servername 给出。"},
	"unknown-server-name":         {"The server has no certificate for this name: check the host and --tls-servername.", "服务端没有对应该名称的证书：请检查主机名与 --tls-servername。"},
	"client-certificate-required": {"The server wants a client certificate: give it with --cert and --key.", "服务端要求客户端证书：请用 --cert 和 --key 给出。"},
	"client-certificate-refused":  {"The server refuses the client certificate of --cert: check that it has not expired and that the server trusts its issuer.", "服务端拒绝了 --cert 的客户端证书：请检查证书是否过期，以及签发机构是否被服务端信任。"},
	"alpn":                        {"The server knows none of the protocols of --tls-alpn: ask for their names, or leave it out.", "服务端不支持 --tls-alpn 给出的协议：请确认协议名称，或去掉该选项。"},
	"speaks-tls":                  {"This port expects TLS: add --tls.", "该端口要求 TLS：请加 --tls。"},
	"not-tls":                     {"This port does not speak TLS: give the server's port for TLS, often 8883. Without TLS everything, passwords included, is sent in clear.", "该端口不支持 TLS：请改用服务端的 TLS 端口（通常为 8883）。不用 TLS 时，包括密码在内的所有内容都以明文发送。"},
	"speaks-http":                 {"This port speaks HTTP: add --ws, with --ws-path if the server needs one, or give the port for MQTT over TCP.", "该端口使用 HTTP：请加 --ws（必要时用 --ws-path 给出路径），或改用 MQTT TCP 端口。"},
	"ws-login":                    {"The server wants other credentials for WebSocket: check --ws-header and --ws-path, and whether a token has expired.", "服务端拒绝了 WebSocket 的凭据：请检查 --ws-header 与 --ws-path，以及令牌是否过期。"},
	"ws-path":                     {"There is no WebSocket at this path: give another with --ws-path; servers often use /mqtt, /ws or /.", "该路径上没有 WebSocket：请用 --ws-path 给出其他路径，服务端常用 /mqtt、/ws 或 /。"},
}

// optionHint returns which option to change after an error of a connection made from options.
func (p *Program) optionHint(err error) (hint string, known bool) {
	if !p.byOptions {
		return "", false
	}
	of, _ := transport.HintOf(err)
	text, known := optionHints[of.Code]
	return p.Say(text[0], text[1]), known
}

// pubSubHint returns what to try after an error of pub or sub. known is false if the connector's
// hint is right.
func (p *Program) pubSubHint(err error) (hint string, known bool) {
	if !p.byOptions {
		return "", false
	}
	if errors.Is(err, client.ErrUnknown) {
		return p.unknownHint(err), true
	}
	text, known := pubSubHints[errorType(err)]
	if errors.Is(err, client.ErrNotSent) && errorType(err) == flow.TypeConnectionLost {
		return p.Say(text[0]+" Nothing was sent: it can be published again.", text[1]+"消息未发出，可以重发。"), known
	}
	return p.Say(text[0], text[1]), known
}

// unknownHint says, about an unanswered message, who ended the connection, whether the message may have arrived,
// and what to do.
func (p *Program) unknownHint(err error) string {
	again := p.Say("The message may have arrived: publishing it again may deliver it twice.", "消息可能已送达，重发可能重复。")
	switch {
	case closedByServer(err):
		return again + p.Say(" The server closed the connection without an answer, as servers do over a topic or a size that they forbid, and over another client with the same client id; its log says why.",
			"服务端没有应答而是关闭了连接：通常是禁止该主题或大小，或另一客户端使用了同一客户端 ID；原因见服务端日志。")
	case errors.Is(err, client.ErrConnectionLost):
		return again + p.Say(" The connection broke before the answer came: check the network.", "应答到达之前连接中断，请检查网络。")
	}
	return again + p.Say(" The server did not answer in time.", "服务端未及时应答。")
}

// closedByServer reports whether a connection ended because the other side closed it.
func closedByServer(err error) bool {
	for _, end := range []error{client.ErrPoison, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, session.ErrServerDisconnect} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}
