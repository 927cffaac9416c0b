package command

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func configFile(t *testing.T, addr, rest string) string {
	t.Helper()
	return writeFile(t, "connector.yaml", "connector:\n  general: {broker_url: '"+addr+"', client_id: q}\n"+
		"  advanced: {clean_session: false, auto_reconnect: true}\n"+rest)
}

const consumes = "consumers:\n  in: {topics: ['in/#'], qos: 1, on_failure: {initial_delay: 1ms, max_delay: 2ms, retries: 5, then: drop}}\n"

// A running is a command that runs until the test interrupts it.
type running struct {
	out, err *output
	stdin    *io.PipeWriter
	stop     context.CancelFunc
	code     chan int
}

func startRun(t *testing.T, args ...string) *running { return startProgram(t, new(Program), args...) }

// startProgram starts a program that a test has prepared.
func startProgram(t *testing.T, p *Program, args ...string) *running {
	ctx, cancel := context.WithCancel(t.Context())
	in, stdin := io.Pipe()
	r := &running{out: newOutput(), err: newOutput(), stdin: stdin, stop: cancel, code: make(chan int, 1)}
	p.Stdin, p.Stdout, p.Stderr = in, r.out, r.err
	go func() { r.code <- p.run(ctx, args) }()
	t.Cleanup(func() { stdin.Close(); cancel() })
	return r
}

// Without --exec each message is printed as a JSON line, and acknowledged once it was written.
func TestRunWritesJSONLines(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	file := configFile(t, addr, consumes)
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "é", "-q", "1")
	r := startRun(t, "run", "-c", file, "-v")
	r.out.until(t, "\n")
	r.err.until(t, `"msg":"started"`)
	r.stop()
	require.Equal(t, ExitOK, <-r.code, "an interrupt is how run ends")
	var l struct {
		Consumer, Payload string
		Attribute         map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(r.out.String()), &l))
	require.Equal(t, "in", l.Consumer)
	require.Equal(t, "é", l.Payload)
	require.Equal(t, "in/a", l.Attribute["topic"])
	require.Equal(t, 1.0, l.Attribute["QoS"])
	require.Len(t, l.Attribute, 3)

	// The message was acknowledged: nothing is left in the session.
	got := mqtt311(t, "sub", "-b", addr, "-i", "q", "-c", "-q", "1", "-t", "in/#", "-W", "1")
	require.Equal(t, ExitTimeout, got.code)
	require.Empty(t, got.out)
}

// --exec runs a command for each message, with its attributes in the environment; a command that
// fails is run again.
func TestRunExec(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, consumes)
	dir := t.TempDir()
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "hello", "-q", "1")
	script := `cd '` + dir + `' && echo run >> runs && test $(wc -l < runs) -ge 3 && cat > payload && echo "$MQTT_CONSUMER $MQTT_TOPIC $MQTT_QOS $MQTT_MESSAGE_ID" > facts && echo done`
	r := startRun(t, "run", "-c", file, "--exec", script, "-v")
	r.out.until(t, "done\n")
	r.err.until(t, `"msg":"started"`)
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
	payload, err := os.ReadFile(filepath.Join(dir, "payload"))
	require.NoError(t, err)
	require.Equal(t, "hello", string(payload))
	facts, err := os.ReadFile(filepath.Join(dir, "facts"))
	require.NoError(t, err)
	require.Regexp(t, `^in in/a 1 [1-9][0-9]*\n$`, string(facts))
	runs, err := os.ReadFile(filepath.Join(dir, "runs"))
	require.NoError(t, err)
	require.Equal(t, "run\nrun\nrun\n", string(runs))
	require.Equal(t, 2, strings.Count(r.err.String(), `"msg":"flow failed"`), r.err.String())
	require.Contains(t, r.err.String(), "exit status 1")
}

// Producers are fed from standard input, whose end ends a run without consumers.
func TestRunProducers(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, "producers:\n  commands: {topic: 'plant/${variable.line}', qos: 1}\n  other: {topic: plant/other, qos: 2}\n")
	require.Empty(t, ok(t, "sub", "-b", addr, "-i", "s", "-c", "-q", "2", "-t", "plant/#", "-E"))
	r := runWith(t, t.Context(), `{"producer": "commands", "payload": "on", "variable": {"line": 7}}
{"producer": "other", "payload_base64": "/wA=", "attribute": {}}
`, "run", "-c", file)
	require.Zero(t, r.code, r.err)
	r = runWith(t, t.Context(), "plain\n\n", "run", "-c", file, "--producer", "other")
	require.Zero(t, r.code, r.err)
	got := ok(t, "sub", "-b", addr, "-i", "s", "-c", "-q", "2", "-t", "plant/#", "-C", "4", "-F", "%t %x", "-W", "120")
	require.ElementsMatch(t, []string{"plant/7 6f6e", "plant/other ff00", "plant/other 706c61696e", "plant/other ", ""}, strings.Split(got, "\n"))
}

