package verbs

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	mochipackets "github.com/mochi-mqtt/server/v2/packets"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// doctor prints a table in both languages, lines of JSON, and the settings of a configuration that do not
// fit.
func TestDoctor(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	fast := []string{"doctor", "--yes", "--patience", "300ms", "--resend", "300ms", "--max-packet", "65536"}
	out := ok(t, append(fast, "-b", addr)...)
	require.Contains(t, out, "QoS 1 and 2")
	require.Contains(t, out, "→ order: true does not hold for messages queued")
	require.NotContains(t, out, "not known")
	r := mqtt311(t, append(fast, "-b", addr, "--lang", "zh", "--json", "--forbidden", "secret")...)
	require.Zero(t, r.code, r.err)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var row rowLine
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &row))
	require.Equal(t, rowLine{Probe: "delivery", Asked: "发给订阅者的消息", Answer: "能收到"}, row)
	var facts factsLine
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &facts))
	require.True(t, facts.Facts.ExactlyOnce)
	require.Equal(t, 65536, facts.Facts.Largest)
	require.Empty(t, facts.Left)
	require.Empty(t, facts.Unknown)

	file := filepath.Join(t.TempDir(), "c.yaml")
	text := "connector:\n  general: {broker_url: '" + addr + "', client_id: c}\n  advanced: {clean_session: false, order: true, auto_reconnect: true}\n" +
		"consumers:\n  in: {topics: [x], qos: 1, flow_timeout: 10s, on_failure: {retries: 1, then: drop}}\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	r = mqtt311(t, append(fast, "-c", file)...)
	require.Equal(t, command.ExitFindings, r.code, r.err)
	require.Contains(t, r.out, file+": connector.advanced.order: is true, and the server delivers what waited in another order\n")
	require.Contains(t, r.err, "settings in "+file+" that do not fit the server: 1")
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(text, "order: true, ", "", 1)), 0o600))
	require.Contains(t, ok(t, append(fast, "-c", file)...), file+": fits the server\n")
}

func TestDoctorRefuses(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	require.NoError(t, os.WriteFile(broken, []byte("connector: {}\n"), 0o600))
	for args, want := range map[string]string{
		"doctor -b 127.0.0.1:1":                       "add --yes",
		"doctor --yes --max-packet 1":                 "--max-packet is 1",
		"doctor --yes --patience 1ms":                 "100 ms at the least",
		"doctor --yes --patience 1000000h":            "an hour",
		"doctor --yes --forbidden a/#":                "--forbidden",
		"doctor --yes --prefix a/#/":                  "--prefix",
		"doctor --yes -c x -b 127.0.0.1:1":            "--broker stands beside --config",
		"doctor --yes -c /no/such/file":               "no such file",
		"doctor --yes -c " + broken:                   "mistakes in " + broken,
		"doctor --yes extra":                          "is not expected here",
		"doctor --yes -b 127.0.0.1:1 -h 127.0.0.1 -q": "",
	} {
		r := mqtt311(t, strings.Fields(args)...)
		require.Equal(t, command.ExitUsage, r.code, "%s: %s", args, r.err)
		require.Contains(t, r.err, want, args)
	}
	require.Equal(t, command.ExitConnection, mqtt311(t, "doctor", "--yes", "-b", "127.0.0.1:1").code)
}

