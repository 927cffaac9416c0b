package chinese

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/deadletters"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/stretchr/testify/require"
)

// english returns the English words in a Chinese text that should not be there: lower-case words, except names and
// quotations.
func english(text string) []string {
	text = regexp.MustCompile(`"(\\.|[^"\\])*"|'[^']*'`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`[a-z]+://\S*|\$\{[^}]*\}|--[a-z][a-z-]*|\b[a-z]+(_[a-z]+)+(: [a-z]+)?\b|\b[a-z]+/[a-z/]+\b|\w*[A-Z0-9]\w*(\.\w+)*|\w+\.\w+`).ReplaceAllString(text, "")
	var words []string
	for _, w := range regexp.MustCompile(`[a-z]{2,}`).FindAllString(text, -1) {
		if !names[w] {
			words = append(words, w)
		}
	}
	return words
}

// names are words that Chinese texts may contain: settings and their values, commands, other products.
var names = map[string]bool{
	"any": true, "drop": true, "hold": true, "stop": true, "skip": true, "only": true, "deliver": true, "shared": true, "separate": true, "confirmed": true,
	"stored": true, "strict": true, "platform": true, "extended": true, "always": true, "interval": true, "never": true, "true": true, "false": true,
	"connection": true, "topic": true, "none": true, "immediately": true, "fast": true, // values
	"oversize": true, "malformed": true, "unmatched": true, "partition": true, "act": true, "ok": true, "env": true, // keys
	"chmod": true, "openssl": true, "inform": true, "der": true, "pkey": true, "in": true, "out": true, "go": true, "wal": true, // commands
	"pcap": true, "pcapng": true, "unix": true, "ws": true, "wss": true, "nil": true, "panic": true, "goroutine": true, "base": true, "mqtt": true, "xn": true, "host": true, "port": true,
	"transport": true, "nats": true, "null": true,
}

// unseen are texts that no user of the command can meet, or that are not texts, each with the
// reason.
var unseen = map[string]string{
	"session: self check: %s": "of simulations and tests",
	"%s":                      "a text of others, as it is",
	"%w":                      "an error as it is",
	"%s %w":                   "what it is about is a name",
	"%s: %w":                  "its parts are texts of their own",
	"%w: %s":                  "its parts are texts of their own",
	"%w: %w":                  "its parts are texts of their own",
	"wal: %w: %w":             "its parts are texts of their own",
	"jetstream: %s":           "as the texts behind it",
	"client: Config.%s":       "as the texts behind it",
	"%s is above max_packet_size, %d bytes; %s (oversize: skip)%s": "TestOf has it whole",
	"%s is malformed: %s; %s (malformed: skip)%s":                  "TestOf has it whole",
}

// dirs returns the directories with errors that the command may show.
func dirs(t *testing.T) (all []string) {
	root := filepath.Join("..", "..", "..")
	for _, top := range []string{"packets", "session", "client", "transport", "connector"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			switch name := d.Name(); {
			case err != nil:
				return err
			case !d.IsDir():
			case name == "testdata", name == "paho", name == "clienttest", name == "storetest", name == "failure": // for programs and tests only
				return filepath.SkipDir
			case name == "quickstart": // its own errors are in both languages where they are made
				return filepath.SkipDir
			case name == "benthos", name == "browser", name == "cmd" && strings.Contains(path, "benthos"): // other programs, which only speak English
				return filepath.SkipDir
			case name != "chinese":
				all = append(all, path)
			}
			return nil
		}))
	}
	require.Greater(t, len(all), 20)
	return all
}

// sources calls f for each file in a directory that is not a test.
func sources(t *testing.T, dir string, f func(path string, fset *token.FileSet, file *ast.File)) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, 0)
		require.NoError(t, err)
		f(path, fset, file)
	}
}

// format returns the text of an expression, with %s for parts that are not constant; ok is false if it has none.
// verbs means that constants are formats.
func format(e ast.Expr, verbs bool) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, err := strconv.Unquote(e.Value)
			if !verbs {
				s = strings.ReplaceAll(s, "%", "%%")
			}
			return s, err == nil
		}
	case *ast.ParenExpr:
		return format(e.X, verbs)
	case *ast.BinaryExpr:
		a, known := format(e.X, verbs)
		b, also := format(e.Y, verbs)
		if e.Op == token.ADD && (known || also) {
			return strings.ReplaceAll(a+"\x00"+b, "\x00", ""), true
		}
	case *ast.CallExpr:
		switch fmt.Sprint(e.Fun) {
		case "&{strconv Quote}", "&{strconv QuoteToASCII}":
			return "%q", true
		case "&{strconv Itoa}":
			return "%d", true
		}
		if s, is := e.Fun.(*ast.SelectorExpr); is && s.Sel.Name == "Sprintf" {
			return format(e.Args[0], true)
		}
	}
	return "%s", false
}

