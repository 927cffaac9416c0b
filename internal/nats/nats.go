// Package nats runs the MQTT side of nats-server for tests. It differs from other brokers in an important way: it
// sends unacknowledged messages again on a live connection whenever AckWait has passed, and after a reconnect not
// before that.
package nats

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/program"
)

// Options are the settings that a test may change.
type Options struct {
	// AckWait is how long the broker waits for an acknowledgement of a QoS 1 PUBLISH or a PUBREL
	// before it sends the packet again. If zero, 5 seconds. The broker's own default is 30.
	AckWait time.Duration

	// MaxAckPending is how many QoS 1 and 2 messages of a subscription may be unacknowledged. If zero,
	// 100. The broker's own default is 1,024.
	MaxAckPending int

	// Sync makes the broker sync its files before it acknowledges. Its own default is to sync every
	// two minutes.
	Sync bool

	// MaxFile is how much the broker may store on disk, like 64MB. If empty, 1GB.
	MaxFile string

	// Config is added to the configuration file, a line each.
	Config string
}

// A Broker is a nats-server with its own folder, whose contents survive Kill, Stop and Restart.
type Broker struct {
	*program.Program
	TCP    string // URL
	Client string // URL of the NATS protocol

	addr, dir string
}

// install says how to install the program, from the root of the repository.
const install = "make nats (it builds bin/nats-server)"

// Start starts a broker and returns once it has answered a CONNECT. It is stopped when the test
// ends. If nats-server is not installed, the test is skipped, or fails if CI=true is set in the
// environment.
func Start(t testing.TB, opts Options) *Broker {
	t.Helper()
	path := program.Find(t, install, "bin/nats-server")
	dir := t.TempDir()
	config := filepath.Join(dir, "nats.conf")
	b := &Broker{dir: dir}
	b.Program = &program.Program{
		T: t, Path: path, Args: []string{"-c", config},
		Ready:   func() error { return program.Answers(b.addr) },
		LogFile: filepath.Join(dir, "log"),
	}
	t.Cleanup(b.Kill)
	// If another process takes the port before the server starts, try a new one.
	for attempt := 1; ; attempt++ {
		ports := program.FreePorts(t, 2)
		b.addr = ports[0]
		b.TCP, b.Client = "mqtt://"+b.addr, "nats://"+ports[1]
		if err := os.WriteFile(config, []byte(text(dir, b.addr, ports[1], opts)), 0o600); err != nil {
			t.Fatal(err)
		}
		err := b.Program.Start()
		if err == nil {
			return b
		}
		if attempt == 5 {
			t.Fatalf("nats-server does not start: %v", err)
		}
	}
}

// Addr returns the host:port of the TCP listener.
func (b *Broker) Addr() string { return b.addr }

// Folder returns the folder of the broker's persistent data.
func (b *Broker) Folder() string { return filepath.Join(b.dir, "jetstream") }

// text returns the configuration file. MQTT needs JetStream and a name.
func text(dir, addr, client string, opts Options) string {
	if opts.AckWait == 0 {
		opts.AckWait = 5 * time.Second
	}
	if opts.MaxAckPending == 0 {
		opts.MaxAckPending = 100
	}
	interval := "2m"
	if opts.Sync {
		interval = "always"
	}
	var s strings.Builder
	fmt.Fprintf(&s, `server_name: mqtt311
listen: %q
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: %s, sync_interval: %s }
log_file: %q
logtime: true
mqtt {
  listen: %q
  ack_wait: %q
  max_ack_pending: %d
}
%s
`, client, filepath.Join(dir, "jetstream"), cmp.Or(opts.MaxFile, "1GB"), interval, filepath.Join(dir, "log"), addr, opts.AckWait, opts.MaxAckPending, opts.Config)
	return s.String()
}
