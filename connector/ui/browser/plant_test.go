package browser_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/stretchr/testify/require"
)

// A plant is a running connector that serves the page. Its flow fails for every payload that
// contains "<" or is "-999".
type plant struct {
	t       *testing.T
	broker  *mosquitto.Broker
	process *process
}

const plantFile = `# The plant's connector.
connector:
  general:
    broker_url: BROKER
    client_id: line-7
    username: line-7
    password: hunter2
  advanced:
    auto_reconnect: true
    clean_session: false
  extension:
    max_packet_size: 65536
connections:
  cloud:
    general: {broker_url: "BROKER", client_id: plant-7}
    advanced: {auto_reconnect: true, clean_session: false}
consumers:
  readings:
    topics:
      - plant/+/celsius   # all lines
      - {topic: plant/door, qos: Exactly Once}
    qos: At Least Once
    on_failure: {retries: 0, then: dead_letter, dead_letter: {file: dead.jsonl}}
producers:
  commands:
    topic: plant/${payload.device}/command
    connection: cloud
`

func startPlant(t *testing.T) *plant {
	t.Helper()
	m := mosquitto.Start(t, mosquitto.Options{})
	file := filepath.Join(t.TempDir(), "plant.yaml")
	text := strings.ReplaceAll(plantFile, "BROKER", strings.TrimPrefix(m.TCP, "mqtt://"))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	p := start(t, filepath.Dir(file), "run", "-c", file, "--ui", "--exec", `p=$(cat); case $p in *"<"*|-999) exit 65;; esac`)
	p.until(`"msg":"started"`)
	return &plant{t, m, p}
}

// publish publishes a message at QoS 1.
func publish(t *testing.T, m *mosquitto.Broker, topic, payload string) {
	t.Helper()
	p := start(t, t.TempDir(), "pub", "-b", strings.TrimPrefix(m.TCP, "mqtt://"), "-t", topic, "-q", "1", "-m", payload)
	<-p.done
	require.Equal(t, "", p.told.String())
}
