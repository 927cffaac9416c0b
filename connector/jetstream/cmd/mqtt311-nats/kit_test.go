package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/require"
)

// mainVariable is the environment variable that makes this program the command.
const mainVariable = "MQTT311_NATS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// longEnough is far longer than any step of a passing test takes.
const longEnough = 2 * time.Minute

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(longEnough); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, longEnough)
		}
	}
}

// A process is a process that runs the command.
type process struct {
	t    *testing.T
	args []string
	dir  string
	cmd  *exec.Cmd

	exited chan struct{}
	err    error // of its exit

	mu   sync.Mutex
	said strings.Builder
}

// Write records the standard error of the process.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// start runs the command in a directory. It is killed when the test ends.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, args: args, dir: dir}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			log := p.log()
			t.Logf("%v:\n%s", p.args, log[max(0, len(log)-3000):])
		}
	})
	p.start()
	return p
}

func (p *process) start() {
	p.t.Helper()
	self, err := os.Executable()
	require.NoError(p.t, err)
	p.cmd, p.exited = exec.Command(self, p.args...), make(chan struct{})
	p.cmd.Dir = p.dir
	p.cmd.Env = append(os.Environ(), mainVariable+"=1", "LC_ALL=C")
	p.cmd.Stdout, p.cmd.Stderr = io.Discard, p
	require.NoError(p.t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
}

// kill ends the process like a crash.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// again kills the process and starts another one in its place.
func (p *process) again() {
	p.t.Helper()
	p.kill()
	p.mu.Lock()
	p.said.Reset()
	p.mu.Unlock()
	p.start()
}

// stop ends the process as an operator would, and requires success.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Zero(p.t, p.code(), p.log())
}

// code waits for the end, and returns the exit code.
func (p *process) code() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(longEnough):
		p.t.Fatalf("%v does not end", p.args)
	}
	return p.cmd.ProcessState.ExitCode()
}

// until waits until the process has written text to standard error.
func (p *process) until(text string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%v says %s", p.args, text), func() bool {
		select {
		case <-p.exited:
			p.t.Fatalf("%v ended: %v\n%s", p.args, p.err, p.log())
		default:
		}
		return strings.Contains(p.log(), text)
	})
}

var address = regexp.MustCompile(`"msg":"listening".*"address":"([^"]+)"`)

// get sends a request to the process, which must have --listen 127.0.0.1:0.
func (p *process) get(path string) (int, string) {
	p.t.Helper()
	p.until(`"address":`)
	resp, err := http.Get("http://" + address.FindStringSubmatch(p.log())[1] + path)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return resp.StatusCode, string(body)
}

// ready waits until the process is ready.
func (p *process) ready() {
	p.t.Helper()
	body := ""
	eventually(p.t, fmt.Sprintf("%v is ready", p.args), func() bool {
		var code int
		code, body = p.get("/readyz")
		return code == http.StatusOK
	})
	require.JSONEq(p.t, `{"ok": true, "reasons": []}`, body)
}

// metrics returns the values by name with labels.
func (p *process) metrics() map[string]float64 {
	p.t.Helper()
	code, body := p.get("/metrics")
	require.Equal(p.t, http.StatusOK, code, body)
	out := make(map[string]float64)
	for line := range strings.Lines(body) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			var v float64
			fmt.Sscan(value, &v)
			out[name] = v
		}
	}
	return out
}

// configuration writes a configuration from docs/jetstream.md to a new directory, with replacements, and returns
// the directory.
func configuration(t *testing.T, name string, replace ...string) (dir string) {
	t.Helper()
	text, err := os.ReadFile("../../../../docs/jetstream.md")
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(text), "```yaml\n# "+name+"\n")
	require.True(t, ok, "%s is not in the document", name)
	config, _, _ := strings.Cut(after, "```")
	config = strings.Replace(config, "max_bytes: 10737418240", "max_bytes: 104857600", 1) // the server of the tests has 1 GB
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, config, replace[i])
		config = strings.ReplaceAll(config, replace[i], replace[i+1])
	}
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(config), 0o600))
	return dir
}

// connect returns a client connected to a Server.
func connect(t *testing.T, url, id string, clean bool) *client.Client {
	t.Helper()
	dial, err := transport.Dialer(url, nil)
	require.NoError(t, err)
	c, err := client.New(client.Config{Dial: dial, ClientID: id, CleanSession: clean})
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	t.Cleanup(c.Abort)
	return c
}

const devices = 20

// publish publishes numbered messages, each from one of the devices.
func publish(t *testing.T, c *client.Client, from, n int) {
	t.Helper()
	var all []*client.Receipt
	for i := from; i < from+n; i++ {
		r, err := c.PublishAsync(t.Context(), client.Message{
			Topic: fmt.Sprintf("plant/line %d/reading", i%devices), QoS: packets.ExactlyOnce, Payload: fmt.Appendf(nil, `{"device": %d, "n": %d}`, i%devices, i),
		})
		require.NoError(t, err)
		all = append(all, r)
	}
	for _, r := range all {
		require.NoError(t, r.Wait(t.Context()))
	}
}

// A reading is the payload of a message of publish.
type reading struct{ Device, N int }

// readings returns what --append has written, by file.
func readings(t *testing.T, files ...string) (all [][]reading) {
	t.Helper()
	for _, name := range files {
		var of []reading
		f, err := os.Open(name)
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var line struct{ Payload string }
			var r reading
			if json.Unmarshal(lines.Bytes(), &line) == nil && json.Unmarshal([]byte(line.Payload), &r) == nil {
				of = append(of, r)
			}
		}
		f.Close()
		all = append(all, of)
	}
	return all
}

// different returns the number of different readings.
func different(all [][]reading) int {
	seen := make(map[reading]bool)
	for _, of := range all {
		for _, r := range of {
			seen[r] = true
		}
	}
	return len(seen)
}

// disorder lists the first occurrences that follow a later reading of their device.
func disorder(of []reading) (found []string) {
	seen, newest := make(map[reading]bool), make(map[int]int)
	for _, r := range of {
		if last, ok := newest[r.Device]; ok && r.N < last && !seen[r] {
			found = append(found, fmt.Sprintf("device %d: %d behind %d", r.Device, r.N, last))
		}
		seen[r] = true
		newest[r.Device] = max(newest[r.Device], r.N)
	}
	return found
}

// subscribed waits until the subscriptions of a session have been granted, according to the log of
// mosquitto.
func subscribed(t *testing.T, log func() string, id string) {
	t.Helper()
	eventually(t, "SUBACK for "+id, func() bool { return strings.Contains(log(), "Sending SUBACK to "+id) })
}

// drained receives the messages of a client until done returns true.
func drained(t *testing.T, c *client.Client, done func(d *client.Delivery) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	for d, err := range c.Messages(ctx) {
		require.NoError(t, err)
		d.Ack()
		if done(d) {
			return
		}
	}
}
