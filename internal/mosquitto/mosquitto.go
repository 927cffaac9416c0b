// Package mosquitto starts a real mosquitto for a test, on free ports of the loopback
// interface and in a temporary folder, and stops it afterwards.
package mosquitto

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/packets"
)

const install = "apt-get install -y --no-install-recommends mosquitto"

// A Broker is a mosquitto that runs. Its listeners are host:port.
type Broker struct {
	TCP, TLS, MTLS, WS, WSS, WSSM string

	CA                    string // file of the authority that signed the server's certificate
	ClientCert, ClientKey string // files of a client certificate that MTLS and WSSM accept

	program string
	dir     string
	cmd     *exec.Cmd
	exited  chan struct{}
}

// Start starts a broker. extra are lines of its configuration. Where mosquitto is not
// installed the test is skipped; under CI it fails.
func Start(t testing.TB, extra ...string) *Broker {
	t.Helper()
	program, err := find()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("mosquitto is not installed: %s", install)
		}
		t.Skipf("mosquitto is not installed: %s", install)
	}
	b := &Broker{program: program, dir: t.TempDir()}
	ca := testcert.Authority(t)
	b.CA, _ = ca.Write(t, b.dir, "ca")
	ca.Issue(t).Write(t, b.dir, "server")
	b.ClientCert, b.ClientKey = ca.Issue(t, testcert.ForClients(), testcert.CommonName("client1")).Write(t, b.dir, "client")
	// mosquitto cannot choose a free port and say which. Another program may take one
	// between our look and its start: then try again.
	for range 5 {
		b.choosePorts(t)
		b.configure(t, extra)
		if err = b.launch(); err == nil {
			t.Cleanup(func() { b.stop(syscall.SIGTERM) })
			return b
		}
	}
	t.Fatalf("mosquitto does not start: %v", err)
	return nil
}

func find() (string, error) {
	if p, err := exec.LookPath("mosquitto"); err == nil {
		return p, nil
	}
	return exec.LookPath("/usr/sbin/mosquitto") // not on everybody's PATH
}

func (b *Broker) choosePorts(t testing.TB) {
	t.Helper()
	for _, addr := range []*string{&b.TCP, &b.TLS, &b.MTLS, &b.WS, &b.WSS, &b.WSSM} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // after all have been chosen, so that they differ
		*addr = l.Addr().String()
	}
}

func (b *Broker) configure(t testing.TB, extra []string) {
	t.Helper()
	var c strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&c, format+"\n", args...) }
	line("user root") // else it changes to a user who cannot read the folder
	line("allow_anonymous true")
	line("persistence true\npersistence_location %s/", b.dir)
	line("autosave_interval 1\nautosave_on_changes true") // survives SIGKILL
	line("set_tcp_nodelay true")                          // else a PUBACK behind a PUBLISH waits 40 ms
	line("log_dest file %s", filepath.Join(b.dir, "log"))
	for _, e := range extra {
		line("%s", e)
	}
	listen := func(addr string, ws, tls, client bool) {
		host, port, _ := net.SplitHostPort(addr)
		line("listener %s %s", port, host)
		if ws {
			line("protocol websockets\nsocket_domain ipv4") // else it binds [::]
		}
		if tls {
			line("cafile %s\ncertfile %s\nkeyfile %s", b.CA, filepath.Join(b.dir, "server.crt"), filepath.Join(b.dir, "server.key"))
		}
		if client {
			line("require_certificate true")
		}
	}
	listen(b.TCP, false, false, false)
	listen(b.TLS, false, true, false)
	listen(b.MTLS, false, true, true)
	listen(b.WS, true, false, false)
	listen(b.WSS, true, true, false)
	listen(b.WSSM, true, true, true)
	if err := os.WriteFile(b.config(), []byte(c.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *Broker) config() string { return filepath.Join(b.dir, "mosquitto.conf") }

// launch starts the program and waits until it accepts a client.
func (b *Broker) launch() error {
	b.cmd = exec.Command(b.program, "-c", b.config())
	b.exited = make(chan struct{})
	if err := b.cmd.Start(); err != nil {
		return err
	}
	go func() {
		b.cmd.Wait()
		close(b.exited)
	}()
	var err error
	for range 500 {
		if err = b.handshake(); err == nil {
			return nil
		}
		select {
		case <-b.exited:
			log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
			return fmt.Errorf("it ended at once: %s", log)
		case <-time.After(10 * time.Millisecond):
		}
	}
	b.stop(syscall.SIGKILL)
	return err
}

// handshake makes one connection and waits for CONNACK.
func (b *Broker) handshake() error {
	conn, err := net.Dial("tcp", b.TCP)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	hello, err := (&packets.Connect{ClientID: "ready", CleanSession: true}).AppendBinary(nil)
	if err != nil {
		return err
	}
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	p, err := packets.NewReader(conn, packets.ReaderOptions{}).ReadPacket()
	if err != nil {
		return err
	}
	if ack, ok := p.(*packets.Connack); !ok || ack.Code != packets.Accepted {
		return fmt.Errorf("answered %s", p)
	}
	return nil
}

func (b *Broker) stop(s syscall.Signal) {
	b.cmd.Process.Signal(syscall.SIGCONT)
	b.cmd.Process.Signal(s)
	select {
	case <-b.exited:
	case <-time.After(10 * time.Second):
		b.cmd.Process.Kill()
		<-b.exited
	}
}

// Kill ends the broker as a crash would.
func (b *Broker) Kill() { b.stop(syscall.SIGKILL) }

// Restart starts it again on the same ports, with what it had stored.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	if err := b.launch(); err != nil {
		t.Fatal(err)
	}
}
