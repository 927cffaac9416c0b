package connector_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/require"
)

// Attributes are as in the platform's example, field by field.
func TestAttributeIsThePlatforms(t *testing.T) {
	m := flow.NewMessage("some topic", []byte{0xff, 0}, packets.AtLeastOnce, 4)
	b, err := json.Marshal(m.Attribute)
	require.NoError(t, err)
	require.JSONEq(t, `{"QoS": 1, "topic": "some topic", "messageID": 4}`, string(b))
	require.IsType(t, 0, m.Attribute["QoS"])
	require.IsType(t, uint16(0), m.Attribute["messageID"])
	require.Equal(t, []byte{0xff, 0}, m.Payload.Blob)
	require.Empty(t, m.Variable)
	require.Nil(t, m.Error)
	require.Equal(t, "some topic", m.Topic())
}

// Errors are as in the platform's example, byte by byte.
func TestErrorIsThePlatforms(t *testing.T) {
	m := reading().WithError(errors.New("some error message."))
	b, err := json.Marshal(m.Error)
	require.NoError(t, err)
	require.Equal(t, `{"Code":"CORE:RUNTIME","Description":"some error message."}`, string(b))
	whole, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, `{"payload": {"blob": "MjE="}, "attribute": {"QoS": 1, "topic": "a/b", "messageID": 4}, "variable": {},
		"error": {"Code": "CORE:RUNTIME", "Description": "some error message."}}`, string(whole))

	none, err := json.Marshal(reading())
	require.NoError(t, err)
	require.Contains(t, string(none), `"error":null`)
	require.Nil(t, flow.AsError(nil))
}

func TestWithErrorLeavesTheMessageAlone(t *testing.T) {
	m := reading()
	c := m.WithError(errFlow)
	c.Attribute["topic"], c.Variable["x"] = "else", 1
	require.Nil(t, m.Error)
	require.Equal(t, "a/b", m.Topic())
	require.Empty(t, m.Variable)
}

// Every error from the layers below has its type, and its Code is the platform's.
func TestErrorTypes(t *testing.T) {
	cases := []struct {
		err  error
		want flow.ErrorType
	}{
		{&client.RefusedError{Code: packets.UnacceptableProtocolVersion}, flow.TypeProtocolVersion},
		{&client.RefusedError{Code: packets.IdentifierRejected}, flow.TypeClientIDRejected},
		{&client.RefusedError{Code: packets.ServerUnavailable}, flow.TypeUnavailable},
		{&client.RefusedError{Code: packets.BadUserNameOrPassword}, flow.TypeBadCredentials},
		{&client.RefusedError{Code: packets.NotAuthorized}, flow.TypeNotAuthorized},
		{&client.RefusedError{Code: 77}, flow.TypeRefused},
		{&client.FilterError{Filter: "a/#"}, flow.TypeRejected},
		{&packets.EncodeError{Type: packets.PUBLISH, Field: "Topic"}, flow.TypeInvalidTopic},
		{&packets.EncodeError{Type: packets.PUBLISH, Field: "Payload"}, flow.TypePayloadTooLarge},
		{&packets.EncodeError{Type: packets.SUBSCRIBE}, flow.TypeInvalidFilter},
		{&packets.EncodeError{Type: packets.CONNECT}, flow.TypeConfig},
		{&packets.FormatError{}, flow.TypeProtocol},
		{&packets.TooLargeError{}, flow.TypeOversize},
		{&client.IncomingError{Err: &packets.TooLargeError{}}, flow.TypeOversize},
		{&client.IncomingError{Err: &packets.FormatError{}}, flow.TypeMalformed},
		{&client.HandshakeError{Err: &packets.TooLargeError{}}, flow.TypeProtocol},
		{&client.HandshakeError{Err: &client.IncomingError{Err: &packets.FormatError{}}}, flow.TypeProtocol},
		{&session.ProtocolError{}, flow.TypeProtocol},
		{&transport.DialError{Step: transport.StepTLS, Err: errFlow}, flow.TypeTLS},
		{&transport.DialError{Step: transport.StepWebSocket, Err: errFlow}, flow.TypeWebSocket},
		{&transport.DialError{Step: transport.StepTCP, Err: errFlow}, flow.TypeTCP},
		{&transport.DialError{Step: transport.StepResolve, Err: errFlow}, flow.TypeDNS},
		{&transport.DialError{Step: transport.StepProxy, Err: errFlow}, flow.TypeProxy},
		{&transport.DialError{Step: "else", Err: errFlow}, flow.TypeConnectivity},
		{&transport.DialError{Step: transport.StepTLS, Err: x509.UnknownAuthorityError{}}, flow.TypeTLSUntrusted},
		{&transport.DialError{Step: transport.StepTLS, Err: x509.CertificateInvalidError{Reason: x509.Expired, Cert: new(x509.Certificate)}}, flow.TypeTLSExpired},
		{&transport.DialError{Step: transport.StepTLS, Err: x509.HostnameError{Certificate: new(x509.Certificate)}}, flow.TypeTLSHostname},
		{&transport.DialError{Step: transport.StepTLS, Err: &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}}, flow.TypeTLSClientCert},
		{&transport.DialError{Step: transport.StepTCP, Err: context.DeadlineExceeded}, flow.TypeConnectTimeout},
		{os.ErrDeadlineExceeded, flow.TypeWriteTimeout},
		{client.ErrQueueFull, flow.TypeOverload},
		{fmt.Errorf("%w: %w", client.ErrQueueFull, client.ErrStoreFull), flow.TypeStore},
		{fmt.Errorf("%w: %w", client.ErrClosed, client.ErrStoreFailed), flow.TypeStore},
		{client.ErrPoison, flow.TypePublishRefused},
		{session.ErrScrubRefused, flow.TypePublishRefused},
		{context.DeadlineExceeded, flow.TypeTimeout},
		{context.Canceled, flow.TypeCancelled},
		{client.ErrConnectTimeout, flow.TypeConnectTimeout},
		{client.ErrPingTimeout, flow.TypePingTimeout},
		{client.ErrNotConnected, flow.TypeNotConnected},
		{client.ErrConnectionLost, flow.TypeConnectionLost},
		{client.ErrClosed, flow.TypeNotConnected},
		{fmt.Errorf("%w: %w", client.ErrClosed, &client.HandshakeError{Err: io.EOF}), flow.TypeConnectivity},
		{fmt.Errorf("%w: %w", client.ErrClosed, &client.HandshakeError{Err: client.ErrConnectTimeout}), flow.TypeConnectTimeout},
		{fmt.Errorf("wrapped: %w", client.ErrPingTimeout), flow.TypePingTimeout},
		{errFlow, flow.TypeRuntime},
	}
	for _, c := range cases {
		e := flow.AsError(c.err)
		require.Equal(t, c.want, e.Type, "%T", c.err)
		require.Equal(t, flow.CodeRuntime, e.Code)
		require.Same(t, e, flow.AsError(fmt.Errorf("step 3: %w", e)))
		require.Equal(t, c.err, errors.Unwrap(e))
		require.True(t, e.Type.Is(flow.TypeRuntime))
		require.True(t, e.Type.Is(flow.TypeAny))
		if c.want != flow.TypeRuntime {
			require.Contains(t, e.Description, "["+string(c.want)+"]")
		}
	}
}

