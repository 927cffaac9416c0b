package explain

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/packets"
)

// A code is the meaning of a number in the protocol, and what to do about it.
type code struct{ short, what Text }

// connectCodes are those of table 3.1, followed by a text for the reserved codes.
var connectCodes = []code{
	{Text{"accepted", "已接受"}, Text{"Nothing to do.", "无需处理。"}},
	{
		Text{"unacceptable protocol version", "不支持该协议版本"},
		Text{"The server does not speak MQTT 3.1.1. Check the port and what the server supports.", "服务端不支持 MQTT 3.1.1，请检查端口与服务端支持的版本。"},
	},
	{
		Text{"identifier rejected", "客户端 ID 被拒绝"},
		Text{"The client id is UTF-8 and not allowed: too long, with characters that the server does not take, empty with a kept session, or not this user's. Choose another.",
			"客户端 ID 不被允许：过长、含有服务端不接受的字符、保留会话时为空，或不属于该用户。请更换。"},
	},
	{
		Text{"server unavailable", "服务端不可用"},
		Text{"The connection works, the MQTT service does not. Try again later, or look at the server's log.", "网络连接正常，但 MQTT 服务不可用。请稍后重试或查看服务端日志。"},
	},
	{
		Text{"bad user name or password", "用户名或密码错误"},
		Text{"Check both. Some servers also send this where the client id does not belong to the user.", "请检查用户名和密码。客户端 ID 与用户不匹配时，部分服务端也返回此码。"},
	},
	{
		Text{"not authorized", "未授权"},
		Text{"The server does not let this client in: wrong or missing credentials, a certificate without rights, or an address that is not allowed. Check the rights at the server.",
			"服务端不允许该客户端接入：凭据有误或缺失、证书没有权限，或来源地址不被允许。请检查服务端的权限设置。"},
	},
	{
		Text{"reserved code", "保留的返回码"},
		Text{"MQTT 3.1.1 has no such code. Codes of 128 and above are those of MQTT 5, which some servers send to older clients, too.", "MQTT 3.1.1 没有此返回码。128 及以上为 MQTT 5 的返回码，部分服务端也会发给旧版客户端。"},
	},
}

// subackZH describes a return code of SUBACK in Chinese.
func subackZH(v int) string {
	switch {
	case v == 0:
		return "授予 QoS 0"
	case v == 1:
		return "授予 QoS 1"
	case v == 2:
		return "授予 QoS 2"
	case v >= 0x80:
		return "订阅失败"
	}
	return "保留值"
}

// An Explanation is what a code or a name means and what to do about it.
type Explanation struct {
	Name  string // in its full form
	Means Text
	Cases []Case // for a code with several causes
	Do    Text   // empty if the cases have it
	Facts []Text // further facts: the wider kind, whether a retry may help, exit codes
}

// A Case is one cause of a code.
type Case struct{ Says, Do Text }

// Code explains a word: a code of check such as E130, an error type such as MQTT:DNS or DNS, a return code such as
// "connack 5" or "suback 0x80", or an exit code such as "exit 6". If it does not know the word, it returns the
// nearest one that it knows, if there is one.
func Code(word string) (e Explanation, nearest string, ok bool) {
	word = strings.Join(strings.FieldsFunc(strings.ToUpper(word), func(r rune) bool { return r == ' ' || r == '=' || r == '\t' }), " ")
	for _, find := range []func(string) (Explanation, bool){findingCode, errorType, connackCode, subackCode, exitCode} {
		if e, ok := find(word); ok {
			return e, "", true
		}
	}
	return Explanation{}, near(word), false
}

// findingCode explains a code of check.
func findingCode(word string) (Explanation, bool) {
	means := Text{lint.About(word, "en"), lint.About(word, "zh")}
	if len(word) != 4 || means.EN == "" {
		return Explanation{}, false
	}
	kind := Text{"A mistake: the configuration cannot be used until it is mended.", "错误：修正之前配置无法使用。"}
	if word[0] == 'W' {
		kind = Text{"A warning: the configuration can be used, and may not do what is wanted.", "警告：配置可以使用，但可能不符合预期。"}
	}
	e := Explanation{Name: word, Means: means, Facts: []Text{kind}}
	for _, rule := range lint.Rules() {
		if code, _, _ := strings.Cut(rule, "/"); code == word {
			e.Cases = append(e.Cases, caseOf(rule))
		}
	}
	return e, true
}

// caseOf returns the texts of a rule, with … for the parts that come from a configuration.
func caseOf(rule string) Case {
	gaps := make([]any, 9)
	for i := range gaps {
		gaps[i] = "…"
	}
	f := lint.New(rule, "", gaps...)
	return Case{Text{f.Message, f.MessageZH}, Text{f.Fix, f.FixZH}}
}

// errorType explains an error type of the connector or the command.
func errorType(word string) (Explanation, bool) {
	t, ok := flow.ErrorType(word), false
	for _, known := range flow.Types() {
		_, name, _ := strings.Cut(string(known), ":")
		if word == string(known) || word == name {
			t, ok = known, true
		}
	}
	if !ok {
		return Explanation{}, false
	}
	e := &flow.Error{Type: t}
	means := Text{e.Explain("en"), e.Explain("zh")}
	retry := Text{"Nothing changes by itself: a retry fails as well.", "不改动则重试同样会失败。"}
	if t.Retryable() {
		retry = Text{"A retry may succeed although nothing is changed.", "不作改动，重试也可能成功。"}
	}
	facts := []Text{retry}
	if wide := t.Parent(); wide != flow.TypeAny {
		facts = append(facts, Text{fmt.Sprintf("It is a kind of %s: a retry_on that names %[1]s covers it.", wide),
			fmt.Sprintf("属于 %s：retry_on 等填写该类型时也包括它。", wide)})
	}
	return Explanation{Name: string(t), Means: means, Facts: facts}, true
}

