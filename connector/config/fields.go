package config

import (
	"github.com/mqtt311/mqtt311/connector"
	"go.yaml.in/yaml/v3"
)

func sub(fields []field) readFunc {
	return func(r *reader, path string, n *yaml.Node) { r.object(path, n, fields) }
}

// root returns the fields of a file, in the order of the schema.
func root(c *connector.Config) []field {
	version := 1
	return []field{
		{key: "version", zh: "版本", read: integer(&version, 1, 1)},
		{key: "connector", zh: "连接器配置", also: []string{"连接器"}, required: true, read: sub(sections(&c.General, &c.Advanced, &c.Extension))},
		{key: "connections", zh: "其他连接", read: named(&c.Connections, func(n *connector.Connection) readFunc { return sub(sections(&n.General, &n.Advanced, &n.Extension)) },
			sections(new(connector.General), new(connector.Advanced), new(connector.Extension)))},
		{key: "consumers", zh: "Consumer 操作", also: []string{"Consumer", "消费者", "消费消息", "Consumer（消费消息）"},
			read: named(&c.Consumers, func(p *connector.ConsumerParams) readFunc { return sub(consumer(p)) }, consumer(new(connector.ConsumerParams)))},
		{key: "producers", zh: "Producer 操作", also: []string{"Producer", "生产者", "生产消息", "Producer（生产消息）"},
			read: named(&c.Producers, func(p *connector.ProducerParams) readFunc { return sub(producer(p)) }, producer(new(connector.ProducerParams)))},
		{key: "nats", zh: "NATS 流", also: []string{"JetStream"}, read: natsSection(&c.NATS)},
	}
}

func sections(g *connector.General, a *connector.Advanced, x *connector.Extension) []field {
	return []field{
		{key: "general", zh: "通用配置", also: []string{"通用配置标签页", "通用"}, required: true, read: sub(general(g))},
		{key: "advanced", zh: "高级配置", also: []string{"高级配置标签页", "高级"}, read: sub(advanced(a))},
		{key: "extension", zh: "扩展配置", also: []string{"扩展配置标签页", "扩展"}, read: sub(extension(x))},
	}
}

// labels returns the labels of all keys that have one.
func labels() map[string]string {
	out := make(map[string]string)
	c := new(connector.Config)
	for _, fields := range [][]field{root(c), sections(&c.General, &c.Advanced, &c.Extension), general(&c.General), advanced(&c.Advanced), extension(&c.Extension),
		consumer(new(connector.ConsumerParams)), producer(new(connector.ProducerParams)), onFailure(new(connector.OnFailure)), nats(new(connector.NATS))} {
		for _, f := range fields {
			if _, twice := out[f.key]; f.zh != "" && !twice {
				out[f.key] = f.zh
			}
		}
	}
	return out
}

func general(g *connector.General) []field {
	return []field{
		{key: "broker_url", zh: "Broker URL", required: true, read: expanded(&g.BrokerURL)},
		{key: "protocol", zh: "连接协议", read: choice(&g.Protocol, connector.ParseProtocol, "TCP", "TLS", "WebSocket", "WebSocket Secure")},
		{key: "client_id", zh: "Client ID", required: true, read: clientID(&g.ClientID)},
		{key: "username", zh: "用户名", read: maybeSecret(&g.UserName, &g.UserNameFrom)},
		{key: "password", zh: "密码", read: secret(&g.Password, &g.PasswordFrom)},
		{key: "tls_client_cert", zh: "TLS 客户端证书", read: pemFile(&g.TLSClientCert)},
		{key: "tls_client_key", zh: "TLS 客户端 Key", read: keyFile(&g.TLSClientKey, &g.TLSClientKeyFrom)},
		{key: "tls_server_cert", zh: "TLS 服务端证书", read: pemFile(&g.TLSServerCert)},
	}
}

func advanced(a *connector.Advanced) []field {
	return []field{
		{key: "will_enabled", zh: "是否启用遗嘱消息", read: boolean(&a.WillEnabled)},
		{key: "will_topic", zh: "遗嘱主题", read: expanded(&a.WillTopic)},
		{key: "will_payload", zh: "遗嘱内容", read: text(&a.WillPayload)},
		{key: "will_qos", zh: "遗嘱 QoS", read: choice(&a.WillQoS, connector.ParseQoS, "At Most Once (0)", "At Least Once (1)", "Exactly Once (2)")},
		{key: "will_retained", zh: "是否保存遗嘱消息", read: boolean(&a.WillRetained)},
		{key: "clean_session", zh: "是否清除会话", read: optionalBool(&a.CleanSession)},
		{key: "order", zh: "是否顺序发送", read: boolean(&a.Order)},
		{key: "keep_alive", zh: "keep-alive 超时时间", read: duration(&a.KeepAlive)},
		{key: "ping_timeout", zh: "ping 超时时间", read: timeout(&a.PingTimeout)},
		{key: "connect_timeout", zh: "connect 超时时间", read: timeout(&a.ConnectTimeout)},
		{key: "auto_reconnect", zh: "是否自动重试连接", read: boolean(&a.AutoReconnect)},
		{key: "max_reconnect_interval", zh: "reconnect 最大间隔时间", read: duration(&a.MaxReconnectInterval)},
		{key: "connect_retry", zh: "是否重试 connect", read: boolean(&a.ConnectRetry)},
		{key: "connect_retry_interval", zh: "connect 重试间隔时间", read: duration(&a.ConnectRetryInterval)},
		{key: "write_timeout", zh: "write 超时时间", read: timeout(&a.WriteTimeout)},
	}
}