// sample returns a text that a format could produce.
func sample(format string) string {
	return verb.ReplaceAllStringFunc(format, func(v string) string {
		switch v[len(v)-1] {
		case '%':
			return "%"
		case 'd', 'c':
			return "7"
		case 'q':
			return `"x"`
		case 'o', 'x', 'X':
			return "0777"
		case 'w':
			return "EOF"
		}
		return "X1"
	})
}

// Every error text that the command can show has a complete Chinese translation.
func TestErrorsSpeakChinese(t *testing.T) {
	found := 0
	check := func(where, text string) {
		found++
		if _, is := unseen[text]; is || !regexp.MustCompile(`[a-zA-Z]{2}`).MatchString(verb.ReplaceAllString(text, "")) {
			return
		}
		zh := Of(sample(text))
		if words := english(zh); len(words) > 0 || zh == sample(text) && !plainName(text) {
			t.Errorf("%s: %q has no Chinese: %s %v", where, text, zh, words)
		}
	}
	for _, dir := range dirs(t) {
		sources(t, dir, func(path string, fset *token.FileSet, file *ast.File) {
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				switch fmt.Sprint(call.Fun) {
				case "&{errors New}", "&{fmt Errorf}":
					if text, ok := format(call.Args[0], fmt.Sprint(call.Fun) == "&{fmt Errorf}"); ok {
						check(fset.Position(call.Pos()).String(), text)
					}
				}
				return true
			})
		})
	}
	require.Greater(t, found, 300)
}

// plainName reports whether a text is one word, such as the name of a file.
func plainName(text string) bool { return !strings.Contains(text, " ") }

func han(s string) bool { return regexp.MustCompile(`\p{Han}`).MatchString(s) }

// Reasons in a field of an error, and the texts that they are made of, have a translation, too.
func TestReasonsSpeakChinese(t *testing.T) {
	found := 0
	root := filepath.Join("..", "..", "..")
	for _, dir := range []string{"packets", "session", "client", "client/wal", "transport", "transport/ws", "transport/proxy", "transport/internal/address", "connector/internal/jsonpath", "connector/internal/capture"} {
		sources(t, filepath.Join(root, dir), func(path string, fset *token.FileSet, file *ast.File) {
			switch filepath.Base(path) {
			case "hints.go", "event.go", "events.go", "ring.go": // in both languages; covered by TestLogsSpeakChinese; the self-check
				return
			}
			var look func(ast.Node) bool
			look = func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ImportSpec, *ast.Field:
					return false
				case *ast.FuncDecl:
					// Error joins parts, and TestErrorTypesSpeakChinese covers the whole text. String is for programs.
					return n.Name.Name != "Error" && n.Name.Name != "String"
				case *ast.CaseClause: // its values are compared, not shown
					for _, s := range n.Body {
						ast.Inspect(s, look)
					}
					return false
				case *ast.CompositeLit: // its Chinese stands beside it
					for _, e := range n.Elts {
						if text, ok := format(e, false); ok && han(text) {
							return false
						}
					}
				case *ast.CallExpr:
					switch name := fmt.Sprint(n.Fun); {
					case name == "&{errors New}", name == "&{fmt Errorf}", name == "panic": // covered by TestErrorsSpeakChinese
						return false
					case strings.HasPrefix(name, "&{strings "): // a text to search for
						return false
					case strings.HasSuffix(name, " Debug}"), strings.HasSuffix(name, " Info}"), strings.HasSuffix(name, " Warn}"), strings.HasSuffix(name, " Error}"):
						return false // covered by TestLogsSpeakChinese
					}
				case *ast.BasicLit, *ast.BinaryExpr:
					if b, is := n.(*ast.BinaryExpr); is && (b.Op == token.EQL || b.Op == token.NEQ) {
						return false
					}
					text, ok := format(n.(ast.Expr), true)
					letters := verb.ReplaceAllString(text, "")
					if !ok || len(regexp.MustCompile(`[A-Za-z]{2,}`).FindAllString(letters, -1)) < 2 || !strings.Contains(text, " ") || strings.ToUpper(letters) == letters {
						return true
					}
					found++
					if _, is := noReasons[text]; is {
						return false
					}
					zh := Of(strings.TrimSpace(sample(text)))
					if words := english(zh); len(words) > 0 || zh == text {
						t.Errorf("%s: %q has no Chinese: %s %v", fset.Position(n.Pos()), text, zh, words)
					}
					return false
				}
				return true
			}
			ast.Inspect(file, look)
		})
	}
	require.Greater(t, found, 80)
}

