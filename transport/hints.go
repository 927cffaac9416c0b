package transport

import "errors"

// A Hint is advice for the user on what to do about an error, in English and Chinese.
type Hint struct {
	Code string // identifies the error for programs; empty if the error is of another package
	EN   string
	ZH   string
}

// HintOf returns the Hint for err, and whether there is one. It knows the errors of this package,
// of transport/ws and transport/proxy, including those of Read and Write of their connections. For
// other errors it uses their methods Hint and HintZH, which client.HandshakeError has, for example.
func HintOf(err error) (Hint, bool) {
	if err == nil {
		return Hint{}, false
	}
	if h, ok := ownHint(err); ok {
		return h, true
	}
	var knows interface {
		Hint() string
		HintZH() string
	}
	if errors.As(err, &knows) && knows.Hint() != "" {
		return Hint{EN: knows.Hint(), ZH: knows.HintZH()}, true
	}
	return Hint{}, false
}

func ownHint(err error) (Hint, bool) {
	code := codeOf(err)
	for _, h := range hints {
		if h.Code == code {
			return h, true
		}
	}
	return Hint{}, false
}

// Hints returns all hints, ordered by step.
func Hints() []Hint { return append([]Hint(nil), hints...) }

// docs/transport.md shows each with its message, and a test compares them.
var hints = []Hint{
	{"options",
		"Correct the URL or the option that the message names; nothing was dialled.",
		"请按提示修正 URL 或选项；尚未发起任何连接。"},
	{"canceled",
		"The program gave up before the connection was open; nothing is left behind.",
		"程序在连接建立之前主动取消；没有遗留任何资源。"},

	{"no-such-host",
		"Check the spelling of the host name, and that this machine's DNS knows it.",
		"请检查主机名拼写，并确认本机 DNS 能解析该名称。"},
	{"resolve-failed",
		"The DNS server failed or refused; check the network and this machine's resolver.",
		"DNS 服务器出错或拒绝应答；请检查网络和本机的 DNS 配置。"},
	{"timeout-resolve",
		"The DNS server does not answer; check the network and this machine's resolver.",
		"DNS 服务器没有应答；请检查网络和本机的 DNS 配置。"},

	{"refused",
		"Nothing listens on this port; check host and port, and that the server runs.",
		"该端口没有服务在监听；请检查主机和端口，并确认服务端已启动。"},
	{"unreachable",
		"There is no route to this address; check the network, a VPN or the firewall.",
		"无法路由到该地址；请检查网络、VPN 或防火墙。"},
	{"local-address",
		"This machine cannot connect from the local address: it is not one of this machine, or of the other kind (IPv4, IPv6) than the server's.",
		"无法从该本地地址发起连接：它不是本机地址，或与服务端地址的类型（IPv4、IPv6）不同。"},
	{"timeout-tcp",
		"No answer from this address: often a firewall that drops packets, or a wrong address.",
		"该地址没有应答：通常是防火墙丢弃了报文，或地址有误。"},
	{"no-such-file",
		"Check the path: neither a file nor a socket is there.",
		"请检查路径：该处没有文件或套接字。"},
	{"permission",
		"This program's user may not open it; change its owner or mode.",
		"当前运行用户无权打开；请调整属主或权限。"},
	{"speaks-tls",
		"This port expects TLS: use mqtts:// or wss://.",
		"该端口要求 TLS：请使用 mqtts:// 或 wss://。"},
	{"speaks-http",
		"This port speaks HTTP: use ws:// with the server's path, or the port for MQTT over TCP.",
		"该端口使用 HTTP：请使用 ws:// 并带上服务端路径，或改用 MQTT TCP 端口。"},

	{"proxy-unreachable",
		"The proxy itself cannot be reached; check its address, or whether a proxy is needed.",
		"无法连接代理本身；请检查代理地址，或确认是否需要代理。"},
	{"proxy-login",
		"The proxy wants a user name and a password, or refuses those given.",
		"代理要求用户名和密码，或拒绝了所提供的凭据。"},
	{"proxy-refused",
		"The proxy does not connect to this server; ask who runs it to allow host and port.",
		"代理拒绝连接该服务端；请联系代理管理员放行该主机和端口。"},
	{"proxy-answer",
		"What answered does not behave like this kind of proxy; check its scheme and port.",
		"应答方不像该类型的代理；请检查代理的协议和端口。"},
	{"timeout-proxy",
		"The proxy does not answer; check its address and that it reaches the server.",
		"代理没有应答；请检查代理地址，并确认代理能访问服务端。"},
	{"closed-proxy",
		"The proxy ended the connection; check its scheme and port, and whether it allows this server.",
		"代理关闭了连接；请检查代理的协议和端口，以及是否允许访问该服务端。"},

	{"tls-options",
		"Correct the TLS option or the file that the message names.",
		"请修正提示中的 TLS 选项或文件。"},
	{"unknown-authority",
		"The server's certificate comes from an authority that is not trusted here: give that authority's certificate, or the server's own, as the server certificate.",
		"服务端证书的签发机构不受信任：请把该机构的证书或服务端自身的证书配置为“TLS 服务端证书”。"},
	{"expired",
		"The server's certificate has ended: it must be renewed at the server; check this machine's clock too.",
		"服务端证书已过期：需要在服务端更新；也请检查本机时钟。"},
	{"not-yet-valid",
		"The server's certificate is not valid yet: check this machine's clock.",
		"服务端证书尚未生效：请检查本机时钟。"},
	{"wrong-name",
		"The certificate is for other names, which the message lists: use one of them as host, or set the server name.",
		"证书属于其他名称（见错误信息）：请使用其中之一作为主机名，或设置服务端名称。"},
	{"no-names",
		"The server's certificate names no host as subject alternative name, which is needed since 2017: it must be issued anew.",
		"服务端证书没有 SAN（使用者可选名称）：需要重新签发。"},
	{"unfit-certificate",
		"The server's certificate, or one behind it, may not be used for a server; it must be issued anew.",
		"服务端证书或其上级证书不能用于服务端：需要重新签发。"},
	{"client-certificate-required",
		"The server wants a client certificate: give the client certificate and its key.",
		"服务端要求客户端证书：请配置“TLS 客户端证书”和“TLS 客户端 Key”。"},
	{"client-certificate-refused",
		"The server refuses the client certificate: check that it has not ended and that the server trusts who issued it.",
		"服务端拒绝了客户端证书：请检查证书是否过期，以及签发机构是否被服务端信任。"},
	{"old-tls",
		"Client and server have no version of TLS in common; 1.2 is the least here, so the server needs an upgrade.",
		"客户端与服务端没有共同的 TLS 版本；客户端最低要求 TLS 1.2，服务端需要升级。"},
	{"alpn",
		"The server knows none of the application protocols (ALPN) offered; ask for their names, or offer none.",
		"服务端不支持所提供的应用层协议（ALPN）；请确认协议名称，或不提供。"},
	{"unknown-server-name",
		"The server has no certificate for this name; check the host or the server name.",
		"服务端没有对应该名称的证书；请检查主机名或服务端名称设置。"},
	{"tls-refused",
		"The server refused the TLS handshake: often a client certificate is missing; the server's log says why.",
		"服务端拒绝了 TLS 握手：通常是缺少客户端证书；原因请查看服务端日志。"},
	{"not-tls",
		"This port does not speak TLS: use mqtt:// or ws://, or the server's port for TLS, often 8883.",
		"该端口不支持 TLS：请使用 mqtt:// 或 ws://，或改用服务端的 TLS 端口（通常为 8883）。"},
	{"closed-tls",
		"The server ended the connection during the TLS handshake: often this port does not speak TLS, or a client certificate is missing.",
		"服务端在 TLS 握手期间关闭了连接：通常是该端口不支持 TLS，或缺少客户端证书。"},
	{"timeout-tls",
		"The server does not answer the TLS handshake: often this port does not speak TLS.",
		"服务端没有应答 TLS 握手：通常是该端口不支持 TLS。"},

	{"ws-login",
		"The server wants other credentials for WebSocket: check headers, token or query, and whether they have expired.",
		"服务端拒绝了 WebSocket 的凭据：请检查请求头、令牌或查询参数，以及是否已过期。"},
	{"ws-path",
		"There is no WebSocket at this path: servers often use /mqtt, /ws or /.",
		"该路径上没有 WebSocket：服务端常用 /mqtt、/ws 或 /。"},
	{"ws-redirect",
		"The server sends clients elsewhere, which is not followed: use the address it names, often wss instead of ws.",
		"服务端要求重定向，客户端不会跟随：请直接使用目标地址，通常是把 ws 改为 wss。"},
	{"ws-refused",
		"The server or a gateway before it refuses WebSocket; the status and text say why.",
		"服务端或其网关拒绝了 WebSocket；原因见状态码和文本。"},
	{"ws-answer",
		"What answered is not a WebSocket server; check the port, and ws against mqtt.",
		"应答方不是 WebSocket 服务端；请检查端口，以及协议是 ws 还是 mqtt。"},
	{"ws-subprotocol",
		"The server does not speak MQTT on this WebSocket: check the path.",
		"该 WebSocket 上不提供 MQTT：请检查路径。"},
	{"ws-protocol",
		"The server, or something between, breaks the WebSocket protocol; a proxy on the way is a frequent cause.",
		"服务端或中间设备违反了 WebSocket 协议；常见原因是途中的代理。"},
	{"ws-closed",
		"The server closed the WebSocket; the code and text say why.",
		"服务端关闭了 WebSocket；原因见关闭码和文本。"},
	{"timeout-websocket",
		"The server does not answer the WebSocket handshake: often this port speaks MQTT over TCP, or TLS.",
		"服务端没有应答 WebSocket 握手：通常该端口是 MQTT TCP 端口，或要求 TLS。"},
	{"closed-websocket",
		"The server ended the connection during the WebSocket handshake: often this port speaks MQTT over TCP, or TLS.",
		"服务端在 WebSocket 握手期间关闭了连接：通常该端口是 MQTT TCP 端口，或要求 TLS。"},
}
