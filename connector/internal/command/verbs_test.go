package command

import (
	"encoding/json"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// pub --stdin-json publishes what sub --json prints, with the same bytes, QoS and retained flag.
func TestPubTakesWhatSubPrints(t *testing.T) {
	addr := startBroker(t)
	queue(t, addr, "in/#")
	for _, payload := range []string{"é", "", "\xff\x00", `{"a":1}`} {
		ok(t, "pub", "-b", addr, "-t", "in/a", "-f", writeFile(t, "payload", payload), "-q", "2")
	}
	lines := fetch(t, addr, "in/#", "-C", "4", "--json")
	queue(t, addr, "in/#")
	r := runWith(t, t.Context(), lines, "pub", "-b", addr, "--stdin-json")
	require.Zero(t, r.code, r.err)
	got := strings.Fields(fetch(t, addr, "in/#", "-C", "4", "-F", "%t:%x:%q"))
	require.ElementsMatch(t, []string{"in/a:c3a9:2", "in/a::2", "in/a:ff00:2", "in/a:7b2261223a317d:2"}, got)

	// Missing fields come from the flags.
	queue(t, addr, "in/#")
	r = runWith(t, t.Context(), "{\"payload\":\"\"}\n{\"topic\":\"in/c\",\"payload\":\"x\",\"qos\":2}\n", "pub", "-b", addr, "--stdin-json", "-t", "in/b", "-q", "1")
	require.Zero(t, r.code, r.err)
	require.ElementsMatch(t, []string{"in/b::1", "in/c:78:2"}, strings.Fields(fetch(t, addr, "in/#", "-C", "2", "-F", "%t:%x:%q")))
}

func TestPubMistakesOfLines(t *testing.T) {
	addr := startBroker(t)
	for line, want := range map[string]string{
		"x":                     "not a message in JSON",
		`{"paylod":"x"}`:        `unknown field "paylod"`,
		`{"payload":"x"}`:       "topic",
		`{"topic":"a/#"}`:       "[MQTT-",
		`{"topic":"a","qos":3}`: "qos is 0, 1 or 2",
		`{"topic":"a","payload":"x","payload_base64":"eA=="}`: "payload and payload_base64 are both given",
	} {
		r := runWith(t, t.Context(), `{"topic":"a","payload":""}`+"\n"+line+"\n", "pub", "-b", addr, "--stdin-json")
		require.Equal(t, ExitPublish, r.code, line)
		require.Contains(t, r.err, "standard input: line 2: ", line)
		require.Contains(t, r.err, want, line)
	}
}

func TestPubSeparatedByZeroBytes(t *testing.T) {
	addr := startBroker(t)
	queue(t, addr, "in/#")
	r := runWith(t, t.Context(), "a\nb\x00\x00c", "pub", "-b", addr, "-t", "in/a", "--stdin-null", "-q", "1")
	require.Zero(t, r.code, r.err)
	require.ElementsMatch(t, []string{"610a62", "", "63"}, strings.Split(strings.TrimSuffix(fetch(t, addr, "in/#", "-C", "3", "-F", "%x"), "\n"), "\n"))
}

// --rate spaces messages evenly: the third is sent two tenths of a second after the first.
func TestPubRate(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	start := time.Now()
	r := runWith(t, t.Context(), "a\nb\nc\n", "pub", "-b", addr, "-t", "in/a", "-l", "--rate", "10")
	require.Zero(t, r.code, r.err)
	require.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond)
}

