package verbs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mqtt311/mqtt311/connector/internal/capture"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/explain"
	"github.com/spf13/cobra"
)

// An explaining is a run of explain.
type explaining struct {
	p          *command.Program
	brief      bool
	faultsOnly bool
	secrets    bool
	only       int // the connection to show; 0: all

	packets, faults int
	last            int // the connection that was shown last
}

// Explain returns the verb explain.
func Explain(p *command.Program) *cobra.Command {
	x := &explaining{p: p}
	cmd := &cobra.Command{
		Use:   "explain [CODE | BYTES | FILE]...",
		Short: p.Say("Decode packets and captures field by field; explain a code", "逐字段解析报文与抓包文件；解释错误码"),
		Long: p.Say(`Decode MQTT 3.1.1 field by field: bytes in hexadecimal, capture files of tcpdump or Wireshark (pcap,
pcapng), or either on standard input. Each fault is printed with its byte and the statement of the specification that it
violates; the exit code is then 8.

Bytes may be written in any usual way, hex dumps included. In a capture, MQTT is recognised by its content on any port;
TCP streams are reassembled, WebSocket is unwrapped, and TLS, which cannot be read, is reported. User names and passwords
are left out unless --secrets is given.

Codes are explained as well: E130 of check, an error type such as MQTT:DNS, "connack 5", "suback 0x80", "exit 6".`,
			`逐字段解析 MQTT 3.1.1：十六进制字节、tcpdump 或 Wireshark 的抓包文件（pcap、pcapng），或标准输入中的任一种。
发现的问题会给出所在字节与规范条款，退出码为 8。

字节可用各种常见写法，包括 hexdump 的输出。抓包中的 MQTT 按内容识别，与端口无关；TCP 会重组，WebSocket 会解包，
无法读取的 TLS 会注明。用户名与密码不显示，除非给出 --secrets。

也可解释错误码：check 的 E130，错误类型如 MQTT:DNS，"connack 5"，"suback 0x80"，"exit 6"。`),
		Example: `  mqtt311 explain 32 05 00 01 74 00 00
  mqtt311 explain trace.pcapng --faults
  tcpdump -i lo -w - 'tcp' | mqtt311 explain --brief
  mqtt311 explain E130
  mqtt311 explain MQTT:NOT_AUTHORIZED --lang zh`,
		RunE: func(_ *cobra.Command, args []string) error { return x.run(args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&x.brief, "brief", false, p.Say("a line for each packet", "每个报文只输出一行"))
	f.BoolVar(&x.faultsOnly, "faults", false, p.Say("only packets with faults, a line each", "只输出有错误的报文，每个一行"))
	f.IntVar(&x.only, "connection", 0, p.Say("only the connection with this `number` in the capture", "只解析抓包中编号为 `number` 的连接"))
	f.BoolVar(&x.secrets, "secrets", false, p.Say("show user names and passwords", "显示用户名与密码"))
	command.Complete(cmd, "connection", cobra.NoFileCompletions)
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		var fits []string
		for _, code := range explain.Codes() {
			if len(args) == 0 && begun != "" && strings.HasPrefix(strings.ToUpper(code), strings.ToUpper(begun)) && !strings.Contains(code, " ") {
				fits = append(fits, code)
			}
		}
		return fits, cobra.ShellCompDirectiveDefault
	}
	return cmd
}

func (x *explaining) run(args []string) error {
	if x.only < 0 {
		return command.Usage("--connection is %d: connections are numbered from 1", "--connection 为 %d：连接从 1 开始编号", x.only)
	}
	word := strings.Join(args, " ")
	switch e, nearest, known := explain.Code(word); {
	case known:
		return x.code(e)
	case len(args) == 0, word == "-":
		return x.input(x.p.Stdin, x.p.Say("standard input", "标准输入"))
	case isFile(args[0]):
		for _, name := range args {
			if err := x.file(name); err != nil {
				return err
			}
		}
		return x.end()
	default:
		b, err := explain.Hex(word)
		var bad *explain.HexError
		switch {
		case errors.As(err, &bad) && nearest != "":
			return command.Usage("%q is not known: did you mean %s?", "未知的 %q：是否指 %s？", word, nearest)
		case errors.As(err, &bad) && isFolder(args[0]):
			return command.Usage("%s is a directory: name the files in it", "%s 是目录：请给出其中的文件", args[0])
		case errors.As(err, &bad) && len(args) == 1:
			return command.Usage("%q is neither a known code nor an existing file nor hexadecimal bytes", "%q 既不是已知的错误码，也不是存在的文件或十六进制字节", word)
		case errors.As(err, &bad):
			return command.Usage("%q is neither a known code nor an existing file nor hexadecimal bytes", "%q 既不是已知的错误码，也不是存在的文件或十六进制字节", bad.Text)
		case err != nil:
			return command.Coded(command.ExitUsage, err)
		case len(b) == 0:
			return command.Usage("%q is empty: there is nothing to decode", "%q 为空：没有可解析的内容", word)
		}
		x.bytes(b)
		return x.end()
	}
}

// isFile reports whether a file or a pipe with that name exists.
func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.IsDir()
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func (x *explaining) file(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return command.Coded(command.ExitUsage, err)
	}
	defer f.Close()
	return x.read(f, name)
}

