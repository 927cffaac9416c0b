// Package aedes runs the aedes broker under Node for tests: an MQTT and WebSocket implementation by
// other authors, in another language.
package aedes

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/mqtt311/mqtt311/internal/testcert"
)

// A Broker runs until its test ends, and so do its sessions.
type Broker struct {
	TCP, WS, WSS string // URLs
	CA           *testcert.Pair
}

// install says how to install the program, from the root of the repository.
const install = "make aedes (it needs node and npm)"

// Start starts a broker. If aedes is not installed, the test is skipped, or fails if CI=true is set
// in the environment.
func Start(t testing.TB) *Broker {
	t.Helper()
	node, folder := find(t)
	dir := t.TempDir()
	ca := testcert.Authority(t)
	cert, key := ca.Issue(t).Write(t, dir, "server")
	cmd := exec.Command(node, filepath.Join(folder, "broker.mjs"), cert, key)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("aedes: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var ports struct{ TCP, WS, WSS int }
	if err == nil {
		err = json.Unmarshal(line, &ports)
	}
	if err != nil {
		t.Fatalf("aedes does not start: %v: %s", err, line)
	}
	return &Broker{
		TCP: fmt.Sprintf("mqtt://127.0.0.1:%d", ports.TCP),
		WS:  fmt.Sprintf("ws://127.0.0.1:%d/mqtt", ports.WS),
		WSS: fmt.Sprintf("wss://127.0.0.1:%d/mqtt", ports.WSS),
		CA:  ca,
	}
}

func find(t testing.TB) (node, folder string) {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	folder = filepath.Join(filepath.Dir(file), "..", "..", "bin", "aedes")
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, "node_modules", "aedes"))
	}
	if err == nil {
		return node, folder
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("aedes is not installed: %s", install)
	}
	t.Skipf("aedes is not installed: %s", install)
	return "", ""
}