// A failed message ends pub -l even if no further line comes; so does the end of the user's
// patience.
func TestPubEndsWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	addr := serveTCP(t, func(c net.Conn) { // closes at every PUBLISH, as if its topic were forbidden
		io.ReadAtLeast(c, make([]byte, 256), 14)
		c.Write([]byte{0x20, 2, 0, 0})
		io.ReadAtLeast(c, make([]byte, 256), 1)
	})
	for _, c := range []struct {
		line, wait string
		code       int
		want       string
	}{
		{"x\n", "0", ExitPublish, "publish"}, // its session is gone, and what became of the message
		{"", "1", ExitTimeout, "timed out after 1 s"},
	} {
		in, stdin := io.Pipe()
		errs := newOutput()
		done := make(chan int, 1)
		go func() {
			p := &Program{Stdin: in, Stdout: io.Discard, Stderr: errs}
			done <- p.run(t.Context(), []string{"pub", "-b", addr, "-t", "a", "-l", "-q", "2", "-W", c.wait})
		}()
		io.WriteString(stdin, c.line)
		code := <-done
		require.Equal(t, c.code, code, errs)
		require.Contains(t, errs.String(), c.want)
		stdin.Close()
	}
}

// %J prints a payload that is JSON as JSON, %U prints a Unix time, %X prints upper-case hexadecimal.
func TestSubMoreFormats(t *testing.T) {
	addr := startBroker(t)
	for payload, want := range map[string]any{`{"a":[1]}`: map[string]any{"a": []any{1.0}}, "21": 21.0, "text": "text"} {
		queue(t, addr, "in/#")
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", payload, "-q", "1")
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(fetch(t, addr, "in/#", "-C", "1", "-F", "%J")), &m))
		require.Equal(t, want, m["payload"])
		require.Equal(t, "in/a", m["topic"])
	}
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "\xaf", "-q", "1")
	require.Regexp(t, `^AF \d{10}\.\d{9}\n$`, fetch(t, addr, "in/#", "-C", "1", "-F", "%X %U"))
}

// --proxy connects pub and sub through a proxy.
func TestProxyFlag(t *testing.T) {
	addr := startBroker(t)
	asked := make(chan string, 1)
	proxy := serveTCP(t, func(c net.Conn) {
		b := make([]byte, 1024)
		n, _ := c.Read(b)
		asked <- strings.SplitN(string(b[:n]), "\r\n", 2)[0]
		there, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer there.Close()
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(there, c)
		io.Copy(c, there)
	})
	ok(t, "pub", "-b", "broker.test:1883", "-t", "a", "-m", "x", "-q", "1", "--proxy", "http://"+proxy)
	require.Equal(t, "CONNECT broker.test:1883 HTTP/1.1", <-asked)
}

// test runs through the steps and succeeds, in both languages and in JSON.
func TestTestVerb(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, "consumers:\n  in: {topics: ['in/#'], qos: 1, on_failure: {retries: 1, then: drop}}\n  group: {topics: [s], qos: 2, share_group: g, on_failure: {retries: 1, then: drop}}\n")
	r := mqtt311(t, "test", "-c", file)
	require.Zero(t, r.code, r.err)
	require.Regexp(t, `^configuration  ok +[\d.]+ ms
tcp            ok +[\d.]+ ms  `+addr+`
connect        ok +[\d.]+ ms
subscribe      ok +[\d.]+ ms
disconnect     ok +[\d.]+ ms
  group  s: QoS 2 \(tested without its share group\)
  in  in/#: QoS 1
Connected as q-test-[A-Z2-7]{4}\.
$`, r.out)
	require.Contains(t, mqtt311(t, "test", "-c", file, "--own-id").out, "Connected as q; the server had no session of it.")
	zh := mqtt311(t, "test", "-c", file, "--lang", "zh")
	require.Regexp(t, "^配置           成功 ", zh.out)
	require.Contains(t, zh.out, "连接成功，客户端 ID 为 q-test-")

	r = mqtt311(t, "test", "-c", file, "--json")
	require.Zero(t, r.code)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	require.Len(t, lines, 5+2+1)
	var s stepLine
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &s))
	require.Equal(t, "tcp", s.Step)
	require.True(t, s.OK)
	require.Positive(t, s.Millis)
	var g grantLine
	require.NoError(t, json.Unmarshal([]byte(lines[6]), &g))
	require.Equal(t, "in/#", g.Filter)
	require.Equal(t, 1, *g.Granted)
	var sum summaryLine
	require.NoError(t, json.Unmarshal([]byte(lines[7]), &sum))
	require.True(t, sum.OK)
	require.True(t, sum.CleanSession)

	// The test does not disconnect a running connector.
	running := startRun(t, "run", "-c", file)
	running.err.until(t, `"msg":"started"`)
	require.Zero(t, mqtt311(t, "test", "-c", file).code)
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "still here", "-q", "1")
	running.out.until(t, "still here")
	require.NotContains(t, running.err.String(), "connection lost")
	running.stop()
	require.Zero(t, <-running.code)
}

