// Package mosquitto runs the mosquitto broker for tests: real TCP, TLS and
// WebSocket of somebody else's making, on loopback.
package mosquitto

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/testcert"
)

// Options are what a test may want differently.
type Options struct {
	// Config is added to the global part of the configuration file, a line
	// each.
	Config string

	// Anonymous is whether clients may come without a user name. If nil, they
	// may.
	Anonymous *bool
}

// A Broker is one mosquitto with a folder of its own, where what it stores
// stays through [Broker.Kill] and [Broker.Restart].
type Broker struct {
	// The URLs of the listeners. MTLS and WSSM demand a client certificate,
	// whose common name becomes the user name.
	TCP, TLS, MTLS, WS, WSS, WSSM string

	CA     *testcert.Pair // signed Server and Client
	Server *testcert.Pair
	Client *testcert.Pair // common name client1

	// Files of the same, for options that take paths.
	CAFile, ClientCert, ClientKey string

	t       testing.TB
	program string
	dir     string
	addrs   [6]string // host:port of TCP, TLS, MTLS, WS, WSS, WSSM
	process *exec.Cmd
	exited  chan struct{} // closed when process has ended
}

// install says how to get the program.
const install = "apt-get install -y --no-install-recommends mosquitto"

// Find returns the path of the program. Where it is not installed the test is
// skipped, or fails if the environment says CI=true.
func Find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("mosquitto is not installed: %s", install)
	}
	t.Skipf("mosquitto is not installed: %s", install)
	return ""
}

// Start starts a broker and returns once it has answered a CONNECT. It is
// stopped when the test ends.
func Start(t testing.TB, opts Options) *Broker {
	t.Helper()
	b := &Broker{t: t, program: Find(t), dir: t.TempDir()}
	b.makeCertificates()
	t.Cleanup(b.Kill)
	// The program cannot choose ports itself, so another may take one between
	// here and there: then new ones.
	for attempt := 1; ; attempt++ {
		b.choosePorts()
		b.write("mosquitto.conf", b.config(opts))
		err := b.start()
		if err == nil {
			return b
		}
		if attempt == 5 {
			t.Fatalf("mosquitto does not start: %v\n%s", err, b.Log())
		}
	}
}

func (b *Broker) makeCertificates() {
	b.CA = testcert.Authority(b.t)
	b.Server = b.CA.Issue(b.t)
	b.Client = b.CA.Issue(b.t, testcert.ForClients(), testcert.CommonName("client1"))
	b.CAFile, _ = b.CA.Write(b.t, b.dir, "ca")
	b.Server.Write(b.t, b.dir, "server")
	b.ClientCert, b.ClientKey = b.Client.Write(b.t, b.dir, "client")
	if err := os.Mkdir(filepath.Join(b.dir, "data"), 0o700); err != nil {
		b.t.Fatal(err)
	}
}

// choosePorts finds six free ports, held all at once so that they differ.
func (b *Broker) choosePorts() {
	for i := range b.addrs {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.t.Fatal(err)
		}
		defer ln.Close()
		b.addrs[i] = ln.Addr().String()
	}
	b.TCP, b.TLS, b.MTLS = "mqtt://"+b.addrs[0], "mqtts://"+b.addrs[1], "mqtts://"+b.addrs[2]
	b.WS, b.WSS, b.WSSM = "ws://"+b.addrs[3]+"/mqtt", "wss://"+b.addrs[4]+"/mqtt", "wss://"+b.addrs[5]+"/mqtt"
}

// Addr returns the host:port of the TCP listener.
func (b *Broker) Addr() string { return b.addrs[0] }

// config writes around what mosquitto 2.0 does: as root it changes to a user
// that cannot read the folder; a WebSocket listener ignores the address unless
// it is told IPv4; without set_tcp_nodelay a PUBACK waits 40 ms for another.
func (b *Broker) config(opts Options) string {
	anonymous := opts.Anonymous == nil || *opts.Anonymous
	var s strings.Builder
	fmt.Fprintf(&s, `user root
per_listener_settings false
allow_anonymous %t
persistence true
persistence_location %s/
autosave_interval 1
autosave_on_changes true
set_tcp_nodelay true
log_type all
log_dest file %s
%s
`, anonymous, filepath.Join(b.dir, "data"), b.logFile(), opts.Config)
	for i, addr := range b.addrs {
		_, port, _ := net.SplitHostPort(addr)
		fmt.Fprintf(&s, "listener %s 127.0.0.1\n", port)
		if i >= 3 {
			s.WriteString("protocol websockets\nsocket_domain ipv4\n")
		}
		if i%3 > 0 {
			fmt.Fprintf(&s, "cafile %[1]s/ca.crt\ncertfile %[1]s/server.crt\nkeyfile %[1]s/server.key\n", b.dir)
		}
		if i%3 == 2 {
			s.WriteString("require_certificate true\nuse_identity_as_username true\n")
		}
	}
	return s.String()
}

func (b *Broker) write(name, text string) {
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *Broker) logFile() string { return filepath.Join(b.dir, "log") }

// Log returns the end of the broker's log.
func (b *Broker) Log() string {
	text, err := os.ReadFile(b.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8192):])
}

// start runs the program and waits for its CONNACK.
func (b *Broker) start() error {
	b.process = exec.Command(b.program, "-c", filepath.Join(b.dir, "mosquitto.conf"))
	output := new(strings.Builder)
	b.process.Stdout, b.process.Stderr = output, output
	if err := b.process.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	b.exited = exited
	process := b.process
	go func() { process.Wait(); close(exited) }()
	if err := b.await(10 * time.Second); err != nil {
		b.Kill()
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

// await asks until each listener accepts, and that of TCP answers a CONNECT.
func (b *Broker) await(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := b.ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %v: %w", patience, err)
		}
		select {
		case <-b.exited:
			return errors.New("the process ended at once")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (b *Broker) ready() error {
	for _, addr := range b.addrs[1:] {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		conn.Close()
	}
	conn, err := net.DialTimeout("tcp", b.addrs[0], time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	// CONNECT, CleanSession 1, Keep Alive 60 s, Client Identifier "ready".
	if _, err := conn.Write([]byte("\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05ready")); err != nil {
		return err
	}
	var connack [4]byte // any code: a broker that wants a login refuses this one
	if _, err := io.ReadFull(conn, connack[:]); err != nil {
		return err
	}
	if connack[0] != 0x20 || connack[1] != 2 {
		return fmt.Errorf("the CONNACK is % x", connack)
	}
	return nil
}

// Kill ends the process as a crash does, without its last words. If it does
// not run, nothing happens.
func (b *Broker) Kill() { b.end(os.Kill) }

// Stop ends the process as an operator does, so that it stores what it holds.
func (b *Broker) Stop() { b.end(os.Interrupt) }

func (b *Broker) end(signal os.Signal) {
	if b.process == nil || b.process.Process == nil {
		return
	}
	b.process.Process.Signal(signal)
	select {
	case <-b.exited:
	case <-time.After(10 * time.Second):
		b.process.Process.Kill()
		<-b.exited
	}
	b.process = nil
}

// Restart starts the broker again after Kill or Stop, in the same folder, on
// the same ports.
func (b *Broker) Restart() {
	b.t.Helper()
	b.Kill()
	if err := b.start(); err != nil {
		b.t.Fatalf("mosquitto does not start again: %v\n%s", err, b.Log())
	}
}

// Pause stops the process without ending its connections, as a machine that
// hangs does. The test must call Resume.
func (b *Broker) Pause() { b.pause(true) }

// Resume ends Pause.
func (b *Broker) Resume() { b.pause(false) }
