//go:build linux

package command

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ownConfig gives a test a separate configuration directory.
func ownConfig(t *testing.T) (file string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	path, err := profilesPath()
	require.NoError(t, err)
	return path
}

// A profile is added, listed without secrets, tested, used and removed.
func TestProfiles(t *testing.T) {
	addr := startBroker(t)
	file := ownConfig(t)
	secret := writeFile(t, "pw", "geheim\n")
	require.Contains(t, ok(t, "profile", "ls"), "no profiles in ")
	require.Empty(t, ok(t, "profile", "add", "plant", "-b", addr, "-u", "me", "--pw-file", secret, "-k", "7"))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Equal(t, "plant: broker "+addr+", username me, keepalive 7, password: file \""+secret+"\"\n", ok(t, "profile", "ls"))
	require.Contains(t, ok(t, "profile", "ls", "--json"), `"password":"file \"`)
	require.Regexp(t, `(?s)^tcp +ok .*connect +ok .*disconnect +ok `, ok(t, "profile", "test", "plant"))
	require.Empty(t, ok(t, "pub", "--profile", "plant", "-t", "a", "-m", "x", "-r", "-q", "1"))
	require.Equal(t, "x\n", ok(t, "sub", "--profile", "plant", "-t", "a", "-C", "1"))

	r := mqtt311(t, "profile", "add", "plant", "-b", addr)
	require.Equal(t, ExitUsage, r.code)
	require.Contains(t, r.err, "--replace")
	require.Empty(t, ok(t, "profile", "add", "plant", "-b", addr, "--replace"))
	require.Equal(t, "plant: broker "+addr+"\n", ok(t, "profile", "ls"))
	require.Empty(t, ok(t, "profile", "rm", "plant"))
	require.Contains(t, ok(t, "profile", "ls", "--lang", "zh"), "没有配置档")
	require.Equal(t, ExitUsage, mqtt311(t, "profile", "rm", "plant").code)
}