// An interrupt ends doctor with the exit code for that, and without a table.
func TestDoctorInterrupted(t *testing.T) {
	addr := startBroker(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	r := runWith(t, ctx, "", "doctor", "--yes", "-b", addr)
	require.Equal(t, command.ExitInterrupt, r.code, r.err)
	require.Empty(t, r.out)
}

// The server of each connection is tested, and the settings of that connection are judged; an unreachable server
// does not prevent the other tests.
func TestDoctorConnections(t *testing.T) {
	t.Parallel()
	addr, nobody := startBroker(t), "127.0.0.1:1"
	quick := []string{"doctor", "--yes", "--patience", "300ms", "--resend", "300ms", "--max-packet", "4096"}
	write := func(t *testing.T, own, cloud string) string {
		payload := strings.Repeat("x", 5000)
		text := "connector:\n  general: {broker_url: '" + own + "', client_id: c}\n  advanced: {auto_reconnect: true}\n" +
			"connections:\n  cloud:\n    general: {broker_url: '" + cloud + "', client_id: d}\n    advanced: {will_enabled: true, will_topic: \"w/\\u4e00\", will_payload: x}\n" +
			"producers:\n  up: {topic: a/b, qos: 1, connection: cloud, payload: '" + payload + "'}\n"
		file := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	t.Run("both are there", func(t *testing.T) {
		t.Parallel()
		r := mqtt311(t, append(slices.Clip(quick), "-c", write(t, addr, addr))...)
		require.Contains(t, []int{0, command.ExitFindings}, r.code, r.err)
		require.Equal(t, 2, strings.Count(r.out, "QoS 1 and 2"), r.out)
		require.Contains(t, r.out, "\nconnections.cloud:\n")
		require.NotContains(t, r.err, "was not tried")
	})
	t.Run("as JSON", func(t *testing.T) {
		t.Parallel()
		var connections []string
		r := mqtt311(t, append(slices.Clip(quick), "-c", write(t, addr, addr), "--json")...)
		for line := range strings.Lines(r.out) {
			var facts struct {
				Connection string
				Facts      *struct{}
			}
			require.NoError(t, json.Unmarshal([]byte(line), &facts))
			if facts.Facts != nil {
				connections = append(connections, facts.Connection)
			}
		}
		require.Equal(t, []string{"", "cloud"}, connections)
	})
	t.Run("one is away", func(t *testing.T) {
		t.Parallel()
		r := mqtt311(t, append(slices.Clip(quick), "-c", write(t, addr, nobody))...)
		require.Equal(t, command.ExitConnection, r.code, r.err)
		require.Equal(t, 1, strings.Count(r.out, "QoS 1 and 2"), r.out)
		require.Contains(t, r.err, "connections.cloud: connect: ")
		require.NotContains(t, r.out, "fits the server")
		r = mqtt311(t, append(slices.Clip(quick), "-c", write(t, nobody, addr), "--lang", "zh")...)
		require.Equal(t, command.ExitConnection, r.code, r.err)
		require.Contains(t, r.out, "\nconnections.cloud:\n")
		require.Contains(t, r.err, "connector：连接失败：")
	})
}

// elsewhere subscribes clients to other filters than they request: they are granted, and nothing
// arrives.
type elsewhere struct{ mochi.HookBase }

func (*elsewhere) Provides(b byte) bool { return b == mochi.OnSubscribe }

func (*elsewhere) OnSubscribe(_ *mochi.Client, p mochipackets.Packet) mochipackets.Packet {
	for i := range p.Filters {
		p.Filters[i].Filter = "elsewhere"
	}
	return p
}

// If no message arrives, doctor says that almost nothing is known, not that a configuration fits.
func TestDoctorOfWhatIsNotKnown(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	require.NoError(t, b.Server.AddHook(new(elsewhere), nil))
	file := filepath.Join(t.TempDir(), "c.yaml")
	require.NoError(t, os.WriteFile(file, []byte("connector:\n  general: {broker_url: '"+b.Addr+"', client_id: c}\n  advanced: {auto_reconnect: true}\n"+
		"consumers:\n  in: {topics: [x], qos: 1, flow_timeout: 10s, on_failure: {retries: 1, then: drop}}\n"), 0o600))
	quick := []string{"doctor", "--yes", "--patience", "100ms", "--resend", "100ms", "--max-packet", "4096"}
	for _, way := range [][]string{{"-b", b.Addr}, {"-c", file}} {
		r := mqtt311(t, append(quick, way...)...)
		require.Equal(t, command.ExitSubscribe, r.code, r.err)
		require.Contains(t, r.err, "most of what the server does is not known")
		require.Contains(t, r.err, "--prefix")
		require.NotContains(t, r.out, "fits")
	}
	r := mqtt311(t, append(quick, "-b", b.Addr, "--json", "--lang", "zh")...)
	require.Contains(t, r.err, "订阅者收不到任何消息")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var facts factsLine
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &facts))
	require.Equal(t, "lost", facts.Facts.Delivery)
	require.Contains(t, facts.Unknown, "session")
	require.NotContains(t, facts.Unknown, "takeover")
}
