package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/spf13/cobra"
)

func (p *Program) test() *cobra.Command {
	var file string
	var own bool
	cmd := &cobra.Command{
		Use:   "test [-c] FILE",
		Short: p.Say("Test the connection of a connector (测试连接)", "测试连接"),
		Long: p.Say(`Test the connection that a configuration describes, step by step: name, TCP, proxy, TLS,
WebSocket, CONNACK, the topics of its consumers; then each of connections. The first step that fails says why and
what to try. No message is processed or acknowledged, and there is no will.

The test has a client id of its own, the configured one with -test- and four random
letters, and a clean session, so that it does not disturb a running connector. --own-id uses
the configured id and session instead; a connector that uses the id is disconnected. Share
groups are not joined, because a member gets messages: their topics are tested without.

Exit codes: 3 no connection, 4 refused by the server, 5 not subscribed, 7 out of time.`,
			`按配置逐步测试连接：域名解析、TCP、代理、TLS、WebSocket、CONNACK、各 Consumer 的订阅主题；
然后逐个测试 connections 中的连接。首个失败的步骤会给出原因和建议。不会处理或确认任何消息，也不设遗嘱。

测试使用独立的客户端 ID（配置的 ID 加 -test- 和四个随机字符），并清除会话，不影响正在运行的连接器。
--own-id 则使用配置的 ID 与会话：以该 ID 运行的连接器会被挤下线。不加入共享组（成员
会分走消息），其主题按普通订阅测试。

退出码：3 无法连接，4 被服务端拒绝，5 订阅失败，7 超时。`),
		Example: `  mqtt311 test -c connector.yaml
  mqtt311 test -c connector.yaml --own-id --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.testConnection(cmd.Context(), file, own)
		},
	}
	p.configFlag(cmd, &file)
	cmd.Flags().BoolVar(&own, "own-id", false, p.Say("use the configured client id and session; disconnects a connector that uses them", "使用配置的客户端 ID 与会话；会挤掉以该 ID 运行的连接器"))
	EndsInOrder(cmd)
	return cmd
}

// A stepLine and a grantLine are the JSON output of test.
type stepLine struct {
	Connection string `json:"connection,omitempty"`

	Step    string         `json:"step"`
	OK      bool           `json:"ok"`
	Millis  float64        `json:"ms"`
	Address string         `json:"address,omitempty"`
	Type    flow.ErrorType `json:"type,omitempty"`
	Error   string         `json:"error,omitempty"`
	Hint    string         `json:"hint,omitempty"`
}

type grantLine struct {
	Consumer string `json:"consumer"`
	Filter   string `json:"filter"`
	Shared   bool   `json:"shared,omitempty"`
	Asked    int    `json:"asked"`
	Granted  *int   `json:"granted"` // null: refused
	Error    string `json:"error,omitempty"`
}

type summaryLine struct {
	Connection string `json:"connection,omitempty"`

	OK                 bool       `json:"ok"`
	ClientID           string     `json:"client_id"`
	CleanSession       bool       `json:"clean_session"`
	SessionPresent     bool       `json:"session_present"`
	CertificatesExpire *time.Time `json:"certificates_expire,omitempty"`
}

func (p *Program) testConnection(ctx context.Context, file string, own bool) error {
	start := time.Now()
	cfg, findings, err := p.load(file)
	if err != nil {
		return err
	}
	p.printFindings(p.Stderr, file, findings)
	c, err := connector.New(*cfg, connector.Options{})
	if err != nil {
		return Coded(ExitUsage, err)
	}
	p.printStep(connector.TestStep{Step: "configuration", Took: time.Since(start)})
	at := ""
	r := c.Test(ctx, connector.TestOptions{OwnID: own, OnStep: func(s connector.TestStep) {
		if s.Connection != at && !p.JSON {
			fmt.Fprintf(p.Stdout, p.Say("connection %s:\n", "连接 %s：\n"), lint.Show(s.Connection))
		}
		at = s.Connection
		p.printStep(s)
	}})
	for _, g := range r.Grants {
		p.printGrant(g, r)
	}
	p.printSummary("", r)
	for _, name := range slices.Sorted(maps.Keys(r.Connections)) {
		p.printSummary(name, r.Connections[name])
	}
	if err := r.Err(); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return &testError{codedError{code: testCode(r, err), err: err}, *r.Failed()}
	}
	return nil
}

// A testError carries the hint of the step that failed.
type testError struct {
	codedError
	step connector.TestStep
}

func (e *testError) Unwrap() error  { return &e.codedError }
func (e *testError) Hint() string   { return e.step.Hint }
func (e *testError) HintZH() string { return e.step.HintZH }

// testCode returns the exit code of a failed test; a step that ran out of time is a timeout.
func testCode(r *connector.TestReport, err error) int {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, flow.TypeConnectTimeout) {
		return ExitTimeout
	}
	if r.Failed().Step == connector.StepSubscribe {
		return ExitSubscribe
	}
	return codeOf(err)
}

func (p *Program) stepName(s string) string {
	return p.Say(s, map[string]string{
		"configuration": "配置", "parse": "地址与选项", "resolve": "域名解析", "tcp": "TCP 连接", "proxy": "代理", "tls": "TLS 握手",
		"websocket": "WebSocket 握手", "connect": "CONNACK", "subscribe": "订阅", "disconnect": "断开",
	}[s])
}

func (p *Program) printStep(s connector.TestStep) {
	if p.JSON {
		l := stepLine{Connection: s.Connection, Step: string(s.Step), OK: s.Err == nil, Millis: float64(s.Took.Microseconds()) / 1000, Address: s.Addr}
		if s.Err != nil {
			l.Type, l.Error, l.Hint = s.Err.Type, p.Say(s.Err.Description, chinese.Of(s.Err.Description)), p.Say(s.Hint, s.HintZH)
		}
		p.JSONLine(l)
		return
	}
	verdict, style := p.Say("ok", "成功"), terminal.Green
	if s.Err != nil {
		verdict, style = p.Say("failed", "失败"), terminal.Red
	}
	row := fmt.Sprintf(" %8.1f ms  %s", float64(s.Took.Microseconds())/1000, s.Addr)
	terminal.NewText(p.Stdout).Add(terminal.Plain, padded(p.stepName(string(s.Step)), 14)+" ").
		Add(style, padded(verdict, 6)).Add(terminal.Plain, strings.TrimRight(row, " ")+"\n").Print()
}

// padded pads a text to a width on a terminal, where Chinese characters take two columns.
func padded(s string, width int) string {
	for _, r := range s {
		width--
		if r > 0x2e80 {
			width--
		}
	}
	return s + fmt.Sprintf("%*s", max(width, 0), "")
}

func (p *Program) printGrant(g connector.Grant, r *connector.TestReport) {
	answered := !failedOf(r, "") || g.Err != nil || g.Granted > 0
	if p.JSON {
		l := grantLine{Consumer: g.Consumer, Filter: g.Filter, Shared: g.Shared, Asked: int(g.Asked)}
		if granted := int(g.Granted); answered && g.Err == nil {
			l.Granted = &granted
		}
		if g.Err != nil {
			l.Error = p.Say(g.Err.Description, chinese.Of(g.Err.Description))
		}
		p.JSONLine(l)
		return
	}
	said := fmt.Sprint("QoS ", byte(g.Granted))
	switch {
	case g.Err != nil:
		said = p.Say("refused", "被拒绝")
	case !answered:
		return
	case g.Granted < g.Asked:
		said += fmt.Sprintf(p.Say(", though %d was asked for", "，低于请求的 %d"), g.Asked)
	}
	if g.Shared {
		said += p.Say(" (tested without its share group)", "（未加入共享组测试）")
	}
	fmt.Fprintf(p.Stdout, "  %s  %s: %s\n", lint.Show(g.Consumer), lint.Show(g.Filter), said)
}

// failedOf reports whether a step of a connection failed.
func failedOf(r *connector.TestReport, name string) bool {
	s := r.Failed()
	return s != nil && s.Connection == name
}

func (p *Program) printSummary(name string, r *connector.TestReport) {
	if p.JSON {
		l := summaryLine{Connection: name, OK: !failedOf(r, name), ClientID: r.ClientID, CleanSession: r.CleanSession, SessionPresent: r.SessionPresent}
		if !r.CertificatesExpire.IsZero() {
			l.CertificatesExpire = &r.CertificatesExpire
		}
		p.JSONLine(l)
		return
	}
	if failedOf(r, name) {
		return
	}
	if name != "" {
		fmt.Fprintf(p.Stdout, p.Say("connection %s: ", "连接 %s："), lint.Show(name))
	}
	if !r.CertificatesExpire.IsZero() {
		left := time.Until(r.CertificatesExpire)
		fmt.Fprintf(p.Stdout, p.Say("The server's certificate is valid until %s, %d days.\n", "服务端证书有效期至 %s，剩余 %d 天。\n"),
			r.CertificatesExpire.Local().Format(time.DateOnly), int(left.Hours()/24))
	}
	fmt.Fprintf(p.Stdout, p.Say("Connected as %s", "连接成功，客户端 ID 为 %s"), r.ClientID)
	switch {
	case r.SessionPresent:
		fmt.Fprint(p.Stdout, p.Say("; the server has a session of it", "；服务端保有其会话"))
	case !r.CleanSession:
		fmt.Fprint(p.Stdout, p.Say("; the server had no session of it", "；服务端此前没有其会话"))
	}
	fmt.Fprintln(p.Stdout, p.Say(".", "。"))
}