func (x *explaining) input(r io.Reader, name string) error {
	if err := x.read(r, name); err != nil {
		return err
	}
	return x.end()
}

// mostText is the maximum length of text with hexadecimal bytes.
const mostText = 64 << 20

// read decodes the contents of a file: a capture, raw bytes, or bytes in hexadecimal.
func (x *explaining) read(r io.Reader, name string) error {
	in := bufio.NewReader(r)
	head, err := in.Peek(512)
	switch {
	case len(head) == 0 && err != nil && !errors.Is(err, io.EOF):
		return command.Coded(command.ExitRuntime, err)
	case len(head) == 0:
		return command.Usage("%s is empty: there is nothing to decode", "%s 为空：没有可解析的内容", name)
	case capture.Known(head):
		return x.capture(in, name)
	case isText(head):
		text, err := io.ReadAll(io.LimitReader(in, mostText+1))
		switch {
		case err != nil:
			return command.Coded(command.ExitRuntime, err)
		case len(text) > mostText:
			return command.Usage("%s has more than %d bytes of text: decode a capture file instead", "%s 的文本超过 %d 字节：请改用抓包文件", name, mostText)
		}
		b, err := explain.Hex(string(text))
		var bad *explain.HexError
		if errors.As(err, &bad) {
			return command.Usage("%s, line %d: %q is not a hexadecimal byte", "%s 第 %d 行：%q 不是十六进制字节", name, bad.Line, bad.Text)
		}
		if capture.Known(b) { // a hex dump of a capture file
			return x.capture(bytes.NewReader(b), name)
		}
		x.bytes(b)
		return nil
	}
	s := explain.NewStream(explain.Options{Secrets: x.secrets}, x.packet)
	if _, err := io.Copy(s, in); err != nil {
		return command.Coded(command.ExitRuntime, err)
	}
	x.close(s)
	return nil
}

// isText reports whether bytes are text rather than raw packets.
func isText(b []byte) bool {
	if rest, ok := strings.CutPrefix(string(b), "\ufeff"); ok {
		b = []byte(rest)
	}
	for _, c := range b {
		if c < ' ' && !strings.ContainsRune("\t\n\v\f\r", rune(c)) || c >= 0x7F {
			return false
		}
	}
	return true
}

func (x *explaining) bytes(b []byte) {
	s := explain.NewStream(explain.Options{Secrets: x.secrets}, x.packet)
	s.Write(b)
	x.close(s)
}

