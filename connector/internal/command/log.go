package command

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
)

// logTo returns a log in the language of the user: text if w is a terminal, JSON lines otherwise.
func (p *Program) logTo(w io.Writer, screen *terminal.Screen, level slog.Leveler) *slog.Logger {
	var h slog.Handler
	if screen != nil && !p.JSON {
		h = terminal.NewLogHandler(terminal.LogOptions{W: w, Screen: screen, Level: level, Key: p.word})
	} else {
		h = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: readable})
	}
	return slog.New(translator{h, p})
}

// Log returns a log on standard error.
func (p *Program) Log() *slog.Logger {
	screen, _ := p.Stderr.(*terminal.Screen)
	if p.Quiet {
		return slog.New(slog.DiscardHandler)
	}
	if screen != nil {
		return p.logTo(screen.Raw(), screen, slog.LevelInfo)
	}
	return p.logTo(p.Stderr, nil, slog.LevelInfo)
}

// A sieve drops some records.
type sieve struct {
	slog.Handler
	drops func(message string) bool
}

func (h sieve) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sieve{h.Handler.WithAttrs(attrs), h.drops}
}
func (h sieve) WithGroup(name string) slog.Handler { return sieve{h.Handler.WithGroup(name), h.drops} }

func (h sieve) Handle(ctx context.Context, r slog.Record) error {
	if h.drops(r.Message) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// readable writes durations like 1.5s instead of in nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
	}
	return a
}

// A translator translates records into the language of the user.
type translator struct {
	slog.Handler
	p *Program
}

func (h translator) WithAttrs(attrs []slog.Attr) slog.Handler {
	return translator{h.Handler.WithAttrs(attrs), h.p}
}

func (h translator) WithGroup(name string) slog.Handler {
	return translator{h.Handler.WithGroup(name), h.p}
}

func (h translator) Handle(ctx context.Context, r slog.Record) error {
	if h.p.Lang != "zh" {
		return h.Handler.Handle(ctx, r)
	}
	out := slog.NewRecord(r.Time, r.Level, h.p.word(r.Message), r.PC)
	var t flow.ErrorType
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "type":
			t = flow.ErrorType(a.Value.String())
		case a.Key == "hint" && t != "":
			a.Value = slog.StringValue((&flow.Error{Type: t}).Explain("zh"))
		case a.Key == "reason" || a.Key == "error":
			if err, ok := a.Value.Any().(error); ok {
				a.Value = slog.StringValue(h.p.text(err))
			} else if a.Value.Kind() == slog.KindString {
				a.Value = slog.StringValue(chinese.Of(a.Value.String()))
			}
		case a.Key == "state" || a.Key == "by" || a.Key == "unmatched":
			a.Value = slog.StringValue(h.p.word(a.Value.String()))
		}
		out.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, out)
}

// word returns a word or message of a log in the language of the user.
func (p *Program) word(s string) string {
	if zh, ok := logWords[s]; ok && p.Lang == "zh" {
		return zh
	}
	return s
}