// noReasons are texts in the sources that no error shows.
var noReasons = map[string]string{
	"topic filter %s":                     "a reason stands behind it",
	"CONNECT %s HTTP/1.1\r\nHost: %s\r\n": "what a proxy is told",
	"Proxy-Authorization: Basic %s\r\n":   "what a proxy is told",
}

// A text that is joined from others is translated part by part, and foreign parts stay as they are.
func TestOf(t *testing.T) {
	for en, zh := range map[string]string{
		"":               "",
		"strange":        "strange",
		"strange: thing": "strange: thing",
		"client: connect: transport: tcp: 127.0.0.1:1: connect: connection refused":                             "TCP 连接：127.0.0.1:1：连接被拒绝",
		`client: publish "a: EOF; b": sent, outcome unknown: connection lost: EOF`:                              `发布 "a: EOF; b"：已发送，结果未知：连接断开：对方关闭了连接`,
		"wal: segment-1: input/output error":                                                                    "会话存储：segment-1：读写设备出错",
		"packets: PUBLISH: byte 5: packet identifier is zero [MQTT-2.3.1-1]":                                    "PUBLISH：第 5 字节：报文标识符为 0 [MQTT-2.3.1-1]",
		"session: server refused the connection: bad user name or password (return code 4)":                     "服务端拒绝连接：用户名或密码错误（返回码 4）",
		`ws: the server closed the WebSocket with code 1008 (policy violation): "EOF"`:                          `服务端以代码 1008 关闭了 WebSocket（违反策略）："EOF"`,
		"transport: tls: h:1: tls: failed to verify certificate: x509: certificate signed by unknown authority": "TLS 握手：h:1：证书校验失败：证书由未知机构签发",
		"transport: resolve: h:1: dial tcp: lookup h on 1.2.3.4:53: no such host":                               "域名解析：h:1：连接：解析 h（DNS 服务器 1.2.3.4:53）：没有该主机名",
		"EOF\nstrange":                        "对方关闭了连接\nstrange",
		"open /etc/shadow: permission denied": "无权访问 /etc/shadow",
		"read tcp 1.2.3.4:5->6.7.8.9:10: read: connection reset by peer":     "读取 1.2.3.4:5->6.7.8.9:10：连接被对方重置",
		"packets: remaining length has more than four bytes (section 2.2.3)": "剩余长度超过四个字节（2.2.3 节）",
		"reserved packet type (table 2.1)":                                   "报文类型为保留值（表 2.1）",
	} {
		require.Equal(t, zh, Of(en), en)
	}
	long := strings.Repeat("EOF: ", most)
	require.Equal(t, long, Of(long))
	for _, hostile := range []string{strings.Repeat("a: ", 2000), strings.Repeat("x (", 1000) + strings.Repeat(")", 1000), strings.Repeat(`"`, 4001), strings.Repeat("dial a: ", 900), strings.Repeat("secret: a is not there: ", 300)} {
		Of(hostile) // must return, and soon
	}
}

// No format is in the tables twice, and the Chinese has a place for each value.
func TestTables(t *testing.T) {
	seen := make(map[string]string)
	for _, table := range [][]pair{packetTexts, clientTexts, storeTexts, transportTexts, connectorTexts, commandTexts, streamTexts, libraryTexts} {
		for _, p := range table {
			if before, twice := seen[p.en]; twice && before != p.zh {
				t.Errorf("%q is there twice", p.en)
			}
			seen[p.en] = p.zh
			args := make([]any, len(patternOf(p).verbs))
			for i := range args {
				args[i] = "\x01"
			}
			made := p.zh
			if len(args) > 0 {
				made = fmt.Sprintf(p.zh, args...)
			}
			require.NotContains(t, made, "%!", "%q", p.en)
			require.NotContains(t, p.zh, "%d", "%q", p.en)
		}
	}
}