// close ends a stream that does not belong to a connection in a capture.
func (x *explaining) close(s *explain.Stream) {
	s.Close()
	if n := s.Unread(); n > 0 {
		x.finding(nil, explain.Finding{Offset: -1, Text: explain.Text{
			EN: fmt.Sprintf("%d further bytes have no known meaning", n), ZH: fmt.Sprintf("其后 %d 字节含义不明", n),
		}})
	}
}

func (x *explaining) capture(r io.Reader, name string) error {
	before := x.packets
	x.last = 0
	told := false
	skipped, err := explain.Capture(r, explain.Options{Secrets: x.secrets}, func(e explain.Event) {
		if told = true; x.only != 0 && e.Number != x.only {
			return
		}
		if e.Finding != nil {
			x.finding(&e, *e.Finding)
			return
		}
		x.show(&e, *e.Packet)
	})
	if err != nil {
		return command.Usage("%s cannot be read as a capture: %w", "%s 无法作为抓包文件读取：%w", name, err)
	}
	x.skipped(skipped)
	switch {
	case !told:
		return command.Fail(command.ExitFindings, "%s contains no MQTT", "%s 中没有 MQTT", name)
	case x.only != 0 && x.packets == before && x.last == 0:
		return command.Usage("--connection %d: %s has no such connection with MQTT", "--connection %d：%s 中没有该 MQTT 连接", x.only, name)
	}
	return nil
}

// end prints a summary, and returns an error if something is wrong.
func (x *explaining) end() error {
	switch {
	case x.faults > 0:
		return command.Fail(command.ExitFindings, "packets: %d, faults: %d", "报文：%d 个，错误：%d 处", x.packets, x.faults)
	case x.faultsOnly && !x.p.JSON:
		fmt.Fprintf(x.p.Stdout, x.p.Say("packets: %d, no faults\n", "报文：%d 个，没有错误\n"), x.packets)
	}
	return nil
}

// skipped reports what was not used in a capture.
func (x *explaining) skipped(s capture.Skipped) {
	for _, one := range []struct {
		n      int
		en, zh string
	}{
		{s.Links, "frames of a link layer that is not read: %d", "链路层类型不支持的帧：%d"},
		{s.Large, "frames above a mebibyte: %d", "超过 1 MiB 的帧：%d"},
		{s.Fragments, "fragments of IP packets, which are not put together: %d", "未重组的 IP 分片：%d"},
		{s.Short, "frames cut within their headers: %d", "在报头处被截断的帧：%d"},
		{s.Flows, "connections given up because too many were open at once: %d", "因同时打开的连接过多而放弃的连接：%d"},
	} {
		if one.n > 0 {
			x.p.Warn(fmt.Sprintf(one.en, one.n), fmt.Sprintf(one.zh, one.n))
		}
	}
	if s.Unreadable != nil {
		x.p.Warn(fmt.Sprintf("the capture cannot be read further: %v", s.Unreadable), fmt.Sprintf("抓包文件其后无法读取：%s", chinese.Of(s.Unreadable.Error())))
	}
}

// code prints an explanation of a code.
func (x *explaining) code(e explain.Explanation) error {
	p := x.p
	if p.JSON {
		return p.JSONLine(codeLineOf(p, e))
	}
	w := p.Stdout
	fmt.Fprintf(w, "%s: %s\n", e.Name, e.Means.In(p.Lang))
	if e.Do.EN != "" {
		fmt.Fprintf(w, "  %s\n", e.Do.In(p.Lang))
	}
	for _, f := range e.Facts {
		fmt.Fprintf(w, "  %s\n", f.In(p.Lang))
	}
	for _, c := range e.Cases {
		fmt.Fprintf(w, "  - %s → %s\n", c.Says.In(p.Lang), c.Do.In(p.Lang))
	}
	return nil
}

// packet shows a packet that belongs to no connection.
func (x *explaining) packet(p explain.Packet) { x.show(nil, p) }

