package main

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const configuration = `connector:
  general: {broker_url: "127.0.0.1:1", protocol: TCP, client_id: plant}
  advanced: {clean_session: false, connect_retry: true, connect_retry_interval: 1s, auto_reconnect: true}
  extension: {session_store: {dir: /var/lib/mqtt311/plant/session}}
producers:
  out: {topic: out, qos: At Least Once, done_when: stored}
`

// A deb is installed, run, upgraded, removed and purged: configuration and stored messages stay.
func lives(t *testing.T, r *release, binary string) {
	if !*install {
		t.Skip("-release.install was not given")
	}
	for _, path := range []string{"/usr/bin/mqtt311", "/etc/mqtt311", "/var/lib/mqtt311"} {
		_, err := os.Lstat(path)
		require.ErrorIs(t, err, os.ErrNotExist, "this test works where the package is not installed")
	}
	pack := func(version string) string {
		before := r.version
		defer func() { r.version = before }()
		r.version.Name, r.out = version, t.TempDir()
		require.NoError(t, r.pack("deb", here, binary))
		names, err := filepath.Glob(filepath.Join(r.out, "*.deb"))
		require.NoError(t, err)
		return names[0]
	}
	_, hadUser := user.Lookup("mqtt311")
	t.Cleanup(func() {
		exec.Command("dpkg", "--purge", "mqtt311").Run()
		for _, path := range []string{"/etc/mqtt311", "/var/lib/mqtt311"} {
			require.NoError(t, os.RemoveAll(path))
		}
		if hadUser != nil {
			exec.Command("userdel", "mqtt311").Run()
		}
	})
	installed := func() string {
		return command(t, "", "dpkg-query", "--show", "--showformat=${Version}", "mqtt311")
	}

	command(t, "", "dpkg", "--install", pack("1.2.3"))
	require.Equal(t, "1.2.3-1", installed())
	require.Contains(t, command(t, "", "/usr/bin/mqtt311", "version"), "mqtt311 ")
	command(t, "", "systemd-analyze", "verify", "/usr/lib/systemd/system/mqtt311@.service")
	who, err := user.Lookup("mqtt311")
	require.NoError(t, err)
	require.NotEqual(t, "0", who.Uid)
	folder, err := os.Stat("/etc/mqtt311")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o750), folder.Mode().Perm())
	require.FileExists(t, "/usr/share/bash-completion/completions/mqtt311")
	require.FileExists(t, "/usr/share/man/man1/mqtt311-run.1")
	require.FileExists(t, "/usr/share/man/zh_CN/man1/mqtt311-run.1")
	require.FileExists(t, "/usr/share/doc/mqtt311/examples/connector.yaml")

	const file = "/etc/mqtt311/plant.yaml"
	require.NoError(t, os.WriteFile(file, []byte(configuration), 0o640))
	require.NoError(t, os.MkdirAll("/var/lib/mqtt311/plant", 0o700))
	feed := exec.Command("/usr/bin/mqtt311", "run", "-c", file, "--drain-timeout", "1s")
	feed.Stdin = strings.NewReader("{\"producer\": \"out\", \"payload\": \"keep me\"}\n")
	told, err := feed.CombinedOutput() // it cannot be sent, and says so
	require.Contains(t, string(told), `"left_in_store":1`, "%v", err)
	kept := func() {
		t.Helper()
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, configuration, string(text))
		require.Contains(t, command(t, "", binary, "store", "ls", "--payloads", "/var/lib/mqtt311/plant/session"), "keep me")
	}
	kept()

	command(t, "", "dpkg", "--install", pack("1.2.4"))
	require.Equal(t, "1.2.4-1", installed())
	kept()
	command(t, "", "dpkg", "--remove", "mqtt311")
	require.NoFileExists(t, "/usr/bin/mqtt311")
	require.NoFileExists(t, "/usr/lib/systemd/system/mqtt311@.service")
	kept()
	exec.Command("dpkg", "--purge", "mqtt311").Run()
	kept()
}
