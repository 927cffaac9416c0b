package command

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A key that occurs twice is refused wherever lines are read: nobody knows which value is meant.
func TestKeysTwice(t *testing.T) {
	addr := startBroker(t)
	for _, line := range []string{
		`{"topic":"a","topic":"b","payload":"x"}`, `{"topic":"a","payload":"x","payload":"y"}`, `{"topic":"a","payload":"x","Payload":"y"}`, `{"topic":"a","qos":0,"payload":"x","qos":1}`,
	} {
		r := runWith(t, t.Context(), line+"\n", "pub", "-b", addr, "--stdin-json")
		require.Equal(t, ExitPublish, r.code, line)
		require.Contains(t, r.err, "line 1: not a message in JSON: a key is there twice", line)
		require.Contains(t, runWith(t, t.Context(), line+"\n", "pub", "-b", addr, "--stdin-json", "--lang", "zh").err, "有重复的键")
	}
	_, good := parseAnswer([]byte(`{"id":"1","ok":true,"payload":"x","payload":"y"}`))
	a, _ := parseAnswer([]byte(`{"id":"1","ok":true,"payload":"x","payload":"y"}`))
	require.True(t, !good || a.err != nil || a.reason != "", "an answer that says two things is no success")
}

// A filter given twice is subscribed to once, and is not reported as refused.
func TestSubTheSameFilterTwice(t *testing.T) {
	addr := startBroker(t)
	ok(t, "pub", "-b", addr, "-t", "a", "-m", "x", "-r", "-q", "1")
	r := mqtt311(t, "sub", "-b", addr, "-t", "a", "-t", "a", "-t", "#", "-C", "1")
	require.Equal(t, result{out: "x\n"}, r)
}

// Errors about the server name the option and say what to write instead.
func TestServerMistakes(t *testing.T) {
	for args, says := range map[string]string{
		"-h mq.example.com:1883":                             "the port belongs in --port",
		"-h mqtt://mq.example.com":                           "a URL belongs in --url",
		"-h [::1]:1883":                                      "--host",
		"--unix /tmp/" + strings.Repeat("a", 200):            "--unix: the path has 205 bytes",
		"-b 127.0.0.1:1 --will-topic w/# --will-payload x":   `--will-topic "w/#" cannot be published to`,
		"-b 127.0.0.1:1 --will-topic w/+/a --will-payload x": `--will-topic "w/+/a" cannot be published to`,
	} {
		r := mqtt311(t, append([]string{"pub", "-t", "t", "-m", "x"}, strings.Fields(args)...)...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Contains(t, r.err, says, args)
		require.NotContains(t, r.err, "Config.", args)
	}
	// A local address that does not exist here, or is of the wrong family, is not the server's fault.
	for _, bind := range []string{"192.0.2.1", "::1"} {
		r := mqtt311(t, "pub", "-b", "127.0.0.1:1", "-t", "t", "-m", "x", "-A", bind)
		require.Equal(t, ExitConnection, r.code)
		require.Contains(t, r.err, "the local address", bind)
	}
}

// An option with an empty value, as from an unset variable, is refused: run --exec "$STEP" would acknowledge
// everything and do nothing.
func TestEmptyValues(t *testing.T) {
	file := configFile(t, "127.0.0.1:1", consumes)
	for _, args := range [][]string{
		{"run", "-c", file, "--exec", ""}, {"run", "-c", file, "--pipe", ""}, {"run", "-c", file, "--append", ""}, {"run", "-c", file, "--http", ""},
		{"run", "-c", file, "--exec", "true", "--then", ""}, {"run", "-c", file, "--exec", "true", "--listen", ""}, {"check", "-c", ""}, {"pub", "-t", "", "-m", "x"},
		{"pub", "-t", "a", "-f", ""}, {"pub", "-t", "a", "-m", "x", "--pw-file", "", "-u", "u"},
	} {
		r := mqtt311(t, args...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Regexp(t, "--[a-z-]+ is empty: give a value or leave it out", r.err, args)
		require.Regexp(t, "--[a-z-]+ 为空", mqtt311(t, append(args, "--lang", "zh")...).err, args)
	}
	addr := startBroker(t)
	require.Zero(t, mqtt311(t, "pub", "-b", addr, "-t", "a", "-m", "", "-i", "").code)
	for args, says := range map[string]string{"--processes 2": "--processes needs --pipe", "--drain-timeout -1s": "not negative", "--pipe cat --processes 100000": "128 at the most"} {
		r := mqtt311(t, append([]string{"run", "-c", file}, strings.Fields(args)...)...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Contains(t, r.err, says)
	}
}
