package hostile_test

import (
	"bufio"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/hostile"
	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/stretchr/testify/require"
)

// good is a server that behaves correctly.
var good = hostile.Server{Name: "good", Script: func(c *hostile.Conn) { c.Serve(nil) }}

// A process without a free file descriptor does not fail and does not lose its store: attempts to
// connect fail until descriptors are available again, and accepted messages are delivered.
func TestNoDescriptorIsLeft(t *testing.T) {
	ca := testcert.Authority(t)
	for _, kind := range []hostile.Kind{hostile.Client, hostile.Store} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			l := hostile.Listen(t, &good, ca)
			_, times := duration()
			v := hostile.Start(t, hostile.Order{
				Kind: kind, Addr: l.Addr, Dir: t.TempDir(), Times: times, Files: 64, Hunger: 3 * time.Second,
			}, "")
			says := func(what string) {
				t.Helper()
				require.True(t, eventually(func() bool { return regexp.MustCompile(what).MatchString(v.Log.String()) }), "%s: %s", what, &v.Log)
			}
			says(hostile.Hungry)
			_, before := v.Figures()
			l.Behave() // ends the connection; a new one needs a descriptor
			says("too many open files")
			says(hostile.Fed)
			select {
			case <-l.Recovered():
			case <-time.After(patience):
				require.Fail(t, "it does not connect again", &v.Log)
			}
			require.True(t, eventually(func() bool { _, now := v.Figures(); return now.Published > before.Published }), &v.Log)
			require.NoError(t, v.Stop(patience), &v.Log)
			require.NotContains(t, v.Log.String(), "failed before") // the store did not fail
		})
	}
}

var listening = regexp.MustCompile(`"msg":"listening".*"address":"([^"]+)"`)

// Connections to --listen that stay open take no descriptor that the server, the store or a supervisor
// needs.
func TestListenIsFull(t *testing.T) {
	t.Parallel()
	path, err := command()
	require.NoError(t, err)
	l := hostile.Listen(t, &good, testcert.Authority(t))
	_, times := duration()
	v := hostile.Start(t, hostile.Order{Kind: hostile.Command, Addr: l.Addr, Dir: t.TempDir(), Times: times, Files: 64},
		path, "--listen", "127.0.0.1:0")
	var address []string
	require.True(t, eventually(func() bool { address = listening.FindStringSubmatch(v.Log.String()); return address != nil }), &v.Log)

	ask := func() net.Conn {
		c, err := net.Dial("tcp", address[1])
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		_, err = c.Write([]byte("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		return c
	}
	for range 80 {
		c := ask()
		r, err := http.ReadResponse(bufio.NewReader(c), nil) // the connection stays open
		require.NoError(t, err, "a new connection is served: %s", &v.Log)
		require.Equal(t, http.StatusOK, r.StatusCode)
	}
	f, _ := v.Figures()
	require.LessOrEqual(t, f.Files, 60)
	l.Behave() // ends the connection to the server
	select {
	case <-l.Recovered():
	case <-time.After(patience):
		require.Fail(t, "it does not connect again", &v.Log)
	}
	require.NotContains(t, v.Log.String(), "too many open files")
	v.Stop(patience)
}
