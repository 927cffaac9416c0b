package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Secrets never appear in findings, even where they are misplaced.
func TestSecretsNeverInErrors(t *testing.T) {
	const secret = "hunter2"
	t.Setenv("CONFIG_TEST_SECRET", secret)
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(secret), 0o600))
	for _, value := range []string{
		"hunter2", "*hunter2", "&hunter2", "!hunter2 x", "{hunter2}", "{hunter2: x}", "{env: CONFIG_TEST_SECRET, file: hunter2}", "[hunter2]", "{file: [hunter2]}",
		"{env: CONFIG_TEST_SECRET}", "'${env:CONFIG_TEST_SECRET}'", "{file: " + file + "}", "\"hunter2\\q\"", "'hunter2", "@hunter2", "`hunter2", "%hunter2", "hunter2: x", "\"hunter2\xff\"", "|\n hunter2", "? hunter2",
	} {
		for _, key := range []string{"password", "tls_client_key"} {
			text := "connector:\n  general: {broker_url: 'nowhere', client_id: c, protocol: TLS, " + key + ": " + value + "}\n"
			cfg, fs, err := config.Parse([]byte(text), "")
			require.Error(t, err, value)
			require.Nil(t, cfg)
			shown, _ := json.Marshal(fs)
			require.NotContains(t, err.Error()+string(shown), secret, "%s: %s", key, value)
		}
	}
}

func TestExampleLoads(t *testing.T) {
	t.Setenv("MQTT_PASSWORD", "p")
	cfg, fs, err := config.Load("testdata/example.yaml")
	require.NoError(t, err)
	require.Empty(t, fs, "an example has nothing to warn about")
	text, err := os.ReadFile("testdata/example.yaml")
	require.NoError(t, err)
	require.NoError(t, valid(t, validator(t), asJSON(t, string(text))))
	require.Equal(t, connector.WebSocketSecure, cfg.General.Protocol)
	require.Equal(t, &connector.SecretSource{Env: "MQTT_PASSWORD"}, cfg.General.PasswordFrom)
	require.Equal(t, []connector.TopicQoS{{Topic: "plant/+/reading"}, {Topic: "plant/+/alarm", QoS: packets.ExactlyOnce, HasQoS: true}}, cfg.Consumers["readings"].Topics)
	require.Equal(t, connector.DeadLetter, cfg.Consumers["readings"].OnFailure.Then)
	require.Equal(t, "plant/${variable.line}/command", cfg.Producers["commands"].Topic)
	_, err = connector.New(*cfg, connector.Options{})
	require.NoError(t, err)
}

// Paths in a file are relative to its folder.
func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "password"), []byte("p\r\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), nil, 0o600))
	file := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`connector:
  general: {broker_url: 'h:8883', protocol: TLS, client_id: c, username: u, password: {file: password}, tls_server_cert: ca.pem}
consumers:
  in: {topics: [a], on_failure: {then: dead_letter, dead_letter: {file: dead.jsonl}}}
`), 0o600))
	cfg, _, err := config.Load(file)
	require.NoError(t, err)
	require.Equal(t, &connector.SecretSource{File: filepath.Join(dir, "password")}, cfg.General.PasswordFrom)
	require.Equal(t, filepath.Join(dir, "ca.pem"), cfg.General.TLSServerCert)
	require.Equal(t, filepath.Join(dir, "dead.jsonl"), cfg.Consumers["in"].OnFailure.DeadLetterFile)
}