// made has sample texts of the types that have a method Error.
var made = map[string][]string{
	"packets.FormatError": {
		(&packets.FormatError{Type: packets.PUBLISH, Offset: 5, Spec: "MQTT-2.3.1-1", Reason: "packet identifier is zero"}).Error(),
		(&packets.FormatError{Type: packets.PUBLISH, Offset: 2, Spec: "MQTT-4.7.1-1", Reason: "topic name holds a wildcard", Topic: "a/#"}).Error(),
	},
	"packets.EncodeError":   {(&packets.EncodeError{Type: packets.PUBLISH, Field: "Topic", Spec: "MQTT-4.7.3-1", Reason: "is empty"}).Error()},
	"packets.TooLargeError": {(&packets.TooLargeError{Type: packets.PUBLISH, Size: 9, Max: 8}).Error(), (&packets.TooLargeError{Type: packets.PUBLISH, Size: 9, Max: 8, Topic: "t"}).Error()},

	"session.kindError":     {session.ErrNotConnected.Error(), session.ErrQueueFull.Error(), session.ErrPoison.Error(), session.ErrScrubRefused.Error()},
	"session.RefusedError":  {(&session.RefusedError{Code: packets.NotAuthorized}).Error(), (&session.RefusedError{Code: 9}).Error()},
	"session.FilterError":   {(&session.FilterError{Filter: "a"}).Error(), (&session.FilterError{Filter: "a", Code: 0x80}).Error()},
	"session.ProtocolError": {(&session.ProtocolError{Packet: packets.SUBACK, Reason: "came before CONNACK", Spec: "MQTT-3.2.0-1"}).Error()},

	"client.SubscribeError": {(&client.SubscribeError{Results: []session.FilterResult{{Err: &session.FilterError{Filter: "a", Code: 0x80}}, {Err: &session.FilterError{Filter: "b"}}}}).Error()},
	"client.callError": {`client: publish "a": not sent: queue is full`, `client: publish "a": sent, outcome unknown: connection lost: EOF`, `client: subscribe "a" and 3 more: closed`, "client: connect: Connect was called before",
		"client: unsubscribe \"a\": not sent: not connected", "client: not sent: context canceled"},
	"client.reasonError":  {"client: connection lost: no sign of life from the server within the ping timeout"},
	"client.connectError": {"client: connect: transport: tcp: h:1: i/o timeout"},
	"client.HandshakeError": {"client: the server closed the connection before CONNACK: EOF", "client: the server's answer is not MQTT 3.1.1: packets: PUBLISH: byte 0: reserved packet type (table 2.1)",
		"client: no CONNACK: read tcp 1.1.1.1:1->2.2.2.2:2: read: connection reset by peer", "client: no CONNACK within the connect timeout"},
	"client.IncomingError": {
		(&client.IncomingError{Topic: "t", Size: 9, Err: &packets.TooLargeError{Max: 8}}).Error(),
		(&client.IncomingError{Topic: "t", QoS: 1, PacketID: 7, Size: 9, Err: &packets.TooLargeError{Max: 8}}).Error(),
		(&client.IncomingError{Topic: "t", QoS: 1, PacketID: 7, Size: 9, Err: &packets.FormatError{Offset: 2, Reason: "topic name holds a NUL character", Spec: "MQTT-1.5.3-2"}}).Error(),
		(&client.IncomingError{Topic: "t", Size: 9, Err: &packets.FormatError{Offset: 2, Reason: "topic name is empty", Spec: "MQTT-4.7.3-1"}}).Error(),
	},

	"transport.DialError": {
		(&transport.DialError{Step: transport.StepResolve, Addr: "h", Err: &net.DNSError{Err: "no such host", Name: "h"}}).Error(),
		(&transport.DialError{Step: transport.StepParse, Err: io.ErrUnexpectedEOF}).Error(),
		(&transport.DialError{Step: transport.StepTLS, Addr: "h:1", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}).Error(),
		(&transport.DialError{Step: transport.StepTCP, Addr: "h:1", Err: transport.ErrSpeaksTLS}).Error(),
	},
	"ws.HandshakeError": {(&ws.HandshakeError{Reason: `the server answered "403 Forbidden"`}).Error(), (&ws.HandshakeError{Reason: `the server answered "301 Moved Permanently"`, Location: "https://H", Body: "gone away"}).Error(),
		(&ws.HandshakeError{Reason: "the server agreed with headers that do not answer the request", Body: "why"}).Error()},
	"ws.CloseError":    {(&ws.CloseError{Code: 1006}).Error(), (&ws.CloseError{Code: 1005}).Error(), (&ws.CloseError{Code: 1008}).Error(), (&ws.CloseError{Code: 4000, Reason: "go away"}).Error()},
	"ws.ProtocolError": {(&ws.ProtocolError{Reason: "a message is larger than the limit, MaxMessage"}).Error()},
	"proxy.Error":      {`proxy 1.2.3.4:5: the proxy answered "403 Forbidden"`, "proxy 1.2.3.4:5: dial tcp 1.2.3.4:5: connect: connection refused"},

	"connector.secretError": {`connector: secret: file "x" is larger than 7 bytes`, `connector: secret: exec "X1" cannot be read: the command ended with exit status 3`, `connector: secret: env "X1" is not there`,
		`connector: secret: file "x" may not be read by this user: open X1: permission denied`},
	"flow.Error":            {flow.NewError(flow.TypeTCP, io.EOF).Error(), `connection "cloud": transport: tcp: 127.0.0.1:1886: connect: connection refused`},
	"flow.ErrorType":        {}, // unchanged, such as MQTT:TCP
	"flow.uncharged":        {}, // shows the wrapped error
	"flow.permanentError":   {},
	"flow.PanicError":       {(&flow.PanicError{Value: io.EOF}).Error()},
	"flow.TemplateError":    {(&flow.TemplateError{Expr: "X1", Kind: "unclosed"}).Error(), (&flow.TemplateError{Expr: "payload", Root: "payload", Kind: "field"}).Error(), (&flow.TemplateError{Expr: "X1"}).Error()},
	"flow.TopicError":       {`X1 is not UTF-8: "x"`, `X1 holds the character U+0001, which a topic may not have: "x"`},
	"lint.Error":            {}, // findings have texts in both languages
	"ui.fault":              {}, // has texts in both languages
	"command.codedError":    {},
	"command.toldError":     {"publish \"a\": sent, outcome unknown: the server closed the connection", "the server closed it", "the server closed the connection before CONNACK"},
	"command.patienceError": {"timed out after 1 s"},
	"deadletters.FindError": {(&deadletters.FindError{ID: "a"}).Error(), (&deadletters.FindError{ID: "a", Many: true}).Error()},
	"explain.HexError":      {`explain: line 3: "x" is not a hexadecimal byte`},
}

