package lint

import "strings"

// About says in "en" or "zh" what a rule finds; code is as in [Finding]. It is empty for a code that
// there is not.
func About(code, lang string) string {
	for _, a := range about {
		if strings.Contains(a.codes, code) && len(code) == 4 {
			if lang == "zh" {
				return a.zh
			}
			return a.en
		}
	}
	return ""
}

// about is the table of docs/connector.md, in both languages.
var about = []struct{ codes, en, zh string }{
	{"E101", "TLS files with TCP or WebSocket", "协议为 TCP 或 WebSocket 却填写了 TLS 文件"},
	{"E102", "will settings without `will_enabled`", "未启用遗嘱却填写了遗嘱设置"},
	{"E103", "an interval without its switch", "填写了时间间隔，但未启用对应的开关"},
	{"E104, E111", "no client id, with a kept session or without", "没有客户端 ID（无论是否保留会话）"},
	{"E105", "a topic that is no Topic Filter", "订阅主题不合法"},
	{"E106", "a topic to publish to that is no Topic Name: of a producer, a will or a dead letter", "要发布到的主题不合法：Producer、遗嘱或死信的主题"},
	{"E107", "a password without a user name", "有密码而没有用户名"},
	{"E108", "a client certificate without its key, or the reverse", "只填写了客户端证书或只填写了其 Key"},
	{"E109", "`share_group` beside `partition`", "`share_group` 与 `partition` 同时填写"},
	{"E110", "a dead letter topic that the connector's own consumers receive", "死信主题会被本连接器自己的 Consumer 收到"},
	{"E112", "a client id or user name that is no MQTT string; a password that is too long", "客户端 ID 或用户名不是合法的 MQTT 字符串，或密码过长"},
	{"E113, E116", "a broker URL that is empty, or not `host:port`", "Broker URL 为空，或不是 `host:port`"},
	{"E114", "a scheme that does not fit the protocol", "协议头与连接协议不符"},
	{"E115", "credentials in the broker URL", "Broker URL 中包含用户名或密码"},
	{"E117", "a file that cannot be read: missing, a pipe or device, too large, empty, UTF-16", "文件无法读取：不存在、是管道或设备、过大、为空、UTF-16 编码"},
	{"E118", "a will above 65,535 bytes", "遗嘱内容超过 65535 字节"},
	{"E119", "a keep alive above 65,535 s", "keep-alive 超过 65535 秒"},
	{"E120, E123", "a consumer without topics, a producer without a topic", "Consumer 没有订阅主题，或 Producer 没有主题"},
	{"E121", "a share group with `/`, `+` or `#`", "共享组名包含 `/`、`+` 或 `#`"},
	{"E122", "a dead letter without a place, or with two", "死信没有去处，或有两个去处"},
	{"E124", "an expression that cannot be read", "表达式无法解析"},
	{"E125", "a negative number", "数值为负"},
	{"E126", "a partition index that is not below its count", "分区编号不小于分区总数"},
	{"E127, E129", "a second document; an empty file", "文件包含第二个文档，或为空"},
	{"E128", "text that is neither YAML nor JSON, with the usual reasons: tabs, colons, blanks and brackets of Chinese width, GBK, UTF-16 without its mark, control characters, comments and commas in JSON", "内容不是 YAML 或 JSON，并指出常见原因：制表符，全角冒号、空格和括号，GBK，缺少标记的 UTF-16，控制字符，JSON 中的注释和多余的逗号"},
	{"E130, E132, E133", "a key that is unknown (with the nearest one), there twice, or missing", "键不存在（给出最接近的键）、重复或缺失"},
	{"E131", "not an object; names that are missing in `consumers` and `producers`", "应为对象；`consumers` 和 `producers` 中缺少名称"},
	{"E134, E141", "not a single value, not a list", "应为单个值，或应为列表"},
	{"E135, E142", "an environment variable that is not set; an expression that means nothing there", "环境变量未设置，或表达式在此处无意义"},
	{"E136, E137, E138, E139", "not true or false, not a number in range, not a duration, not one of the choices", "不是 true 或 false、不是范围内的整数、不是时长、不在可选值之中"},
	{"E140", "a secret or a file given in no way, or in two", "保密内容或文件没有给出，或以两种方式给出"},
	{"E143, E144, E145", "a session store without a folder; a ledger, or `done_when: stored`, without a session store", "会话存储没有目录；有 ledger 或 `done_when: stored` 而没有会话存储"},
	{"E146", "a proxy that is neither a URL nor `env`", "代理既不是 URL 也不是 `env`"},
	{"E147", "`exec` without a command, or with one that cannot be run", "`exec` 没有命令，或命令无法执行"},
	{"E148", "a YAML tag that means nothing here, as `!secret` or `!ENV`", "此处不识别的 YAML 标签，例如 `!secret`、`!ENV`"},
	{"E149", "a control character or noncharacter in the topic of a producer with `topic_characters: strict`", "`topic_characters: strict` 时 Producer 的主题包含控制字符或非字符"},
	{"E150", "a dead letter file that is no regular file", "死信文件不是普通文件"},
	{"E151", "a header of the WebSocket handshake that cannot be sent", "WebSocket 握手的请求头无法发送"},
	{"W201", "`after_flow_success` at QoS 0: nothing is ever acknowledged", "QoS 0 与 `after_flow_success`：消息没有确认"},
	{"W202", "`after_flow_success` with a clean session: what is not acknowledged dies with the connection", "清除会话与 `after_flow_success`：未确认的消息会随连接丢失"},
	{"W203", "no limit of retries: a message that never succeeds holds those behind it", "没有重试上限：始终失败的消息会阻塞其后的消息"},
	{"W204", "a consumer without `auto_reconnect`", "有 Consumer 而未启用 `auto_reconnect`"},
	{"W205", "a port that is usual for another protocol", "端口通常用于另一种协议"},
	{"W206", "a path with TCP or TLS", "TCP 或 TLS 的地址带有路径"},
	{"W207", "a random client id with a kept session", "随机的客户端 ID 与保留会话同用"},
	{"W208", "`order: true` without `flow_timeout`", "`order: true` 而没有 `flow_timeout`"},
	{"W209", "keep alive is off", "keep-alive 已关闭"},
	{"W210", "topics that overlap, of one consumer or of two: a message may come twice, and run both flows each time", "订阅主题重叠（同一个或两个 Consumer）：消息可能收到两次，且每次都会运行两个流"},
	{"W211", "certificates are not verified", "不验证证书"},
	{"W212", "an empty retained payload, which deletes", "空的保留消息，会删除已保存的消息"},
	{"W213", "a password in clear text to another machine", "密码以明文发往另一台机器"},
	{"W214", "`concurrency` above `max_in_flight`", "`concurrency` 大于 `max_in_flight`"},
	{"W215", "a share group with a kept session", "共享组与保留会话同用"},
	{"W216", "a session store with a clean session", "会话存储与清除会话同用"},
	{"W217", "a ledger where nothing is acknowledged after its flow", "没有消息在流之后确认，ledger 不起作用"},
	{"W218", "a file with a secret or a key, the configuration included, that every user can read or others can write", "存放保密内容或 Key 的文件（包括配置文件）可被所有用户读取或被他人写入"},
	{"W219", "a number without a unit that looks like milliseconds: `keep_alive: 60000` is 16 h 40 m", "不带单位的数字看起来像毫秒：`keep_alive: 60000` 是 16 小时 40 分"},
	{"W220", "a keep alive above 20 minutes", "keep-alive 超过 20 分钟"},
	{"W221", "a time limit of the network below 100 ms", "网络超时小于 100 ms"},
	{"W222", "white space at an end of a topic, id or secret, or in a client id; characters that nobody sees", "主题、ID 或保密内容首尾有空白，客户端 ID 中有空白，或有不可见字符"},
	{"W223", "an empty level: `/` at an end of a topic, or `//`", "空的一级：主题首尾有 `/`，或中间有 `//`"},
	{"W224", "`／ ＋ ＃`, or a comma of any width, in a topic", "主题中有 `／ ＋ ＃` 或各种逗号"},
	{"W225", "what looks like a variable and is not replaced: `$NAME`, `%NAME%`, `{{ name }}`, `${env:NAME}` in a secret", "看起来像变量但不会替换：`$NAME`、`%NAME%`、`{{ name }}`，以及保密内容中的 `${env:NAME}`"},
	{"W226", "a comma too many in JSON", "JSON 中多了一个逗号"},
	{"W227", "quotation marks of Chinese width that are part of a value", "全角引号成为值的一部分"},
	{"W228", "a folder on the way to the session store that everybody, or another user, can change", "会话存储的上级目录可被所有人或其他用户改动"},
	{"W229", "a dead letter file that cannot be written now: its folder is missing, read-only, or of another user", "死信文件目前无法写入：目录不存在、只读或属于其他用户"},
}