// number parses a word that consists of one of names and a number.
func number(word string, names ...string) (int, bool) {
	for _, name := range names {
		if rest, ok := strings.CutPrefix(word, name); ok {
			n, err := strconv.ParseUint(strings.ToLower(strings.TrimLeft(rest, " :#")), 0, 8)
			return int(n), err == nil
		}
	}
	return 0, false
}

func connackCode(word string) (Explanation, bool) {
	n, ok := number(word, "CONNACK")
	if !ok {
		return Explanation{}, false
	}
	c := connectCodes[min(n, len(connectCodes)-1)]
	return Explanation{Name: fmt.Sprintf("CONNACK %d", n), Means: c.short, Do: c.what}, true
}

func subackCode(word string) (Explanation, bool) {
	n, ok := number(word, "SUBACK")
	if !ok {
		return Explanation{}, false
	}
	e := Explanation{Name: fmt.Sprintf("SUBACK 0x%02x", n), Means: Text{packets.SubscribeCode(n).String(), subackZH(n)}}
	switch {
	case n < 2:
		e.Do = Text{"If more was asked for, the server does not have it, or does not allow it.", "若请求的 QoS 更高，则服务端不支持或不允许。"}
	case n == 2:
		e.Do = Text{"Nothing to do.", "无需处理。"}
	case n == 0x80:
		e.Do = Text{"The server refused the filter. Check the rights of the user, and what filters the server takes.", "服务端拒绝了该订阅主题，请检查用户权限以及服务端支持的主题。"}
	case n > 0x80:
		e.Do = Text{"A code of MQTT 5, which some servers send to older clients: the filter is refused.", "MQTT 5 的返回码，部分服务端也会发给旧版客户端：该订阅主题被拒绝。"}
	default:
		e.Do = Text{"MQTT 3.1.1 reserves this code [MQTT-3.9.3-2]: look at the server.", "MQTT 3.1.1 保留此码 [MQTT-3.9.3-2]，请检查服务端。"}
	}
	return e, true
}

func exitCode(word string) (Explanation, bool) {
	n, ok := number(word, "EXIT CODE", "EXIT")
	c, known := exitCodes[n]
	if !ok || !known {
		return Explanation{}, false
	}
	return Explanation{Name: fmt.Sprintf("exit %d", n), Means: c.short, Do: c.what}, true
}

// exitCodes are the exit codes of the command, as in docs/command.md.
var exitCodes = map[int]code{
	0:   {Text{"done", "完成"}, Text{"Nothing to do.", "无需处理。"}},
	1:   {Text{"it failed while running", "运行中失败"}, Text{"Standard error says why: a disk, or a failure policy that says stop.", "原因见标准错误输出：磁盘故障，或失败策略为停止。"}},
	2:   {Text{"wrong usage, or a configuration that cannot be used", "用法有误，或配置无法使用"}, Text{"See --help of the command, or run mqtt311 check.", "请查看命令的 --help，或运行 mqtt311 check。"}},
	3:   {Text{"no connection", "无法连接"}, Text{"Name, TCP, proxy, TLS or WebSocket: mqtt311 test goes through them one by one.", "域名、TCP、代理、TLS 或 WebSocket：用 mqtt311 test 可逐步检查。"}},
	4:   {Text{"refused by the server", "被服务端拒绝"}, Text{"CONNACK said no: check the user name, the password, the client id and their rights.", "CONNACK 拒绝：请检查用户名、密码、客户端 ID 及其权限。"}},
	5:   {Text{"not subscribed", "订阅失败"}, Text{"Check the topic filter and the rights of the user.", "请检查订阅主题与用户权限。"}},
	6:   {Text{"not published", "发布失败"}, Text{"Or a line of standard input is no message. Standard error has the number of the line.", "或标准输入中有一行不是消息，行号见标准错误输出。"}},
	7:   {Text{"out of time", "超时"}, Text{"Raise the time limit, or find out what did not answer.", "请调大时限，或查明何处没有应答。"}},
	8:   {Text{"findings", "检查发现问题"}, Text{"Standard output has them, each with what to do.", "详见标准输出，每条均附有处理方法。"}},
	130: {Text{"interrupted", "被中断"}, Text{"By Ctrl-C or SIGTERM, and what was under way was not finished.", "收到 Ctrl-C 或 SIGTERM，进行中的工作未完成。"}},
}

// near returns the known code that a word probably means, or "".
func near(word string) string {
	best, least := "", 3
	for _, known := range Codes() {
		_, name, _ := strings.Cut(known, ":")
		for _, form := range []string{known, name} {
			if d := distance(word, strings.ToUpper(form)); d < least && d < len(form)/2 {
				best, least = known, d
			}
		}
	}
	return best
}

// Codes lists the words that Code explains, for completion.
func Codes() []string {
	var all []string
	for _, rule := range lint.Rules() {
		if code, _, _ := strings.Cut(rule, "/"); lint.About(code, "en") != "" && (len(all) == 0 || all[len(all)-1] != code) {
			all = append(all, code)
		}
	}
	for _, t := range flow.Types() {
		all = append(all, string(t))
	}
	for i := range connectCodes[:6] {
		all = append(all, fmt.Sprintf("connack %d", i))
	}
	all = append(all, "suback 0x80")
	for _, n := range slices.Sorted(maps.Keys(exitCodes)) {
		all = append(all, fmt.Sprintf("exit %d", n))
	}
	return all
}

// distance is the number of letters to change, insert or delete to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost = 1 + min(corner, row[j], row[j+1])
			}
			corner, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