func TestRunProducerMistakes(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, "producers:\n  commands: {topic: 'plant/${variable.line}', qos: 1}\n")
	for line, want := range map[string]string{
		"plain":                                  "standard input: line 1: not a message",
		`{"producer": "x"}`:                      `standard input: line 1: there is no producer "x"`,
		`{"producer": "commands", "paylod": 1}`:  `standard input: line 1: not a message (json: unknown field "paylod")`,
		`{"producer": "commands", "payload": 1}`: "there is no variable.line",
	} {
		r := runWith(t, t.Context(), line+"\n", "run", "-c", file)
		require.Equal(t, ExitPublish, r.code)
		require.Contains(t, r.err, want)
	}
	r := mqtt311(t, "run", "-c", file, "--producer", "x")
	require.Equal(t, ExitUsage, r.code)
	require.Contains(t, r.err, `there is no producer "x"`)
}

// A connector receives what its own producer sends, in one process.
func TestRunBothWays(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, consumes+"producers:\n  out: {topic: in/out, qos: 2}\n")
	r := startRun(t, "run", "-c", file, "--producer", "out")
	_, err := io.WriteString(r.stdin, "hello\n")
	require.NoError(t, err)
	r.out.until(t, `"payload":"hello"`)
	require.NoError(t, r.stdin.Close())
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
}

// An interrupt waits for a line in flight, which does not fail. The command reports what happened.
func TestInterruptOfALine(t *testing.T) {
	published := make(chan struct{})
	addr := serveTCP(t, func(c net.Conn) {
		io.ReadAtLeast(c, make([]byte, 256), 14)
		c.Write([]byte{0x20, 2, 0, 0})
		io.ReadAtLeast(c, make([]byte, 256), 5)
		close(published)
		io.Copy(io.Discard, c)
	})
	r := startRun(t, "run", "-c", configFile(t, addr, "producers:\n  out: {topic: out, qos: 1}\n"), "--producer", "out", "--drain-timeout", "50ms")
	r.write(t, "on its way\n")
	<-published
	r.stop()
	require.Equal(t, ExitPublish, <-r.code)
	require.Contains(t, r.err.String(), "mqtt311: standard input: lines that were read and not published: 1, from line 1; some may have arrived")
}

// A failure at the start has its exit code and a hint.
func TestRunDoesNotStart(t *testing.T) {
	answer := func(connack, suback []byte) string {
		return serveTCP(t, func(c net.Conn) {
			io.ReadAtLeast(c, make([]byte, 256), 14)
			c.Write(connack)
			io.ReadAtLeast(c, make([]byte, 256), 5)
			c.Write(suback)
			io.Copy(io.Discard, c)
		})
	}
	cases := map[string]struct {
		addr string
		code int
		want string
	}{
		"no server":  {"127.0.0.1:1", ExitConnection, "Nothing listens on this port"},
		"refused":    {answer([]byte{0x20, 2, 0, 5}, nil), ExitRefused, "Check user name, password"},
		"no MQTT":    {answer([]byte{0, 0, 0, 0}, nil), ExitConnection, "Another protocol answers"},
		"no filters": {answer([]byte{0x20, 2, 0, 0}, []byte{0x90, 3, 0x80, 0, 0x80}), ExitSubscribe, "in/#"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := mqtt311(t, "run", "-c", configFile(t, c.addr, consumes))
			require.Equal(t, c.code, r.code, r.err)
			require.Contains(t, r.err, c.want)
		})
	}
}

const wrong = "connector:\n  general: {broker_url: nowhere, client_id: c, pasword: p}\n"