// The password of a profile is sent to its server, with its user, and to no other.
func TestProfileGivesNothingAway(t *testing.T) {
	ownConfig(t)
	secret := writeFile(t, "pw", "geheim")
	ok(t, "profile", "add", "plant", "-L", "mqtts://me@mq.example.com", "--pw-file", secret)
	for args, want := range map[string]string{
		"-h other":                  "both say which server",
		"-b other:1883":             "both say which server",
		"-L mqtt://other":           "both say which server",
		"-p 1883":                   "both say which server",
		"--unix /x":                 "both say which server",
		"--ws":                      "both say which server",
		"--tls=false":               "decides about TLS",
		"-u somebody":               "different users",
		"--profile nobody":          `no profile "nobody"`,
		"--profile=":                "--profile is empty",
		"--pw-file x --pw-prompt":   "cannot be used together",
		"--pw-env A --pw-exec true": "cannot be used together",
	} {
		r := mqtt311(t, append([]string{"pub", "-t", "a", "-m", "x", "--profile", "plant"}, strings.Fields(args)...)...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Contains(t, r.err, want, args)
		require.NotContains(t, r.err, "geheim", args)
	}
	ok(t, "profile", "add", "two", "-h", "mq.example.com", "--tls", "-u", "me", "--pw-file", secret)
	c, s, err := serverOf(t, "--profile", "two", "-u", "somebody")
	require.NoError(t, err)
	require.Nil(t, c.passwordFrom(), "the password is another user's")
	require.Nil(t, s.password)
	c, s, err = serverOf(t, "--profile", "two")
	require.NoError(t, err)
	require.True(t, s.TLS)
	require.Equal(t, 8883, s.Port)
	require.Equal(t, secret, c.passwordFrom().File)
}

// Settings that do not belong in a profile are refused, when it is added and when it is read, and no
// error shows a secret.
func TestProfilesRefused(t *testing.T) {
	file := ownConfig(t)
	for args, want := range map[string]string{
		"":                                   "the name of the profile is missing",
		"a/b -h x":                           "is no name of a profile",
		"a":                                  "the server is missing",
		"a -h x -u me -P geheim":             "a password is not stored",
		"a -L mqtt://me:geheim@x":            "has a password, which is not stored",
		"a -L mqtt://x/topic":                "has a topic",
		"a -h x --will-topic w":              "--will-topic is not kept",
		"a -h x --pw-file geheim":            "needs a user name",
		"a -h x --cert c":                    "--cert and --key belong together",
		"a -L mqtt://x:geheim":               "--url: the port is not a number",
		"a -h x --ws --ws-header nothing --": "write 'Name: value'",
		"a -h x -q 9":                        "--qos and --will-qos are 0, 1 or 2",
		"a -h x -k -1":                       "--keepalive is 0 to 65535 seconds",
		"a -h x -M 0":                        "--max-inflight is 0",
		"a -h x --connect-timeout 0s":        "--connect-timeout is 0",
	} {
		r := mqtt311(t, append([]string{"profile", "add"}, strings.Fields(args)...)...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Contains(t, r.err, want, args)
		require.NotContains(t, r.err, "geheim", args)
	}
	require.NoFileExists(t, file)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	for text, want := range map[string]string{
		"plant: {}":                                               "the file has one key, profiles",
		"profiles: {a/b: {}}":                                     ":1: the name of a profile",
		"profiles: {a: x}":                                        ":1: a profile has a value",
		"profiles:\n  a: {passwd: x}":                             ":2: passwd is no option of a profile",
		"profiles:\n  a: {host: [x]}":                             ":2: host has one value",
		"profiles: {a: {port: x}}":                                "port has no value that is right",
		"profiles: {a: {tls: perhaps}}":                           "tls has no value that is right",
		"profiles: {a: {username: me, password: geheim}}":         "the password itself does not belong",
		"profiles: {a: {username: me, password: {exec: geheim}}}": "the password itself does not belong",
		"profiles: {a: {username: me, password: {prompt: no}}}":   "the password itself does not belong",
		"profiles: {a: {url: 'mqtt://me:geheim@x'}}":              "the URL has a password",
		"profiles: {a: {host: x, host: \x1b[31m}}":                "control characters are not allowed",
		"profiles: [":                                             "did not find",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		r := mqtt311(t, "pub", "--profile", "a", "-t", "a", "-m", "x")
		require.Equal(t, ExitUsage, r.code, text)
		require.Contains(t, r.err, want, text)
		require.NotContains(t, r.err, "%!")
		require.NotContains(t, r.err, "geheim", text)
	}
	require.NoError(t, os.WriteFile(file, []byte("profiles: {a: {host: x}}"), 0o600))
	require.NoError(t, os.Chmod(file, 0o602))
	require.Contains(t, mqtt311(t, "profile", "ls").err, "other users may change")
}

// MQTT311_URL names the server if no option does, and nothing else.
func TestURLOfTheEnvironment(t *testing.T) {
	ownConfig(t)
	t.Setenv("MQTT311_URL", "mqtts://me:geheim@mq.example.com")
	_, s, err := serverOf(t)
	require.NoError(t, err)
	require.True(t, s.TLS)
	require.Equal(t, "mq.example.com:8883", hostPort(s))
	require.Equal(t, "geheim", *s.password)
	_, s, err = serverOf(t, "-p", "1")
	require.NoError(t, err)
	require.Equal(t, "mq.example.com:1", hostPort(s))
	for _, args := range [][]string{{"-h", "other"}, {"-b", "other:1"}, {"-L", "mqtt://other"}, {"--unix", "/x"}} {
		_, s, err = serverOf(t, args...)
		require.NoError(t, err)
		require.NotContains(t, hostPort(s), "example")
		require.Nil(t, s.password, "it is the password of another server")
		require.Empty(t, s.userName)
	}
	for raw, want := range map[string]string{
		"mqtt://me:geheim@x/topic": "MQTT311_URL has a topic",
		"mqtt://me:geheim@":        "MQTT311_URL has no host",
		"geheim":                   "MQTT311_URL has no scheme",
		"mqtt://me:%zz@x":          "MQTT311_URL: two hexadecimal digits",
	} {
		t.Setenv("MQTT311_URL", raw)
		_, _, err := serverOf(t)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "geheim")
	}
}

// A password is read from a file, a variable or a command each time that it is sent.
func TestPasswordSources(t *testing.T) {
	ownConfig(t)
	secret := writeFile(t, "pw", "from the file\n")
	t.Setenv("PLANT_PW", "from a variable")
	for option, want := range map[string]string{
		"--pw-file=" + secret:           "from the file",
		"--pw-env=PLANT_PW":             "from a variable",
		"--pw-exec=echo from a command": "from a command",
	} {
		cfg := configOf(t, "-u", "me", option)
		user, password, err := cfg.Credentials(t.Context())
		require.NoError(t, err)
		require.Equal(t, "me", user)
		require.Equal(t, want, string(password))
	}
	cfg := configOf(t, "-u", "me", "--pw-file", secret)
	require.NoError(t, os.WriteFile(secret, []byte("another"), 0o600))
	_, password, err := cfg.Credentials(t.Context())
	require.NoError(t, err)
	require.Equal(t, "another", string(password))

	require.NoError(t, os.Chmod(secret, 0o644))
	r := mqtt311(t, "pub", "-b", "127.0.0.1:1", "-u", "me", "--pw-file", secret, "-t", "a", "-m", "x")
	require.Contains(t, r.err, "other users may read or change it (mode 0644)")
	for args, want := range map[string]string{
		"--pw-file /nothing":    `file "/nothing" is not there`,
		"--pw-env NOTHING_HERE": `env "NOTHING_HERE" is not there`,
		"--pw-exec false":       "the command ended with exit status 1",
		"--pw-file=":            "--pw-file is empty",
	} {
		r := mqtt311(t, append([]string{"pub", "-b", "127.0.0.1:1", "-u", "me", "-t", "a", "-m", "x"}, strings.Fields(args)...)...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Contains(t, r.err, want, args)
	}
}

func configOf(t *testing.T, args ...string) client.Config {
	t.Helper()
	c, s, err := serverOf(t, args...)
	require.NoError(t, err)
	cfg, err := c.config(t.Context(), &Program{Stderr: newOutput()}, s)
	require.NoError(t, err)
	return cfg
}

// --pw-prompt asks on the controlling terminal, which does not echo the answer.
func TestPasswordPrompt(t *testing.T) {
	got := make(chan string, 1)
	addr := scripted(t, func(p packets.Packet) []packets.Packet {
		if c, ok := p.(*packets.Connect); ok {
			got <- string(c.Password)
			return []packets.Packet{&packets.Connack{}}
		}
		return nil
	})
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "pub", "-b", addr, "-u", "me", "--pw-prompt", "-t", "a", "-m", "x")
	cmd.Env = append(os.Environ(), "MQTT311_TEST_MAIN=1", "LC_ALL=C")
	tty, err := pty.Start(cmd)
	require.NoError(t, err)
	defer tty.Close()
	told := newOutput()
	go func() {
		b := make([]byte, 1024)
		for {
			n, err := tty.Read(b)
			told.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	told.until(t, "password of me: ")
	require.Eventually(t, func() bool {
		state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		return err == nil && state.Lflag&unix.ECHO == 0
	}, time.Minute, 10*time.Millisecond)
	tty.Write([]byte("geheim\n"))
	require.Equal(t, "geheim", <-got)
	require.NoError(t, cmd.Wait())
	require.NotContains(t, told.String(), "geheim")
}

func hostPort(s *server) string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// A header in a profile may name a variable that is not set yet; it must be set when the profile is
// used.
func TestProfileOfAnUnsetVariable(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	require.Empty(t, ok(t, "profile", "add", "cloud", "-L", "ws://127.0.0.1:1/mqtt", "--ws-header", "Authorization: Bearer ${UNSET_OF_TEST}"))
	r := mqtt311(t, "pub", "--profile", "cloud", "-t", "a", "-m", "x")
	require.Equal(t, ExitUsage, r.code, r.err)
	require.Contains(t, r.err, "UNSET_OF_TEST is not in the environment")
	r = mqtt311(t, "profile", "add", "odd", "-L", "ws://127.0.0.1:1/mqtt", "--ws-header", "no header")
	require.Equal(t, ExitUsage, r.code, r.err)
}

// A TLS 1.3 server refuses the client's certificate after the client's part of the handshake is over: the error
// gives the same reason every time, and what to do.
func TestRefusedAfterTheHandshake(t *testing.T) {
	ownConfig(t)
	ca, stranger := testcert.Authority(t), testcert.SelfSigned(t, testcert.ForClients())
	dir := t.TempDir()
	caFile, _ := ca.Write(t, dir, "ca")
	cert, key := stranger.Write(t, dir, "stranger")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(t, testcert.Names("localhost")).TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS13,
	})
	require.NoError(t, err)
	answerAll(t, l)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	server := []string{"-h", "localhost", "-p", port, "--cafile", caFile}
	for name, test := range map[string]struct {
		own    []string
		en, zh string
	}{
		"none":     {nil, "give it with --cert and --key", "请用 --cert 和 --key 给出"},
		"stranger": {[]string{"--cert", cert, "--key", key}, "the client certificate of --cert", "拒绝了 --cert 的客户端证书"},
	} {
		require.Empty(t, ok(t, append(append([]string{"profile", "add", name}, server...), test.own...)...))
		r := mqtt311(t, "profile", "test", name)
		require.Equal(t, ExitConnection, r.code, r.err)
		require.Regexp(t, `(?s)^resolve +ok .*\ntcp +ok .*\ntls +failed [^\n]*\n$`, r.out)
		require.Contains(t, r.err, test.en)
		r = mqtt311(t, "profile", "test", name, "--lang", "zh")
		require.Contains(t, r.err, test.zh)
		r = mqtt311(t, "profile", "test", name, "--json")
		require.Contains(t, r.out, test.en)
		r = mqtt311(t, append(append([]string{"pub", "-t", "t", "-m", "x", "--lang", "zh"}, server...), test.own...)...)
		require.Contains(t, r.err, test.zh)
	}
}