// A failed step is the last, with its reason and a hint.
func TestTestVerbFails(t *testing.T) {
	t.Parallel()
	file := configFile(t, "127.0.0.1:1", consumes)
	r := mqtt311(t, "test", "-c", file)
	require.Equal(t, ExitConnection, r.code)
	require.Regexp(t, `tcp            failed +[\d.]+ ms  127.0.0.1:1\n$`, r.out)
	require.Contains(t, r.err, "connection refused")
	require.Contains(t, r.err, "Nothing listens on this port")
	r = mqtt311(t, "test", "-c", file, "--lang", "zh")
	require.Regexp(t, "TCP 连接       失败 ", r.out)
	require.Contains(t, r.err, "该端口没有服务在监听")

	silent := serveTCP(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	file = writeFile(t, "c.yaml", "connector:\n  general: {broker_url: '"+silent+"', client_id: c}\n  advanced: {connect_timeout: 300ms}\n")
	r = mqtt311(t, "test", "-c", file, "--json")
	require.Equal(t, ExitTimeout, r.code)
	require.Contains(t, r.out, `"type":"MQTT:CONNECT_TIMEOUT"`)
	require.Contains(t, r.err, `"code":7`)

	require.Equal(t, ExitUsage, mqtt311(t, "test").code)
	require.Equal(t, ExitUsage, mqtt311(t, "test", "-c", writeFile(t, "bad.yaml", wrong)).code)
}

// schema prints what a standard validator accepts, the same as the library.
func TestSchemaVerb(t *testing.T) {
	require.Equal(t, string(config.EditorSchema()), ok(t, "schema", "--editor"))
	out := ok(t, "schema")
	require.Equal(t, string(config.Schema()), out)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", doc))
	_, err = c.Compile("schema.json")
	require.NoError(t, err)
}

// A shell is offered commands, flags and their values, including the producers of the
// configuration.
func TestCompletion(t *testing.T) {
	file := configFile(t, "127.0.0.1:1883", consumes+"producers:\n  commands: {topic: plant/x}\n  other: {topic: y}\n")
	for args, want := range map[string]string{
		"run -c " + file + " --then ":       "commands\tplant/x\nother\ty\n:4\n",
		"run -c " + file + " --producer co": "commands\tplant/x\n:4\n",
		"run -c /no/file --then ":           ":4\n",
		"run --log-level ":                  "debug\ninfo\nwarn\nerror\n:4\n",
		"pub --lang zh --qos ":              "0\t最多一次\n1\t至少一次\n2\t恰好一次\n:4\n",
		"sub --tls-version ":                "tlsv1.2\ntlsv1.3\n:4\n",
		"run -c ":                           "yaml\nyml\njson\n:8\n",
		"completion z":                      "zsh\n:4\n",
		"--lang ":                           "en\nzh\n:4\n",
		"help ve":                           "version\tPrint the version\n:4\n",
		"sub -t ":                           ":4\n",
	} {
		words := strings.Split(args, " ")
		out := mqtt311(t, append([]string{"__complete"}, words...)...).out
		require.Equal(t, want, out, args)
	}
	for _, shell := range shells {
		require.Contains(t, ok(t, "completion", shell), "mqtt311")
	}
	if bash, err := exec.LookPath("bash"); err == nil {
		cmd := exec.Command(bash, "-n")
		cmd.Stdin = strings.NewReader(ok(t, "completion", "bash"))
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", said)
	}
}
