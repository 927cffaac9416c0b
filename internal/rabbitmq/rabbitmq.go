// Package rabbitmq runs RabbitMQ with its MQTT plugin for tests. This broker has no QoS 2, grants
// shared subscriptions but delivers nothing through them, has at most ten unacknowledged messages,
// and sends messages again under new Packet Identifiers.
package rabbitmq

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/program"
)

// A Broker is a RabbitMQ node with its own folder, whose contents survive Kill and Restart.
type Broker struct {
	TCP string // URL

	addr, folder string
	node, mapper *program.Program
}

// install says how to install the program.
const install = "apt-get install -y --no-install-recommends rabbitmq-server"

// Start starts a broker and returns once it has answered a CONNECT, after about five seconds. It is
// stopped when the test ends. If RabbitMQ is not installed, the test is skipped, or fails if
// CI=true is set in the environment.
func Start(t testing.TB) *Broker {
	t.Helper()
	// This script runs the node as the current user; the one in /usr/sbin changes the user.
	node := program.Find(t, install, "/usr/lib/rabbitmq/bin/rabbitmq-server")
	mapper := program.Find(t, install, "epmd")
	b := new(Broker)
	t.TempDir() // the first call, so that the directories are removed after Kill
	t.Cleanup(b.Kill)
	// If another process takes a port before the node starts, try new ones.
	for attempt := 1; ; attempt++ {
		b.prepare(t, node, mapper)
		err := b.Begin()
		if err == nil {
			return b
		}
		if attempt == 3 {
			t.Fatalf("rabbitmq does not start: %v", err)
		}
	}
}

// Addr returns the host:port of the TCP listener.
func (b *Broker) Addr() string { return b.addr }

// prepare writes the files that a node reads. The node has its own name, cookie and folders, and
// its own port mapper, which Erlang would otherwise start on all interfaces and leave behind.
func (b *Broker) prepare(t testing.TB, node, mapper string) {
	t.Helper()
	dir := t.TempDir()
	ports := program.FreePorts(t, 3)
	b.addr, b.TCP = ports[0], "mqtt://"+ports[0]
	mapping, distribution := port(ports[1]), port(ports[2])
	log := filepath.Join(dir, "log")
	b.folder = filepath.Join(dir, "mnesia")
	write(t, filepath.Join(dir, "enabled_plugins"), "[rabbitmq_mqtt].\n")
	write(t, filepath.Join(dir, "rabbitmq.conf"), fmt.Sprintf(config, b.addr))
	env := []string{
		"HOME=" + dir, // holds the Erlang cookie
		"RABBITMQ_NODENAME=mqtt311-" + port(b.addr) + "@localhost",
		"ERL_EPMD_PORT=" + mapping,
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_DIST_PORT=" + distribution,
		"RABBITMQ_MNESIA_BASE=" + b.folder,
		"RABBITMQ_LOG_BASE=" + dir,
		"RABBITMQ_LOGS=" + log,
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "rabbitmq"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + filepath.Join(dir, "advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "enabled_plugins"),
		"RABBITMQ_PID_FILE=" + filepath.Join(dir, "pid"),
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_ALLOW_INPUT=1", // the script execs the node, so both are one process
	}
	b.mapper = &program.Program{
		T: t, Path: mapper, Args: []string{"-address", "127.0.0.1", "-port", mapping},
		Ready: func() error {
			conn, err := net.DialTimeout("tcp", ports[1], time.Second)
			if err == nil {
				conn.Close()
			}
			return err
		},
		LogFile: log,
	}
	b.node = &program.Program{
		T: t, Path: node, Args: []string{"-noinput"}, Env: env,
		Ready:    func() error { return program.Answers(b.addr) },
		Patience: 5 * time.Minute,
		LogFile:  log,
	}
}

// config accepts every client, on loopback only. It keeps the node from using all memory, and from
// refusing to work on a disk that is nearly full.
const config = `listeners.tcp = none
loopback_users = none
mqtt.listeners.tcp.1 = %s
mqtt.allow_anonymous = true
mqtt.default_user = guest
mqtt.default_pass = guest
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
`

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Begin starts the broker after Kill.
func (b *Broker) Begin() error {
	if err := b.mapper.Start(); err != nil {
		return err
	}
	err := b.node.Start()
	if err != nil {
		b.mapper.Kill()
	}
	return err
}

// Kill ends the broker like a crash. If the broker does not run, Kill does nothing.
func (b *Broker) Kill() {
	if b.node != nil {
		b.node.Kill()
		b.mapper.Kill()
	}
}

// Restart starts the broker in the same folder and on the same ports, after killing it if it runs.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	b.Kill()
	if err := b.Begin(); err != nil {
		t.Fatalf("rabbitmq does not start again: %v", err)
	}
}

// Folder returns the folder of the broker's persistent data.
func (b *Broker) Folder() string { return b.folder }

// Pause stops the node without ending its connections. The test must call Resume.
func (b *Broker) Pause() { b.node.Pause() }

// Resume ends Pause.
func (b *Broker) Resume() { b.node.Resume() }

// Log returns the end of the broker's log.
func (b *Broker) Log() string { return b.node.Log() }
