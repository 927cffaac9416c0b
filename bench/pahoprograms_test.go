package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/stretchr/testify/require"
)

// Programs written for paho print the same with package paho in its place, except where
// docs/paho.md describes an improvement.
func TestPahoPrograms(t *testing.T) {
	sources, err := filepath.Abs("paho/programs")
	require.NoError(t, err)
	b := mosquitto.Start(t, mosquitto.Options{})
	out := make(map[string]string)
	for _, path := range []string{pahoPath, oursPath} {
		program := filepath.Join(t.TempDir(), "programs")
		build := exec.Command("go", "build", "-overlay", overlay(t, sources, path), "-o", program, "./paho/programs")
		text, err := build.CombinedOutput()
		require.NoError(t, err, "%s", text)
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "MQTT_TCP="+b.TCP, "MQTT_MTLS="+b.MTLS, "MQTT_WS="+b.WS,
			"MQTT_CA="+b.CAFile, "MQTT_CERT="+b.ClientCert, "MQTT_KEY="+b.ClientKey, "MQTT_DIR="+t.TempDir())
		var log strings.Builder
		cmd.Stderr = &log
		text, err = cmd.Output()
		t.Logf("%s:\n%s", path, &log)
		require.NoError(t, err, "%s", text)
		out[path] = string(text)
	}
	require.Equal(t, out[pahoPath], out[oursPath])
	require.Contains(t, out[oursPath], "20 forwarded")
	require.Equal(t, 14, strings.Count(out[oursPath], "# "))
}

// overlay returns an overlay file for go build that changes an import in the programs and nothing
// else.
func overlay(t *testing.T, sources, path string) string {
	files, err := filepath.Glob(filepath.Join(sources, "*.go"))
	require.NoError(t, err)
	dir := t.TempDir()
	replace := make(map[string]string)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		copied := filepath.Join(dir, filepath.Base(f))
		text := strings.Replace(string(b), `mqtt "`+pahoPath+`"`, `mqtt "`+path+`"`, 1)
		require.NoError(t, os.WriteFile(copied, []byte(text), 0o600))
		replace[f] = copied
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	name := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return name
}