func TestCheck(t *testing.T) {
	good := writeFile(t, "good.yaml", "connector:\n  general: {broker_url: '127.0.0.1:1883', client_id: c}\n")
	require.Equal(t, good+": no problems found\n", ok(t, "check", "-c", good))

	warned := configFile(t, "127.0.0.1:1883", "consumers: {in: {topics: [a]}}\n")
	r := mqtt311(t, "check", "-c", warned)
	require.Zero(t, r.code, "warnings alone")
	require.Contains(t, r.out, warned+":4:17: W201 consumers.in.qos: is At Most Once")

	bad := writeFile(t, "bad.yaml", wrong)
	r = mqtt311(t, "check", "-c", bad)
	require.Equal(t, ExitFindings, r.code)
	require.Contains(t, r.out, bad+":2:48: E130 connector.general.pasword: is not a key that is known here → did you mean password?\n")
	require.Equal(t, "mqtt311: mistakes in "+bad+": 2\n", r.err)
	r = mqtt311(t, "check", "-c", bad, "--lang", "zh")
	require.Contains(t, r.out, "不是此处可用的键 → 是否指 password？")

	var f map[string]any
	r = mqtt311(t, "check", "-c", bad, "--json")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	require.Len(t, lines, 2)
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &f))
	require.Equal(t, "E130", f["code"])
	require.Equal(t, 2.0, f["line"])
	require.Equal(t, 48.0, f["column"])
	require.NotEmpty(t, f["fix_zh"])
}

// The file may be given without a flag; two different files are a mistake.
func TestConfigurationWithoutFlag(t *testing.T) {
	good := writeFile(t, "good.yaml", "connector:\n  general: {broker_url: '127.0.0.1:1', client_id: c}\n")
	for _, args := range [][]string{{good}, {"-c", good, good}} {
		require.Equal(t, good+": no problems found\n", ok(t, append([]string{"check"}, args...)...))
	}
	for _, verb := range []string{"test", "run"} {
		require.Equal(t, ExitConnection, mqtt311(t, verb, good).code, verb)
	}
	for _, verb := range []string{"check", "test", "run"} {
		for _, args := range [][]string{{"-c", good, "other.yaml"}, {good, "other.yaml"}} {
			r := mqtt311(t, append([]string{verb}, args...)...)
			require.Equal(t, ExitUsage, r.code, verb)
			require.Contains(t, r.err, `"other.yaml" stands beside the configuration `+good+": give one file")
		}
		require.Equal(t, ExitUsage, mqtt311(t, verb).code, "none")
	}
}

// run refuses an invalid file like check, and does not connect.
func TestRunRefusesAWrongFile(t *testing.T) {
	bad := writeFile(t, "bad.yaml", wrong)
	for _, args := range [][]string{nil, {"--json"}} {
		r := mqtt311(t, append([]string{"run", "-c", bad}, args...)...)
		require.Equal(t, ExitUsage, r.code)
		require.Contains(t, r.err, "E130")
		require.Empty(t, r.out, "standard output is for messages")
	}
}

// Each log line has the connector, the client id, and where the message came from. At no level does
// it have a payload or password.
func TestRunLog(t *testing.T) {
	addr := startBroker(t)
	file := writeFile(t, "hall.yaml", "connector:\n  general: {broker_url: '"+addr+"', client_id: q, username: u, password: pAsSwOrD}\n"+
		"  advanced: {clean_session: false, auto_reconnect: true}\n"+consumes+"producers:\n  out: {topic: out, qos: 1}\n")
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "cAnArY", "-q", "1")
	ok(t, "pub", "-b", addr, "-t", "in/b", "-m", "bad cAnArY", "-q", "1")
	r := startRun(t, "run", "-c", file, "--exec", "if grep -q bad; then exit 1; fi", "--then", "out", "-v")
	r.err.until(t, `"msg":"message dropped"`)
	r.err.until(t, `"msg":"flow succeeded"`)
	r.err.until(t, `"msg":"started"`)
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
	require.NotContains(t, r.err.String(), "cAnArY")
	require.NotContains(t, r.err.String(), "pAsSwOrD")
	flows := 0
	for line := range strings.Lines(r.err.String()) {
		var l map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		require.Equal(t, "hall", l["connector"], line)
		require.Equal(t, "q", l["client_id"], line)
		if l["msg"] == "flow failed" {
			flows++
			require.Equal(t, "in", l["consumer"])
			require.Equal(t, "in/b", l["topic"])
			require.NotZero(t, l["id"])
			require.EqualValues(t, flows, l["attempt"])
		}
	}
	require.Equal(t, 6, flows)
}
