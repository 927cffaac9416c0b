package jetstream

import (
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"
)

// The text of a .creds file provides the JWT, and the seed for signing.
func TestCredentials(t *testing.T) {
	pair, err := nkeys.CreateUser()
	require.NoError(t, err)
	seed, err := pair.Seed()
	require.NoError(t, err)
	text := "-----BEGIN NATS USER JWT-----\neyJ0.e30.sig\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n"
	t.Setenv("MQTT311_CREDS", text)
	for _, n := range []*connector.NATS{
		{Credentials: connector.Secret(text)},
		{CredentialsFrom: &connector.SecretSource{Env: "MQTT311_CREDS"}},
	} {
		var o nats.Options
		for _, set := range identity(n, logger(nil)) {
			require.NoError(t, set(&o))
		}
		jwt, err := o.UserJWT()
		require.NoError(t, err)
		require.Equal(t, "eyJ0.e30.sig", jwt)
		signed, err := o.SignatureCB([]byte("nonce"))
		require.NoError(t, err)
		require.NoError(t, pair.Verify([]byte("nonce"), signed))
	}
	var o nats.Options
	for _, set := range identity(&connector.NATS{Token: "secret"}, logger(nil)) {
		require.NoError(t, set(&o))
	}
	require.Equal(t, "secret", o.TokenHandler())
	require.Empty(t, identity(new(connector.NATS), logger(nil)))
}
