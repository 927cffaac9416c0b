package command

import (
	"errors"
	"io"
	"syscall"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/session"
)

// pubSubHints say what to try about errors of pub and sub, where the words of a connector, with
// the settings of its configuration, do not fit.
var pubSubHints = map[flow.ErrorType][2]string{
	flow.TypeConnectionLost:   {"The connection ended. The server's log may say why; another client with the same client id is a frequent reason.", "连接已断开。原因可查看服务端日志；常见原因是另一客户端使用了同一客户端 ID。"},
	flow.TypeWriteTimeout:     {"The server took no data for 30 seconds. Check the network and the server's load.", "服务端 30 秒内未接收数据，请检查网络与服务端负载。"},
	flow.TypeSubscribe:        {"The server refused the subscription or did not answer it. Check the rights of the user for these topics.", "服务端拒绝或未应答订阅，请检查用户对这些主题的权限。"},
	flow.TypeRejected:         {"The server refused a topic filter. Check the rights of the user.", "服务端拒绝了订阅主题，请检查用户权限。"},
	flow.TypeSubscribeTimeout: {"The server did not answer SUBSCRIBE in time. Check the server.", "服务端未在限时内应答订阅请求，请检查服务端。"},
	flow.TypePublishTimeout:   {"The server did not confirm in time. Check the connection.", "服务端未在限时内确认，请检查连接。"},
	flow.TypePayloadTooLarge:  {"MQTT has no packet larger than 256 MiB, and many servers allow less.", "MQTT 报文最大为 256 MiB，许多服务端的上限更低。"},
	flow.TypeTLSUntrusted:     {"The server's certificate is of an authority that is not trusted. Give that authority's certificate with --cafile.", "服务端证书的签发机构不受信任，请用 --cafile 给出该机构的证书。"},
	flow.TypeTLSHostname:      {"The server's certificate is for another name. Correct the host, or give the name with --tls-servername.", "服务端证书与主机名不符，请修改主机名，或用 --tls-servername 给出名称。"},
	flow.TypeTLSClientCert:    {"The server wants another client certificate, or one at all. Check --cert and --key.", "服务端要求（或拒绝了）客户端证书，请检查 --cert 与 --key。"},
	flow.TypeRuntime:          {"", ""}, // no flow failed
	flow.TypeTimeout:          {"", ""},
	flow.TypePublish:          {"", ""}, // its text says it all
}

// pubSubHint says what to try about an error of pub or sub. known is false where the words of a
// connector fit.
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

// unknownHint says about a message without an answer who ended what, whether it may have arrived, and what to do.
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
