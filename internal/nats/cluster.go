package nats

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/program"
)

// A Cluster is several nats-servers with JetStream, without MQTT. Each has its own folder, whose contents survive
// Kill, Stop and Restart.
type Cluster struct {
	Servers []*program.Program
	Client  string // URLs of the NATS protocol, separated by commas
}

// StartCluster starts n servers and returns once each of them answers; it takes a few more seconds until they have
// a leader. They are stopped when the test ends.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	path := program.Find(t, install, "bin/nats-server")
	// If another process takes a port before the servers start, try new ones.
	for attempt := 1; ; attempt++ {
		c, err := startCluster(t, path, n)
		if err == nil {
			return c
		}
		if attempt == 5 {
			t.Fatalf("nats-server does not start: %v", err)
		}
	}
}

func startCluster(t testing.TB, path string, n int) (*Cluster, error) {
	c := new(Cluster)
	ports := program.FreePorts(t, 2*n)
	clients, routes := ports[:n], ports[n:]
	var urls []string
	for i := range n {
		urls = append(urls, "nats://"+clients[i])
	}
	c.Client = strings.Join(urls, ",")
	for i := range n {
		dir := t.TempDir()
		config := filepath.Join(dir, "nats.conf")
		text := fmt.Sprintf(`server_name: server%d
listen: %q
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 1GB }
log_file: %q
logtime: true
cluster {
  name: mqtt311
  listen: %q
  routes: [ %s ]
}
`, i, clients[i], filepath.Join(dir, "jetstream"), filepath.Join(dir, "log"), routes[i], `"nats://`+strings.Join(routes, `", "nats://`)+`"`)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, err
		}
		p := &program.Program{T: t, Path: path, Args: []string{"-c", config}, LogFile: filepath.Join(dir, "log"), Ready: func() error { return greets(clients[i]) }}
		t.Cleanup(p.Kill)
		if err := p.Start(); err != nil {
			for _, p := range c.Servers {
				p.Kill()
			}
			return nil, err
		}
		c.Servers = append(c.Servers, p)
	}
	return c, nil
}

// greets reports whether a server at addr sends the INFO of the NATS protocol.
func greets(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	var word [4]byte
	if _, err := conn.Read(word[:]); err != nil {
		return err
	}
	if string(word[:]) != "INFO" {
		return fmt.Errorf("%s says %q", addr, word)
	}
	return nil
}
