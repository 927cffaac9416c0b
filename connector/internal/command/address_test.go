package command

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/packets"
)

// serverOf returns the server that the options describe.
func serverOf(t *testing.T, args ...string) (*Connection, *server, error) {
	t.Helper()
	c, cmd := new(Connection), new(cobra.Command)
	cmd.Flags().Bool("help", false, "")
	c.Flags(&Program{Stderr: io.Discard}, cmd)
	require.NoError(t, cmd.ParseFlags(args), args)
	s, err := c.server()
	return c, s, err
}

// The authority of a URL ends at the first slash; percent-encoded parts are decoded.
func TestURLParts(t *testing.T) {
	const none = "-"
	for raw, want := range map[string][5]string{ // the values are host:port, TLS, user, password, and topic or request
		"mqtt://u:secret@host/users/me@other:1883/x": {"host:1883", "", "u", "secret", "users/me@other:1883/x"},
		"mqtt://host/users/me@other:1883/x":          {"host:1883", "", none, none, "users/me@other:1883/x"},
		"mqtt://host/mqtt://u:p@other/x":             {"host:1883", "", none, none, "mqtt://u:p@other/x"},
		"mqtt://p%40ss%3Aw%2Frd%231:p%2F%25@host/t":  {"host:1883", "", "p@ss:w/rd#1", "p/%", "t"},
		"mqtt://dev@hub:se@cret:x@host:1/t":          {"host:1", "", "dev@hub", "se@cret:x", "t"},
		"mqtt://u@host/t":                            {"host:1883", "", "u", none, "t"},
		"mqtt://u:@host/t":                           {"host:1883", "", "u", "", "t"},
		"mqtt://:p@host/t":                           {"host:1883", "", "", "p", "t"},
		"mqtt://[::1]/t":                             {"[::1]:1883", "", none, none, "t"},
		"mqtt://u:p@[::1]:7/t":                       {"[::1]:7", "", "u", "p", "t"},
		"mqtt://[fe80::1%25lo]:7/t":                  {"[fe80::1%lo]:7", "", none, none, "t"},
		"mqtt://[fe80::1%lo]/t":                      {"[fe80::1%lo]:1883", "", none, none, "t"},
		"mqtts://[::1]":                              {"[::1]:8883", "TLS", none, none, ""},
		"MQTTS://host/":                              {"host:8883", "TLS", none, none, ""},
		"mqtt://host:8883/t":                         {"host:8883", "TLS", none, none, "t"},
		"mqtt://host/plant/#":                        {"host:1883", "", none, none, "plant/#"},
		"mqtt://host/a?b/+":                          {"host:1883", "", none, none, "a?b/+"},
		"mqtt://host//a%20b%2Fc":                     {"host:1883", "", none, none, "/a b/c"},
		"ws://u:p@host/a@b:1/c":                      {"host:80", "", "u", "p", "/a@b:1/c"},
		"ws://host?token=ab/c":                       {"host:80", "", none, none, "/?token=ab/c"},
		"ws://[::1]:8083/mqtt":                       {"[::1]:8083", "", none, none, "/mqtt"},
		"wss://host/a%2Fb?X-Amz-Signature=%2Fab&c":   {"host:443", "TLS", none, none, "/a%2Fb?X-Amz-Signature=%2Fab&c"},
		"ws://host:443//x":                           {"host:443", "TLS", none, none, "//x"},
	} {
		_, s, err := serverOf(t, "-L", raw)
		require.NoError(t, err, raw)
		got := [5]string{net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), "", s.userName, none, s.topic}
		if s.TLS {
			got[1] = "TLS"
		}
		if !strings.Contains(strings.SplitN(strings.SplitN(raw, "://", 2)[1], "/", 2)[0], "@") {
			got[2] = none
		}
		if s.password != nil {
			got[3] = *s.password
		}
		if s.webSocket != nil {
			got[4] = s.webSocket.RequestURI()
		}
		require.Equal(t, want, got, raw)
	}
}

