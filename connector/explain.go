package connector

// An explanation is what an error type means and what to try, in both languages.
type explanation struct{ en, zh string }

var explanations = map[ErrorType]explanation{
	TypeRuntime:             {"The flow failed. See the description.", "流运行失败，详见 Description。"},
	TypeConfig:              {"The configuration, or the use of the connector, is wrong. Run check.", "配置或用法有误，请检查配置。"},
	TypeExpression:          {"An expression names something that the message does not have. Compare it with the message.", "表达式引用的内容在消息中不存在，请对照消息核对表达式。"},
	TypeTimeout:             {"The flow took too long. Raise flow_timeout, or make it faster.", "流运行超时，请调大 flow_timeout 或优化流。"},
	TypeCancelled:           {"It was cancelled, because the connector stops or the caller gave up.", "已取消：连接器正在停止，或调用方已放弃。"},
	TypeRetryExhausted:      {"Every retry failed. The description has the last error.", "重试次数已用尽，Description 为最后一次错误。"},
	TypeRedeliveryExhausted: {"The process died while the flow of this message ran, again and again. Look at the message and at what the flow does with it.", "处理该消息的流反复导致进程崩溃，请检查该消息以及流对它的处理。"},
	TypeConnectivity:        {"The server cannot be reached. Check the address, the port, and firewalls.", "无法连接服务端，请检查地址、端口与防火墙。"},
	TypeTLS:                 {"The TLS handshake failed. Check the certificates, the host name, and that the port speaks TLS.", "TLS 握手失败，请检查证书、主机名以及端口是否为 TLS。"},
	TypeWebSocket:           {"The WebSocket handshake failed. Check the path and the port.", "WebSocket 握手失败，请检查路径与端口。"},
	TypeConnectTimeout:      {"The server took the connection and did not answer CONNECT. Is it an MQTT port of this protocol?", "服务端接受了连接但未应答 CONNECT，请确认端口与连接协议一致。"},
	TypePingTimeout:         {"The server fell silent. Check the network.", "服务端无响应，请检查网络。"},
	TypeConnectionLost:      {"The connection ended. Set auto_reconnect to go on after that.", "连接已断开，可启用自动重试连接。"},
	TypeNotConnected:        {"There is no connection now.", "当前没有连接。"},
	TypeRefused:             {"The server refused the connection.", "服务端拒绝了连接。"},
	TypeProtocolVersion:     {"The server does not speak MQTT 3.1.1.", "服务端不支持 MQTT 3.1.1。"},
	TypeClientIDRejected:    {"The server does not accept the client id. Choose another.", "服务端不接受该客户端 ID，请更换。"},
	TypeUnavailable:         {"The server is not ready. Try later.", "服务端暂不可用，请稍后再试。"},
	TypeBadCredentials:      {"The user name or the password is wrong.", "用户名或密码错误。"},
	TypeNotAuthorized:       {"The server does not let this client in. Check its rights.", "服务端未授权该客户端，请检查权限。"},
	TypeProtocol:            {"The server sent what MQTT 3.1.1 does not allow. Is it an MQTT server?", "服务端发送了不符合 MQTT 3.1.1 的内容，请确认其为 MQTT 服务端。"},
	TypeSubscribe:           {"The server did not answer SUBSCRIBE.", "服务端未应答订阅请求。"},
	TypeRejected:            {"The server refused a topic. Check the rights of the user.", "服务端拒绝了订阅主题，请检查用户权限。"},
	TypePublish:             {"The message was not published.", "消息发布失败。"},
	TypeInvalidTopic:        {"The topic cannot be published to: it is empty, too long, or has a wildcard.", "主题不合法：为空、过长或包含通配符。"},
	TypePublishTimeout:      {"The server did not confirm in time. Raise ack_timeout, or check the connection.", "服务端未在限时内确认，请调大 ack_timeout 或检查连接。"},
	TypeStore:               {"The session store cannot be opened or written. Look for another process that uses it, at the disk's space, and at the rights of the folder.", "会话存储无法打开或写入，请检查是否有其他进程占用、磁盘空间以及目录权限。"},
	TypeDeadLetter:          {"The dead letter could not be put away. Check the topic or the file.", "死信未能写入，请检查死信主题或文件。"},
}
