package ws_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// echo is a gorilla server that echoes every message, and answers a close frame in gorilla's way.
func echo(t *testing.T) http.Handler {
	upgrader := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			conn.WriteMessage(kind, data)
		}
	})
}

func TestSchemes(t *testing.T) {
	ca := testcert.Authority(t)
	plain := httptest.NewServer(echo(t))
	defer plain.Close()
	secure := httptest.NewUnstartedServer(echo(t))
	secure.TLS = tlsConfig(ca.Issue(t))
	secure.StartTLS()
	defer secure.Close()

	var opts ws.Options
	opts.TLS = &transport.TLSOptions{ServerCert: transport.File(ca.CertPEM())}
	for scheme, server := range map[string]*httptest.Server{"ws": plain, "wss": secure} {
		t.Run(scheme, func(t *testing.T) {
			_, addr, _ := strings.Cut(server.URL, "://")
			conn, err := ws.Dial(context.Background(), scheme+"://"+addr+"/mqtt?a=b", &opts)
			require.NoError(t, err)
			defer conn.Close()
			sent := strings.Repeat("0123456789abcdef", 20_000) // several frames
			go func() { io.WriteString(conn, sent) }()
			got := make([]byte, len(sent))
			_, err = io.ReadFull(conn, got)
			require.NoError(t, err)
			require.Equal(t, sent, string(got))

			require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
			_, err = conn.Read(got)
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, conn.SetDeadline(time.Time{}))
		})
	}
}