// Options that make no sense are refused before anything is dialled. The error names the option and
// contains no secret.
func TestServerRefused(t *testing.T) {
	for args, says := range map[string]string{
		"-L u:secret@host/t":                             "--url has no scheme",
		"-L secret://host/t":                             `the scheme "secret"`, // shown, because it holds no password
		"-L u:topsecret://host/t":                        "--url has no scheme that is known",
		"-L mqtt:///t":                                   "--url has no host",
		"-L mqtt://u:topsecret@/t":                       "--url has no host",
		"-L mqtt://u:topsec/ret@host/t":                  "--url: the port is not a number",
		"-L mqtt://u:topsecret#@host/t":                  "%23",
		"-L mqtt://u:topsecret?@host/t":                  "%3F",
		`-L mqtt://host\@topsecret/t`:                    "%5C",
		"-L mqtt://u:topsecret%zz@host/t":                "%25",
		"-L mqtt://host/50%":                             "%25",
		"-L ws://host/50%?topsecret":                     "%25",
		"-L ws://host?topsecret=a@b/c":                   "%3F",
		"-L ws://host/a#topsecret":                       "fragment",
		"-L mqtt://::1/t":                                "[::1]",
		"-L mqtt://[::1/t":                               "[::1]",
		"-L mqtt://[topsecret]/t":                        "no IPv6 address",
		"-L mqtt://[::1]x/t":                             "--url: the port",
		"-L mqtt://host:0/t":                             "--url: the port",
		"-L mqtt://host:65536/t":                         "--url: the port",
		"-L mqtt://host:/t":                              "--url: the port",
		"-L mqtt://host:+1/t":                            "--url: the port",
		"-L mqtt://ho%73t/t":                             "--url",
		"-L mqtt://h/t -h other":                         "--url and --host",
		"-L mqtt://h/t -b other":                         "--url and --broker",
		"-L mqtt://h/t --unix /s":                        "--url and --unix",
		"-L mqtt://h:1/t -p 2":                           "--port names 2",
		"-L mqtt://h/a -t b":                             "--url and --topic",
		"-L mqtt://u:topsecret@h/t -P other":             "--url and --pw",
		"-L mqtt://u@h/t -u other":                       "--url and --username",
		"-L ws://h/t --ws-path /x":                       "--ws-path",
		"-L mqtts://h/t --tls=false":                     "--tls=false",
		"-t t -b u:topsecret@h:1":                        "--broker",
		"-t t -b mqtt://u:topsecret@h":                   "--broker",
		"-t t -b h:x":                                    "--broker: the port",
		"-t t -b ::1":                                    "--broker: write an IPv6 address in brackets",
		"-t t -b :1883":                                  "--broker has no host",
		"-t t -b h -h h":                                 "--broker and --host",
		"-t t -b h:1 -p 2":                               "--port names 2",
		"-t t -h h:1":                                    "--host: ",
		"-t t -h u:topsecret@h":                          "--host: ",
		"-t t -h h/x":                                    "--host: ",
		"-t t -h mqtt://h":                               "--host: ",
		"-t t -h h?x":                                    "--host: ",
		"-t t -p 0":                                      "--port is 0",
		"-t t -p -1":                                     "--port is -1",
		"-t t -p 65536":                                  "--port is 65536",
		"-t t --unix /s -p 1":                            "--unix and --port",
		"-t t --unix /s -h h":                            "--unix and --host",
		"-t t --unix /s --ws":                            "--unix and --ws",
		"-t t --unix /s --tls":                           "--unix and --tls",
		"-t t --unix /s --insecure":                      "--unix and --insecure",
		"-t t --unix /s --cafile ca.pem":                 "--unix and --cafile",
		"-t t --unix /s --proxy http://h":                "--unix and --proxy",
		"-t t --unix /s -A 127.0.0.1":                    "--unix and --bind",
		"-t t --ws --ws-path mqtt":                       "--ws-path must begin with a slash",
		"-t t --ws --ws-path /%?topsecret":               "--ws-path",
		"-t t --ws-path /x":                              "--ws-path needs --ws",
		"-t t --key k":                                   "--cert and --key",
		"-t t --cert c":                                  "--cert and --key",
		"-t t --keyform pem":                             "--keyform needs --key",
		"-t t --cert c --key k --keyform engine":         "--keyform",
		"-t t --tls=false --insecure":                    "--tls=false and --insecure",
		"-t t --tls=false --tls-version tlsv1.2 -p 8883": "--tls=false and --tls-version",
		"-t t --tls-version tlsv1.1":                     "--tls-version",
		"-t t -i a -I b":                                 "--id and --id-prefix",
		"-t t -P topsecret":                              "needs a user name",
		"-t t --cafile= -u u -P topsecret":               "--cafile is empty",
		"-t t --proxy= -u u -P topsecret":                "--proxy is empty",
		"-t t --unix= -u u -P topsecret":                 "--unix is empty",
		"-t t --tls-servername= -u u -P topsecret":       "--tls-servername is empty",
		"-t t --tls-version= -u u -P topsecret":          "--tls-version",
		"-t t --host=":                                   "--host is empty",
		"-t t --broker=":                                 "--broker is empty",
		"--url=":                                         "--url is empty",
	} {
		for _, lang := range []string{"en", "zh"} {
			r := mqtt311(t, append([]string{"pub", "-m", "x", "--lang", lang}, strings.Fields(args)...)...)
			require.Equal(t, ExitUsage, r.code, "%s: %s", args, r.err)
			require.NotContains(t, r.err, "topsecret", args)
			if lang == "en" {
				require.Contains(t, r.err, says, args)
			} else {
				require.Regexp(t, `\p{Han}`, r.err, args)
			}
		}
	}
}