// show shows a packet; e is nil if it belongs to no connection.
func (x *explaining) show(e *explain.Event, p explain.Packet) {
	x.packets++
	x.faults += p.Faults()
	if x.faultsOnly && p.Faults() == 0 {
		return
	}
	if x.p.JSON {
		x.p.JSONLine(x.packetLine(e, p))
		return
	}
	x.head(e)
	said := p.Summary
	if said == "" {
		said = p.Type.String()
	}
	head := fmt.Sprintf(x.p.Say("%s, %d bytes at %d", "%s，%d 字节，位于 %d"), said, p.Size, p.Offset)
	if e != nil {
		head = fmt.Sprintf("%s %s %s", since(e), arrow(e.From), said)
	}
	if x.brief || x.faultsOnly {
		for _, f := range p.Findings {
			if f.Fault || !x.faultsOnly {
				head += "; " + x.mark(f)
			}
		}
		fmt.Fprintln(x.p.Stdout, head)
		return
	}
	fmt.Fprintln(x.p.Stdout, head)
	rows := make([][]string, len(p.Fields))
	for i, f := range p.Fields {
		rows[i] = []string{fmt.Sprintf("%5d", f.Offset), hexOf(f), f.Name.In(x.p.Lang), f.Value.In(x.p.Lang)}
	}
	fmt.Fprint(x.p.Stdout, columns(rows))
	for _, f := range p.Findings {
		fmt.Fprintf(x.p.Stdout, "      %s\n", x.mark(f))
	}
}

// head prints a connection before its first packet, and again after packets of another one.
func (x *explaining) head(e *explain.Event) {
	if e == nil || e.Number == x.last || x.p.JSON {
		return
	}
	x.last = e.Number
	c := e.Connection
	fmt.Fprintf(x.p.Stdout, x.p.Say("connection %d: %v → %v, %s, from %s%s\n", "连接 %d：%v → %v，%s，始于 %s%s\n"), c.Number, c.Client, c.Server,
		transports[c.Transport], c.Start.Local().Format("2006-01-02 15:04:05.000000"), map[bool]string{true: x.p.Say(", its beginning was not captured", "，开头未被捕获")}[c.Partial])
}

var transports = map[explain.Transport]string{explain.OverTCP: "TCP", explain.OverWebSocket: "WebSocket", explain.OverTLS: "TLS"}

// finding shows a finding that is not about a packet.
func (x *explaining) finding(e *explain.Event, f explain.Finding) {
	if f.Fault {
		x.faults++
	} else if x.faultsOnly {
		return
	}
	if e != nil {
		x.head(e)
		x.last = e.Number
	}
	if x.p.JSON {
		x.p.JSONLine(x.findingLine(e, f))
		return
	}
	when := ""
	if e != nil {
		when = since(e) + " "
	}
	fmt.Fprintf(x.p.Stdout, "%s%s\n", when, x.mark(f))
}

// mark returns a finding in one line.
func (x *explaining) mark(f explain.Finding) string {
	if f.Fault {
		return x.p.Say("wrong: ", "错误：") + f.Line(x.p.Lang)
	}
	return x.p.Say("note: ", "提示：") + f.Line(x.p.Lang)
}

// since returns the seconds between the start of a connection and an event.
func since(e *explain.Event) string { return fmt.Sprintf("%10.6f", e.At.Sub(e.Start).Seconds()) }

func arrow(s explain.Side) string {
	if s == explain.Server {
		return "←"
	}
	return "→"
}

// hexOf returns the first bytes of a field in hexadecimal.
func hexOf(f explain.Field) string {
	if f.Bytes == nil && f.Length > 0 {
		return "-"
	}
	shown := f.Bytes[:min(len(f.Bytes), 8)]
	s := fmt.Sprintf("% x", shown)
	if len(shown) < f.Length {
		s += " …"
	}
	return s
}
