package connector_test

import (
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// The client of a configuration reaches its server as the connector does.
func TestClientConfig(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	cfg := connector.Config{General: connector.General{BrokerURL: b.Addr, ClientID: "looker", UserName: "u", Password: "secret"}}
	require.Empty(t, cfg.Check())
	of, err := cfg.ClientConfig()
	require.NoError(t, err)
	require.Equal(t, "looker", of.ClientID)
	require.Equal(t, "u", of.UserName)
	require.Equal(t, "secret", string(of.Password))
	require.True(t, of.CleanSession)
	conn, err := of.Dial(t.Context())
	require.NoError(t, err)
	require.Equal(t, b.Addr, conn.RemoteAddr().String())
	require.NoError(t, conn.Close())
}