// The rule for TLS is the same however the server is named: a TLS option, mqtts, wss, port 8883,
// and port 443 with WebSocket imply it.
func TestTLSRule(t *testing.T) {
	dir := t.TempDir()
	cert, key := testcert.SelfSigned(t).Write(t, dir, "c")
	for args, want := range map[string]string{
		"":                                       "localhost:1883",
		"-h h":                                   "h:1883",
		"-h h -p 8883":                           "h:8883 TLS",
		"-p 8883":                                "localhost:8883 TLS",
		"-b h:8883":                              "h:8883 TLS",
		"-b [::1]:8883":                          "::1:8883 TLS",
		"-b h -p 8883":                           "h:8883 TLS",
		"-h [::1] -p 8883":                       "::1:8883 TLS",
		"-h ::1":                                 "::1:1883",
		"-L mqtt://h:8883/t":                     "h:8883 TLS",
		"-L mqtt://h/t -p 8883":                  "h:8883 TLS",
		"-L mqtts://h/t":                         "h:8883 TLS",
		"-L mqtts://h:1883/t":                    "h:1883 TLS",
		"-L mqtts://h/t -p 1884":                 "h:1884 TLS",
		"-L ws://h:8883/x":                       "h:8883 TLS",
		"-L ws://h:443/x":                        "h:443 TLS",
		"--ws -h h":                              "h:80",
		"--ws -p 443":                            "localhost:443 TLS",
		"--ws --tls":                             "localhost:443 TLS",
		"--ws -L mqtt://h/t":                     "h:80",
		"-p 443":                                 "localhost:443",
		"--tls":                                  "localhost:8883 TLS",
		"--tls -b h:1883":                        "h:1883 TLS",
		"--tls -L mqtt://h:1883/t":               "h:1883 TLS",
		"--tls=false -p 8883":                    "localhost:8883",
		"--tls-use-os-certs":                     "localhost:8883 TLS",
		"--insecure":                             "localhost:8883 TLS",
		"--cafile " + cert:                       "localhost:8883 TLS",
		"--cert " + cert + " --key " + key:       "localhost:8883 TLS",
		"--tls-servername n":                     "localhost:8883 TLS",
		"--tls-alpn mqtt":                        "localhost:8883 TLS",
		"--tls-version tlsv1.2":                  "localhost:8883 TLS",
		"--cafile " + cert + " -L mqtt://h:1/t":  "h:1 TLS",
		"--insecure=false --tls-use-os-certs=0":  "localhost:1883",
		"--cafile " + cert + " --ws -b h:80":     "h:80 TLS",
		"--unix /run/a:b@c#d%41?.sock -u u -P p": "/run/a:b@c#d%41?.sock",
	} {
		_, s, err := serverOf(t, strings.Fields(args)...)
		require.NoError(t, err, args)
		got := s.Unix
		if got == "" {
			got = s.Host + ":" + strconv.Itoa(s.Port)
		}
		if s.TLS {
			got += " TLS"
		}
		require.Equal(t, want, got, args)
	}
}

// User name and password are combined from the options, the URL and the environment.
func TestLogin(t *testing.T) {
	for _, test := range []struct {
		args, env      string
		user, password string
	}{
		{args: "-L mqtt://u@h/t -P p", user: "u", password: "p"},
		{args: "-L mqtt://u@h/t -u u -P p", user: "u", password: "p"},
		{args: "-L mqtt://h/t -u u -P p", user: "u", password: "p"},
		{args: "-L mqtt://u:p@h/t", env: "e", user: "u", password: "p"},
		{args: "-L mqtt://u@h/t", env: "e", user: "u", password: "e"},
		{args: "-u u", env: "e", user: "u", password: "e"},
		{args: "-u u --pw=", env: "e", user: "u", password: ""},
		{args: "--username= -P p", user: "", password: "p"},
	} {
		t.Setenv("MQTT311_PASSWORD", test.env)
		_, s, err := serverOf(t, strings.Fields(test.args)...)
		require.NoError(t, err, test.args)
		require.Equal(t, test.user, s.userName, test.args)
		require.Equal(t, test.password, *s.password, test.args)
	}
}