func extension(x *connector.Extension) []field {
	return []field{
		{key: "failover_urls", zh: "备用服务端", read: list(&x.FailoverURLs, func(s *string) readFunc { return expanded(s) })},
		{key: "proxy", zh: "代理", read: secret(&x.Proxy, &x.ProxyFrom)},
		{key: "tls_server_name", zh: "TLS 服务端名称", read: text(&x.TLSServerName)},
		{key: "tls_insecure_skip_verify", zh: "不验证服务端证书", read: boolean(&x.TLSInsecureSkipVerify)},
		{key: "tls_alpn", zh: "TLS ALPN", read: list(&x.TLSALPN, func(s *string) readFunc { return text(s) })},
		{key: "tls_min_version", zh: "TLS 最低版本", read: text(&x.TLSMinVersion)},
		{key: "ws_headers", zh: "WebSocket 请求头", read: headers(&x.WSHeaders, &x.WSHeadersFrom)},
		{key: "max_packet_size", zh: "最大报文", read: integer(&x.MaxPacketSize, 1024, largestPacket)},
		{key: "max_inflight", zh: "最大在途消息数", read: integer(&x.MaxInflight, 1, 16384)},
		{key: "max_inflight_qos2", zh: "QoS 2 最大在途消息数", read: integer(&x.MaxInflightQoS2, 1, 16384)},
		{key: "qos0_overflow", zh: "QoS 0 溢出", read: choice(&x.QoS0Overflow, connector.ParseOverflow, "drop_oldest", "drop_newest")},
		{key: "ack_timeout", zh: "应答超时时间", read: timeout(&x.AckTimeout)},
		{key: "producer_connection", zh: "Producer 的连接", read: choice(&x.ProducerConnection, connector.ParseProducerConnection, "shared", "separate")},
		{key: "stall_timeout", zh: "停滞时间", read: duration(&x.StallTimeout)},
		{key: "topic_characters", zh: "主题字符", read: choice(&x.TopicCharacters, connector.ParseTopicCharacters, "strict", "any")},
		{key: "oversize", zh: "超长消息", read: choice(&x.Oversize, connector.ParseFaultPolicy, "skip", "stop")},
		{key: "malformed", zh: "畸形消息", read: choice(&x.Malformed, connector.ParseFaultPolicy, "skip", "stop")},
		{key: "unmatched", zh: "未匹配的消息", read: choice(&x.Unmatched, connector.ParseUnmatched, "NAME", "dead_letter", "hold", "drop")},
		{key: "error_format", zh: "错误格式", read: choice(&x.ErrorFormat, connector.ParseErrorFormat, "platform", "extended")},
		{key: "session_store", zh: "会话存储", read: sessionStore(&x.SessionStore)},
	}
}

// sessionStore reads "memory" or the settings of a store.
func sessionStore(to **connector.SessionStore) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if v := resolve(n); v.Kind == yaml.ScalarNode && v.Value == "memory" {
			return
		}
		k := new(connector.SessionStore)
		r.object(path, n, []field{
			{key: "dir", zh: "目录", required: true, read: func(r *reader, path string, n *yaml.Node) {
				expanded(&k.Dir)(r, path, n)
				k.Dir = r.file(path, n, k.Dir)
			}},
			{key: "sync", zh: "落盘", read: choice(&k.Sync, connector.ParseSync, "always", "interval", "never")},
			{key: "max_bytes", zh: "最大字节数", read: integer(&k.MaxBytes, 1<<16, 1<<31-1)},
			{key: "max_messages", zh: "最大消息数", read: integer(&k.MaxMessages, 1, 1<<31-1)},
			{key: "allow_shared", zh: "允许共享目录", read: boolean(&k.AllowShared)},
		})
		*to = k
	}
}