func TestErrorTypeAncestry(t *testing.T) {
	require.True(t, flow.TypeNotAuthorized.Is(flow.TypeRefused))
	require.True(t, flow.TypeNotAuthorized.Is(flow.TypeConnectivity))
	require.False(t, flow.TypeRefused.Is(flow.TypeNotAuthorized))
	require.False(t, flow.TypePublish.Is(flow.TypeConnectivity))
	require.Equal(t, flow.TypeRuntime, flow.ErrorType("APP:FULL").Parent())
	require.Empty(t, flow.TypeAny.Parent())
}

// No way of printing a configuration shows a secret.
func TestSecretIsNeverShown(t *testing.T) {
	const hidden = "hunter2"
	cfg := connector.Config{
		General: connector.General{
			BrokerURL: "127.0.0.1:8883", Protocol: connector.TLS, ClientID: "c",
			UserName: "u", Password: hidden, TLSClientKey: hidden, TLSClientCert: "nowhere",
		},
		Extension: connector.Extension{WSHeaders: map[string]connector.Secret{"Authorization": hidden}},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		require.NotContains(t, fmt.Sprintf(verb, cfg), hidden, verb)
		require.NotContains(t, fmt.Sprintf(verb, &cfg), hidden, verb)
		require.NotContains(t, fmt.Sprintf(verb, cfg.General.Password), "68756e74", verb) // hexadecimal
	}
	b, err := json.Marshal(cfg)
	require.NoError(t, err)
	require.NotContains(t, string(b), hidden)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", cfg, "password", cfg.General.Password)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", cfg, "password", cfg.General.Password)
	require.NotContains(t, log.String(), hidden)
	require.Contains(t, log.String(), "[redacted]")
	plain := cfg
	plain.General.Protocol, plain.General.TLSClientKey, plain.General.TLSClientCert = connector.TCP, "", ""
	c, err := connector.New(plain, connector.Options{})
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown := fmt.Sprintf(verb, c) + fmt.Sprintf(verb, c.Producer("none"))
		require.NotContains(t, shown, hidden, verb)
		require.NotContains(t, shown, "68756e74", verb)
		require.NotContains(t, shown, "104 117 110 116", verb) // bytes
	}
	findings := cfg.Check()
	require.NotEmpty(t, findings, "the files are not there")
	for _, f := range findings {
		require.NotContains(t, f.Text("en")+f.Text("zh"), hidden, "what stands for the key may be the key")
	}
	require.Empty(t, connector.Secret("").String())
	require.Equal(t, hidden, string(cfg.General.Password))
}