// The path of a WebSocket, a socket and a host reach the server unchanged.
func TestValuesArriveUnchanged(t *testing.T) {
	socket := t.TempDir() + "/a b#c?d%41@e:1.sock"
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	first := make(chan byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var b [1]byte
		io.ReadFull(c, b[:])
		first <- b[0]
	}()
	mqtt311(t, "pub", "--unix", socket, "-t", "t", "-m", "x")
	require.Equal(t, byte(0x10), <-first, "a CONNECT")

	request := make(chan string, 1)
	addr := serveTCP(t, func(c net.Conn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		line, _, _ := strings.Cut(string(b[:n]), "\r\n")
		request <- line
	})
	for _, path := range []string{"/a@b:1/c//d?e=f%2Fg", "/mqtt?u=mqtt://x"} {
		mqtt311(t, "pub", "--ws", "-b", addr, "--ws-path", path, "-t", "t", "-m", "x")
		require.Equal(t, "GET "+path+" HTTP/1.1", <-request)
		mqtt311(t, "pub", "-L", "ws://u:p@"+addr+path, "-t", "t", "-m", "x")
		require.Equal(t, "GET "+path+" HTTP/1.1", <-request)
	}
}

// connectOf runs pub against a server that records the CONNECT packet.
func connectOf(t *testing.T, args func(addr string) []string) *packets.Connect {
	t.Helper()
	got := make(chan *packets.Connect, 1)
	addr := serveTCP(t, func(c net.Conn) {
		p, err := packets.NewReader(c, packets.ReaderOptions{}).ReadPacket()
		if connect, ok := p.(*packets.Connect); err == nil && ok {
			copied := *connect
			copied.Password = append([]byte(nil), connect.Password...)
			got <- &copied
		}
	})
	mqtt311(t, append([]string{"pub", "-m", "x"}, args(addr)...)...)
	select {
	case p := <-got:
		return p
	case <-time.After(time.Minute):
		t.Fatal("no CONNECT came")
		return nil
	}
}

func TestURLReachesTheServer(t *testing.T) {
	p := connectOf(t, func(addr string) []string {
		return []string{"-L", "mqtt://dev%40hub:p%40ss%3Aw%2Frd%231@" + addr + "/users/me@other.invalid:1883/x"}
	})
	require.Equal(t, "dev@hub", p.UserName)
	require.Equal(t, "p@ss:w/rd#1", string(p.Password))
	p = connectOf(t, func(addr string) []string { return []string{"-t", "t", "-b", addr, "-u", "u", "-P", ""} })
	require.True(t, p.HasPassword)
	require.Empty(t, p.Password)
}

// --insecure skips the check of the host name; the chain is verified, as in mosquitto_pub.
func TestInsecure(t *testing.T) {
	t.Parallel()
	ca, other := testcert.Authority(t), testcert.Authority(t)
	caFile, _ := ca.Write(t, t.TempDir(), "ca")
	otherFile, _ := other.Write(t, t.TempDir(), "other")
	named := ca.Issue(t, testcert.Names("broker.example.com"))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{named.TLS()}})
	require.NoError(t, err)
	answerAll(t, l)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	for _, test := range []struct {
		args string
		code int
	}{
		{"--insecure --cafile " + caFile, 0},
		{"--insecure --cafile " + otherFile, ExitConnection},
		{"--insecure", ExitConnection},
		{"--insecure --tls-use-os-certs", ExitConnection},
		{"--insecure --tls-use-os-certs --cafile " + caFile, 0},
		{"--cafile " + caFile, ExitConnection},
		{"--cafile " + caFile + " --tls-servername broker.example.com", 0},
		{"--tls", ExitConnection},
	} {
		args := append([]string{"-h", "localhost", "-p", port, "-t", "t", "-m", "x"}, strings.Fields(test.args)...)
		r := mqtt311(t, append([]string{"pub"}, args...)...)
		require.Equal(t, test.code, r.code, "%s: %s", test.args, r.err)
		require.Equal(t, strings.Contains(test.args, "--insecure"), strings.HasPrefix(r.err, "mqtt311: warning: --insecure"), r.err)
		if mosquitto, err := exec.LookPath("mosquitto_pub"); err == nil && strings.Contains(test.args, "--cafile") && !strings.Contains(test.args, "servername") {
			err := exec.Command(mosquitto, args...).Run()
			require.Equal(t, test.code == 0, err == nil, "mosquitto_pub %s: %v", test.args, err)
		}
	}
	r := mqtt311(t, "pub", "-h", "localhost", "-p", port, "-t", "t", "-m", "x", "--insecure", "--cafile", caFile, "--json")
	var warning warningLine
	require.NoError(t, json.Unmarshal([]byte(r.err), &warning))
	require.Contains(t, warning.Warning, "host name")
	r = mqtt311(t, "pub", "-h", "localhost", "-p", port, "-t", "t", "-m", "x", "--insecure", "--cafile", caFile, "--quiet")
	require.Empty(t, r.err)
}

// answerAll accepts each client and each QoS 0 message.
func answerAll(t *testing.T, l net.Listener) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, 2)); err == nil {
					c.Write([]byte{0x20, 2, 0, 0})
					io.Copy(io.Discard, c)
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}
