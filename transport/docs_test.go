package transport_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
)

// The table of docs/transport.md has each hint once, word for word, and so does that of the Chinese page.
func TestTableOfFailures(t *testing.T) {
	var got []transport.Hint
	for _, row := range failure.Table(t) {
		got = append(got, transport.Hint{Code: row.Code, EN: row.EN, ZH: row.ZH})
		require.NotEmpty(t, row.Messages)
	}
	require.Equal(t, transport.Hints(), got)
	chinese, err := os.ReadFile("../docs/zh/transport.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| `.*` \\| (.+) \\|$").FindAllStringSubmatch(string(chinese), -1)
	require.Len(t, rows, len(got))
	for i, h := range got {
		require.Equal(t, []string{h.Code, h.ZH}, rows[i][1:])
	}
	_, ok := transport.HintOf(nil)
	require.False(t, ok)
}

// An error of a higher layer may have its own hint, but a hint about the cause takes precedence.
func TestHintOfALayerAbove(t *testing.T) {
	h, ok := transport.HintOf(fmt.Errorf("start: %w", &client.HandshakeError{Err: io.EOF}))
	require.True(t, ok)
	require.Contains(t, h.EN, "Some servers refuse that way")
	require.Contains(t, h.ZH, "部分服务端以此方式拒绝")
	h, _ = transport.HintOf(&client.HandshakeError{Err: &transport.DialError{Step: transport.StepTCP, Err: transport.ErrSpeaksHTTP}})
	require.Equal(t, "speaks-http", h.Code)
	_, ok = transport.HintOf(&transport.DialError{Step: transport.StepTCP, Err: errors.New("strange")})
	require.False(t, ok)
	_, ok = transport.HintOf(errors.New("strange"))
	require.False(t, ok)
}

// The address appears in the text once, in whatever form the socket reports it.
func TestAddressOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	dial, err := transport.Dialer("mqtt://"+addr, nil)
	require.NoError(t, err)
	_, err = dial(t.Context())
	require.EqualError(t, err, "transport: tcp: "+addr+": connect: connection refused")
}
