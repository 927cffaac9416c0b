// Package mosquitto runs the mosquitto broker for tests, on loopback: TCP, TLS and WebSocket
// implemented by other authors.
package mosquitto

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/program"
	"github.com/mqtt311/mqtt311/internal/testcert"
)

// Options are the settings that a test may change.
type Options struct {
	// Config is added to the global part of the configuration file, a line
	// each.
	Config string

	// Anonymous is whether clients may connect without a user name. If nil, they may.
	Anonymous *bool
}

// A Broker is a mosquitto with its own folder, whose contents survive Kill, Stop and Restart.
type Broker struct {
	// The URLs of the listeners. MTLS and WSSM demand a client certificate,
	// whose common name becomes the user name.
	TCP, TLS, MTLS, WS, WSS, WSSM string

	CA     *testcert.Pair // issued Server and Client
	Server *testcert.Pair
	Client *testcert.Pair // common name client1

	// The same certificates as files, for options that take paths.
	CAFile, ClientCert, ClientKey string

	*program.Program

	t     testing.TB
	dir   string
	addrs []string // host:port of TCP, TLS, MTLS, WS, WSS, WSSM
}

// install says how to install the program.
const install = "apt-get install -y --no-install-recommends mosquitto"

// Start starts a broker and returns once it has answered a CONNECT. It is
// stopped when the test ends.
func Start(t testing.TB, opts Options) *Broker {
	t.Helper()
	path := program.Find(t, install,
		"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto")
	b := &Broker{t: t, dir: t.TempDir()}
	b.Program = &program.Program{
		T: t, Path: path, Args: []string{"-c", filepath.Join(b.dir, "mosquitto.conf")},
		Ready: b.ready, LogFile: filepath.Join(b.dir, "log"),
	}
	b.makeCertificates()
	t.Cleanup(b.Kill)
	// mosquitto cannot choose ports itself. If another process takes one before it starts, try new ones.
	for attempt := 1; ; attempt++ {
		b.choosePorts()
		b.write("mosquitto.conf", b.config(opts))
		err := b.Program.Start()
		if err == nil {
			return b
		}
		if attempt == 5 {
			t.Fatalf("mosquitto does not start: %v", err)
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

func (b *Broker) choosePorts() {
	b.addrs = program.FreePorts(b.t, 6)
	b.TCP, b.TLS, b.MTLS = "mqtt://"+b.addrs[0], "mqtts://"+b.addrs[1], "mqtts://"+b.addrs[2]
	b.WS, b.WSS, b.WSSM = "ws://"+b.addrs[3]+"/mqtt", "wss://"+b.addrs[4]+"/mqtt", "wss://"+b.addrs[5]+"/mqtt"
}

// Addr returns the host:port of the TCP listener.
func (b *Broker) Addr() string { return b.addrs[0] }

// Folder returns the folder of the broker's persistent data.
func (b *Broker) Folder() string { return filepath.Join(b.dir, "data") }

// config works around mosquitto 2.0: run as root, it changes to a user that cannot read the folder; a WebSocket listener ignores
// the address unless the protocol is set to IPv4; without set_tcp_nodelay a PUBACK waits 40 ms for another.
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
`, anonymous, filepath.Join(b.dir, "data"), b.LogFile, opts.Config)
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

// ready checks that each listener accepts connections and that the TCP listener answers a CONNECT.
func (b *Broker) ready() error {
	for _, addr := range b.addrs[1:] {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		conn.Close()
	}
	return program.Answers(b.addrs[0])
}