// logWords are the Chinese for the messages and attribute names in logs, of this package and those
// below.
var logWords = map[string]string{
	// Levels.
	"DEBUG": "调试", "INFO": "信息", "WARN": "警告", "ERROR": "错误",

	// The client and its session.
	"a call waits for the server, and Connect was not called yet": "有调用在等待服务端，但尚未调用 Connect",
	"waiting for Connect":  "等待 Connect",
	"connecting":           "连接中",
	"connected":            "已连接",
	"connect failed":       "连接失败",
	"connection lost":      "连接断开",
	"disconnected":         "已正常断开",
	"waiting to reconnect": "等待重连",
	"closed":               "已关闭",
	"inbox full":           "接收缓冲已满",
	"nobody consumes":      "没有程序取走消息",
	"disconnected until the application has taken messages": "已断开，待程序取走消息后重连",
	"parked":                         "暂离",
	"shedding":                       "暂不接收，消息留在服务端",
	"skipped":                        "已跳过",
	"unmatched":                      "无匹配",
	"message skipped":                "已跳过一条消息",
	"session lost":                   "服务端的会话已丢失",
	"released messages uncertain":    "会话丢失时部分 QoS 2 消息的结果未知",
	"session mismatch":               "服务端的会话与本端不一致",
	"subscription refused":           "服务端拒绝了订阅",
	"subscription downgraded":        "服务端降低了订阅的 QoS",
	"poison suspected":               "服务端可能因某条消息而断开连接",
	"poison":                         "服务端因该消息断开连接，已放弃该消息",
	"takeover suspected":             "可能有另一客户端使用同一客户端 ID",
	"stuck":                          "会话停滞",
	"identifiers cannot be released": "无法释放报文标识符",
	"message matches no handler; acknowledged and counted": "消息没有匹配的处理函数：已确认并计数",

	// The session store.
	"wal: the store was not closed, or was copied: Packet Identifiers are released again before their use at QoS 2": "会话存储未正常关闭或被复制过：QoS 2 使用前会重新释放报文标识符",
	"wal: a commit that was cut short is dropped":                                                                   "会话存储：丢弃了一次未写完的提交",
	"wal: there is room again": "会话存储：空间已恢复",
	"wal: a folder above the store belongs to another user, who can put another store in its place": "会话存储的上级目录属于其他用户，该用户可以替换存储",
	"wal: no new segment":                          "会话存储：无法创建新的分段",
	"wal: a file is left":                          "会话存储：有文件未能删除",
	"wal: a file that a crash has left is removed": "会话存储：已删除崩溃遗留的文件",
	"wal: a commit waits until there is room":      "会话存储：空间不足，提交等待中",

	// Files.
	"append: the file, or a folder above it, belongs to another user, who can take lines away": "--append 的文件或其上级目录属于其他用户，该用户可以取走已写入的行",
	"append: everybody can write to a folder above the file, and take lines away":              "所有用户都可以写入 --append 文件的上级目录，并取走已写入的行",

	// TLS.
	"transport: the name in the server's certificate is not verified: whoever holds any trusted certificate can pose as the server": "不校验服务端证书中的主机名：持有任一受信任证书者均可冒充服务端",
	"transport: the client certificate has ended":                                                            "客户端证书已过期",
	"transport: the client certificate ends soon":                                                            "客户端证书即将过期",
	"transport: the server's certificate is not verified: anybody on the way can read and change everything": "不校验服务端证书：传输途中任何人均可读取和篡改全部内容",
	"transport: the keys of TLS connections are written to a log":                                            "TLS 连接的密钥会写入日志",

	// The connector.
	"started":                     "已启动",
	"reconfigured":                "已应用新配置",
	"settings wait for a restart": "部分设置重启后生效",
	"the connector has trouble":   "连接器出现问题",
	"flow failed":                 "流程失败",
	"flow failed on an error of the connector":     "处理连接器错误的流程失败",
	"message dropped":                              "已丢弃消息",
	"message put away as a dead letter":            "消息已存为死信",
	"dead letter not written; the message is held": "死信写入失败，消息暂留",
	"a message matches no consumer":                "消息不匹配任何 Consumer",
	"a retained message was published without the retained flag; retained: keep keeps it": "保存的消息已以普通消息发布；retained: keep 可保留该标志",

	// The stream between the server and the flows.
	"the stream takes nothing; messages wait":                    "流存储不接收消息，消息排队等待",
	"the stream takes messages again":                            "流存储已恢复接收消息",
	"a message of the stream cannot be read, and is passed over": "流存储中的一条消息无法读取，已跳过",
	"a partition cannot be read; it is tried again":              "分区无法读取，稍后重试",
	"share taken":          "已取得份额",
	"share given back":     "已交还份额",
	"a share is worked on": "正在处理份额",
	"a share cannot be worked on, and is given back":                                 "份额无法处理，已交还",
	"another process has the share":                                                  "份额已归另一进程",
	"the server of the leases does not answer":                                       "租约服务端无应答",
	"the bucket of the leases was deleted, and is made anew":                         "租约存储桶已被删除，正在重新创建",
	"the server of the leases answers again":                                         "租约服务端已恢复应答",
	"a session is made":                                                              "已建立会话",
	"all sessions are made":                                                          "所有会话均已建立",
	"flows begin when each share has its session":                                    "每个分区都有会话后才开始处理消息",
	"the marks of the sessions cannot be read":                                       "无法读取会话标记",
	"the bucket of the leases is new: shares are taken when it is as old as the TTL": "租约存储桶是新建的：达到租约有效期后才分配分区",
	"connected to NATS":                                                              "已连接 NATS", "connection to NATS lost": "NATS 连接断开", "an error of NATS": "NATS 报错",
	"a secret for NATS cannot be read":            "NATS 的保密内容无法读取",
	"the servers of the stream are not there yet": "流存储的服务器尚不可用",
	"the stream does not tell its lag":            "无法获取流存储的积压",
	"the server does not tell who has the leases": "无法获取租约的持有者",

	// This command.
	"stopped":        "已停止",
	"flow succeeded": "流程成功",
	"listen":         "监听失败",
	"listening":      "监听中",
	"process ended":  "进程已结束",
	"sent":           "已发出", "received": "已收到", "packet": "报文",
	"late answer":                       "迟到的应答",
	"a line of standard input was read": "已读取标准输入的一行",
	"a line of standard input is done":  "标准输入的一行已完成",
	strayLine:                           `进程输出了一行不是应答的内容，已忽略：请将 {"id": ..., "ok": true} 写到标准输出，其他内容写到标准错误`,

	// Dead letters.
	"dead letter replayed":                          "已重放死信",
	"dead letter removed":                           "已删除死信",
	"dead letter copied":                            "已复制死信",
	"dead letters collected":                        "已收集死信",
	"dead letter not replayed; it stays":            "死信重放失败，予以保留",
	"the session at the server was removed":         "已删除服务端的会话",
	"ui: replayed a dead letter":                    "页面：已重放死信",
	"ui: a dead letter was not replayed, and stays": "页面：死信重放失败，予以保留",
	"ui: copied a dead letter":                      "页面：已复制死信",
	"ui: removed a dead letter":                     "页面：已删除死信",

	// The page.
	"ui: refused a wrong token":       "页面：拒绝了错误的令牌",
	"ui: saved the configuration":     "页面：已保存配置",
	"ui: applied a configuration":     "页面：已应用配置",
	"ui: tests a connection":          "页面：正在测试连接",
	"ui: listens to messages":         "页面：开始监听消息",
	"ui: listens no longer":           "页面：停止监听消息",
	"ui: published a message":         "页面：已发布消息",
	"ui: a message was not published": "页面：消息发布失败",
	"topics":                          "订阅主题", "qos": "QoS", "retained": "保留消息", "bytes": "字节",
	"broker_url": "服务端地址", "from": "来自", "restart": "重启后生效",

	// The names of attributes about a message.
	"topic": "主题", "id": "消息 ID", "attempt": "第几次", "attempts": "次数", "error": "错误", "reason": "原因", "again_in": "再试间隔",
	"type": "类型", "hint": "提示", "consumer": "Consumer", "consumers": "Consumer数", "producers": "Producer数", "filters": "订阅数",
	"connector": "连接器", "client_id": "客户端ID", "connection": "连接", "session_present": "会话存在", "held": "持续", "by": "断开方",
	"count": "数量", "line": "行", "lines": "行数", "bad": "无效", "left": "剩余", "left_in_store": "存储中剩余", "then": "之后", "took": "用时", "age": "已存在", "missing": "尚缺", "sessions": "会话", "made_for_another_configuration_by": "为其他配置建立者",
	"state": "状态", "stored": "已存储", "address": "地址", "answers": "应答数", "unanswered": "未应答", "alone": "单独运行", "server": "服务端",
	"certificate": "证书", "ended": "过期时间", "ends": "到期时间", "file": "文件", "retry_seconds": "重试秒数", "applied": "已生效",
	"subscribed": "新订阅", "unsubscribed": "退订", "settings": "设置", "charged": "计入次数", "stack": "调用栈", "key": "键", "filter": "订阅主题",
	"share": "份额", "epoch": "任期", "partition": "分区", "stream": "流存储", "group": "组", "bucket": "存储桶", "subject": "主题名", "number": "编号", "after": "历时",
	"messages": "消息数", "letter": "死信", "to": "目标", "copy": "副本", "left_out": "略去",
	"offset": "偏移", "segment": "分段", "sequence": "序号", "producer": "Producer",
	"too_large": "过大", "malformed": "格式错误", "code": "代码", "path": "位置", "folder": "目录", "owner": "属主", "column": "列", "fix": "修正",

	// The sides that can end a connection.
	"us": "本端", "the network": "网络", "the server": "服务端", "peer": "服务端",
	"acknowledge": "确认", "hold": "暂留", "dead_letter": "死信",
}