func consumer(p *connector.ConsumerParams) []field {
	return []field{
		{key: "topics", zh: "订阅主题", required: true, read: list(&p.Topics, topic)},
		{key: "qos", zh: "QoS", read: choice(&p.QoS, connector.ParseQoS, "At Most Once (0)", "At Least Once (1)", "Exactly Once (2)")},
		{key: "ack_mode", zh: "确认模式", read: choice(&p.AckMode, connector.ParseAckMode, "after_flow_success (流运行成功后确认)", "immediately (流开始前立即确认)")},
		{key: "concurrency", zh: "并发数", read: integer(&p.Concurrency, 1, 65535)},
		{key: "order_by", zh: "排序范围", read: choice(&p.OrderBy, connector.ParseOrderBy, "connection", "topic", "none")},
		{key: "max_in_flight", zh: "最大处理中消息数", read: integer(&p.MaxInFlight, 1, 65535)},
		{key: "max_in_flight_bytes", zh: "最大处理中字节数", read: integer(&p.MaxInFlightBytes, 1024, 1<<31-1)},
		{key: "flow_timeout", zh: "流超时时间", read: duration(&p.FlowTimeout)},
		{key: "on_failure", zh: "失败时", read: sub(onFailure(&p.OnFailure))},
		{key: "share_group", zh: "共享组", read: text(&p.ShareGroup)},
		{key: "partition", zh: "分区", read: partition(&p.Partition)},
		{key: "retained", zh: "保留消息", read: choice(&p.Retained, connector.ParseRetained, "deliver", "skip", "only")},
		{key: "mime_type", zh: "MIME 类型", read: text(&p.MimeType)},
		{key: "encoding", zh: "编码", read: text(&p.Encoding)},
		{key: "trigger_on_error", zh: "错误时触发", read: boolean(&p.TriggerOnError)},
		{key: "ledger", zh: "台账", read: boolean(&p.Ledger)},
		{key: "extended_attributes", zh: "扩展属性", read: boolean(&p.ExtendedAttributes)},
	}
}

// topic reads a filter, or a filter with its own QoS.
func topic(t *connector.TopicQoS) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if resolve(n).Kind == yaml.ScalarNode {
			expanded(&t.Topic)(r, path, n)
			return
		}
		r.object(path, n, []field{
			{key: "topic", required: true, read: expanded(&t.Topic)},
			{key: "qos", zh: "QoS", read: func(r *reader, path string, n *yaml.Node) {
				choice(&t.QoS, connector.ParseQoS, "At Most Once (0)", "At Least Once (1)", "Exactly Once (2)")(r, path, n)
				t.HasQoS = true
			}},
		})
	}
}

func partition(to **connector.Partition) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		p := new(connector.Partition)
		r.object(path, n, []field{
			{key: "index", zh: "序号", read: ordinal(&p.Index)},
			{key: "count", zh: "总数", required: true, read: integer(&p.Count, 1, 65535)},
			{key: "key", zh: "键", read: templated(&p.Key)},
			{key: "lease", zh: "租约", read: expanded(&p.Lease)},
		})
		switch _, numbered := r.places[path+".index"]; {
		case p.Lease != "" && numbered:
			r.fail("E165/index", path+".index", r.places[path+".index"])
		case r.places[path+".lease"] == nil && !numbered && resolve(n).Kind == yaml.MappingNode:
			r.fail("E133", path+".index", n)
		}
		*to = p
	}
}

// largestPacket is the size of the largest packet of MQTT in bytes.
const largestPacket = 268_435_460

func onFailure(f *connector.OnFailure) []field {
	return []field{
		{key: "retries", zh: "重试次数", read: optionalInt(&f.Retries, -1, 1<<31-1)},
		{key: "initial_delay", zh: "首次间隔", read: duration(&f.InitialDelay)},
		{key: "max_delay", zh: "最大间隔", read: duration(&f.MaxDelay)},
		{key: "retry_on", zh: "重试的错误", read: list(&f.RetryOn, errorType)},
		{key: "then", zh: "之后", read: choice(&f.Then, connector.ParseDisposition, "dead_letter", "drop", "hold", "stop")},
		{key: "dead_letter", zh: "死信", read: sub([]field{
			{key: "topic", zh: "主题", read: expanded(&f.DeadLetterTopic)},
			{key: "file", zh: "文件", read: func(r *reader, path string, n *yaml.Node) {
				text(&f.DeadLetterFile)(r, path, n)
				f.DeadLetterFile = r.file(path, n, f.DeadLetterFile)
			}},
			{key: "max_oversize", zh: "最大超长消息", read: optionalInt(&f.DeadLetterMaxOversize, 0, largestPacket)},
			{key: "meta", zh: "元数据", read: boolean(&f.DeadLetterMeta)},
		})},
	}
}

func producer(p *connector.ProducerParams) []field {
	return []field{
		{key: "topic", zh: "主题", required: true, read: templated(&p.Topic)},
		{key: "payload", zh: "消息内容", read: optionalText(&p.Payload)},
		{key: "qos", zh: "QoS", read: orTemplate(choice(&p.QoS, connector.ParseQoS, "At Most Once (0)", "At Least Once (1)", "Exactly Once (2)"), &p.QoSFrom)},
		{key: "retained", zh: "是否保存消息", read: orKeep(orTemplate(boolean(&p.Retained), &p.RetainedFrom), &p.KeepRetained)},
		{key: "connection", zh: "所用连接", read: text(&p.Connection)},
		{key: "topic_characters", zh: "主题字符", read: choice(&p.TopicCharacters, connector.ParseTopicCharacters, "strict", "any")},
		{key: "done_when", zh: "完成条件", read: choice(&p.DoneWhen, connector.ParseDoneWhen, "confirmed", "stored")},
		{key: "ack_timeout", zh: "应答超时时间", read: timeout(&p.AckTimeout)},
		{key: "max_in_flight", zh: "最大处理中消息数", read: integer(&p.MaxInFlight, 1, 65535)},
	}
}