// Every error type is translated, in each of its forms.
func TestErrorTypesSpeakChinese(t *testing.T) {
	for name, texts := range made {
		for _, text := range texts {
			zh := Of(text)
			if words := english(zh); len(words) > 0 || zh == text {
				t.Errorf("%s: %q has no Chinese: %s %v", name, text, zh, words)
			}
		}
	}
	seen := make(map[string]bool)
	for _, dir := range dirs(t) {
		sources(t, dir, func(path string, _ *token.FileSet, file *ast.File) {
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "Error" && f.Recv != nil && f.Type.Results != nil {
					on := f.Recv.List[0].Type
					if star, ok := on.(*ast.StarExpr); ok {
						on = star.X
					}
					name := file.Name.Name + "." + fmt.Sprint(on)
					_, has := made[name]
					require.True(t, has, "%s: no text of %s is tried", path, name)
					seen[name] = true
				}
			}
		})
	}
	require.Len(t, seen, len(made))
}

// Texts of the system's errors on this machine.
func TestSystemSpeaksChinese(t *testing.T) {
	for errno, zh := range systemErrors {
		if errno == syscall.EAGAIN || errno == syscall.EOPNOTSUPP {
			continue // shares its text with another number on some systems
		}
		require.Equal(t, zh, Of(errno.Error()), "%d", errno)
	}
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, io.ErrShortWrite, os.ErrDeadlineExceeded, os.ErrClosed, os.ErrNotExist, os.ErrExist, os.ErrPermission, os.ErrInvalid, net.ErrClosed,
		context.Canceled, context.DeadlineExceeded, exec.ErrWaitDelay, strconv.ErrRange, strconv.ErrSyntax} {
		zh := Of(err.Error())
		require.Empty(t, english(zh), zh)
	}
	_, open := os.Open(filepath.Join(t.TempDir(), "none"))
	require.Regexp(t, "none 不存在$", Of(open.Error()))
	_, number := strconv.Atoi("x")
	require.Equal(t, `"x"：格式有误`, Of(number.Error()))
	require.Equal(t, "JSON 不完整", Of(json.Unmarshal([]byte("{"), new(any)).Error()))
	require.Equal(t, "JSON 中 键之后不能是 '1'", Of(json.Unmarshal([]byte(`{"a"1}`), new(any)).Error()))
}
