package command

import (
	"context"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/stretchr/testify/require"

	mochi "github.com/mochi-mqtt/server/v2"
)

// Typical calls of mosquitto_sub print the same bytes with our command, and succeed or fail in the
// same cases.
func TestSubBesideMosquitto(t *testing.T) {
	thorough.Only(t)
	t.Parallel()
	addr, theirs := startBroker(t), tool(t, "mosquitto_sub")
	for topic, payload := range map[string]string{"a/one": "1", "a/two": "text with blanks", "b/json": `{"n":1,"s":"é"}`, "b/bytes": "\x00\xff\n\x1b"} {
		r := runWith(t, t.Context(), payload, "pub", "-b", addr, "-t", topic, "-s", "-r", "-q", "1")
		require.Zero(t, r.code, r.err)
	}
	for _, args := range []string{
		"-t a/one -C 1", "-t a/one -C 1 -v", "-t a/one -C 1 -N", "-t a/one -C 1 -v -N", "-t a/two -C 1 -q 1", "-t a/two -C 1 -q 2 -v",
		"-t b/bytes -C 1", "-t b/bytes -C 1 -v", "-t b/bytes -C 1 -F %x", "-t b/bytes -C 1 -F %X", "-t b/bytes -C 1 -F %l",
		"-t b/json -C 1", "-t b/json -C 1 -F %t:%p", "-t b/json -C 1 -F %q%r%%", `-t b/json -C 1 -F %t\t%l\n`, `-t b/json -C 1 -F \\\0\a`,
		"-t a/one -t b/json -T b/# -C 1", "-t nothing -E", "-t a/one -C 1 --retained-only", "-t a/one -C 1 -i me -c", "-t a/one -U a/two -C 1",
		"-t a/one -C 1 -k 5", "-t a/one -C 1 -V mqttv311", "-t a/one -C 1 --will-topic w --will-payload x --will-qos 1 --will-retain",
		"-t a/one -C 1 -u me -P secret", "-t a/one -C 1 --nodelay", "-t a/one -C 1 -M 1", "-t a/one -C 1 -I pre-", "-t a/one -C 1 -A 127.0.0.1",
		"-t nothing -W 1", "-t a/#/b", "-t", "-q 3 -t a", "-t a/one -C 1 -F %", "--nothing", "-t a -i x -I y", "-t a -k -1", "-t a -R --retained-only",
	} {
		t.Run(args, func(t *testing.T) { beside(t, theirs, addr, "sub", "", strings.Fields(args)) })
	}
}

// Typical calls of mosquitto_pub publish the same with our command.
func TestPubBesideMosquitto(t *testing.T) {
	t.Parallel()
	theirs := tool(t, "mosquitto_pub")
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	addr := b.Addr
	// idle waits until the server has read everything from connections that have ended: QoS 0 has no acknowledgement.
	idle := func() {
		require.Eventually(t, func() bool {
			return !slices.ContainsFunc(slices.Collect(maps.Values(b.Server.Clients.GetAll())), func(c *mochi.Client) bool { return !c.Net.Inline })
		}, time.Minute, time.Millisecond)
	}
	file := writeFile(t, "payload", "of a file\x00\n")
	for _, args := range []string{
		"-t a -m text -r", "-t a -m text -q 1 -r", "-t a -m text -q 2 -r", "-t a -n -r", "-t a -s -r", "-t a -l -r", "-t a -f " + file + " -r",
		"-t a -m x -r --repeat 2 --repeat-delay 0.01", "-t a -m x -r -i me", "-t a -m x -r -u me -P secret", "-t a -m -1 -r", "-t a -m é -r -k 5",
		"-t a -m x -r --will-topic w --will-payload gone", "-t a -l -q 1 -r", "-t a -m x -V 311 -r",
		"-m x", "-t a", "-t a/# -m x", "-t a -m x -n", "-t a -m x -q 3", "-t a -f /nothing", "-t a -m x --repeat -1",
	} {
		t.Run(args, func(t *testing.T) {
			kept := func() string {
				idle()
				out := retained(t, addr, "-t", "+", "-F", `%t %q %x`)
				ok(t, "pub", "-b", addr, "-t", "a", "-n", "-r", "-q", "1")
				return out
			}
			beside(t, theirs, addr, "pub", "one\ntwo\r\nthree", strings.Fields(args), kept)
		})
	}
}

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("apt-get install mosquitto-clients")
	}
	return path
}

// beside runs both programs and compares their output, their success, and what seen returns after
// each.
func beside(t *testing.T, theirs, addr, verb, stdin string, args []string, seen ...func() string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	args = append(args, "-h", host, "-p", port)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, theirs, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	require.NoError(t, ctx.Err(), "it does not end")
	good := err == nil
	var after []string
	for _, f := range seen {
		if good {
			after = append(after, f())
		}
	}
	r := runWith(t, ctx, stdin, append([]string{verb}, args...)...)
	require.Equal(t, good, r.code == 0, "%v, here: %s", err, r.err)
	if !good { // mosquitto's tools print their usage instead
		require.Empty(t, r.out)
		return
	}
	require.Equal(t, string(out), r.out)
	for i, f := range seen {
		require.Equal(t, after[i], f())
	}
}
