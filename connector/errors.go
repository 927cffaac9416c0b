package connector

import (
	"context"
	"errors"
	"os"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/classify"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport"
)

// Package flow does not import the packages of the layers below.
func init() {
	classify.Type = func(err error) string { return string(errorType(err)) }
	classify.Reason = reason
}

// reason returns the return code of a refusing CONNACK or SUBACK, or 0.
func reason(err error) byte {
	var refused *client.RefusedError
	var filter *client.FilterError
	switch {
	case errors.As(err, &refused):
		return byte(refused.Code)
	case errors.As(err, &filter):
		return byte(filter.Code)
	}
	return 0
}

var refusals = map[packets.ConnectCode]flow.ErrorType{
	packets.UnacceptableProtocolVersion: flow.TypeProtocolVersion,
	packets.IdentifierRejected:          flow.TypeClientIDRejected,
	packets.ServerUnavailable:           flow.TypeUnavailable,
	packets.BadUserNameOrPassword:       flow.TypeBadCredentials,
	packets.NotAuthorized:               flow.TypeNotAuthorized,
}

// errorType returns the most specific type for an error of the layers below.
func errorType(err error) flow.ErrorType {
	var (
		refused  *client.RefusedError
		filter   *client.FilterError
		encode   *packets.EncodeError
		format   *packets.FormatError
		large    *packets.TooLargeError
		protocol *session.ProtocolError
		dial     *transport.DialError

		handshake *client.HandshakeError
		incoming  *client.IncomingError
	)
	var secret *secretError
	if errors.As(err, &secret) {
		return flow.TypeSecret
	}
	for _, c := range sentinels {
		if errors.Is(err, c.err) {
			return c.is
		}
	}
	switch {
	case errors.As(err, &refused):
		if t, ok := refusals[refused.Code]; ok {
			return t
		}
		return flow.TypeRefused
	case errors.As(err, &filter):
		return flow.TypeRejected
	case errors.As(err, &encode):
		return encodeType(encode)
	case errors.As(err, &dial):
		return dialType(dial)
	case errors.As(err, &handshake) && (errors.As(err, &format) || errors.As(err, &large)):
		return flow.TypeProtocol // it may not be MQTT at all
	case errors.As(err, &large):
		return flow.TypeOversize
	case errors.As(err, &incoming):
		return flow.TypeMalformed
	case errors.As(err, &format), errors.As(err, &protocol):
		return flow.TypeProtocol
	}
	for _, c := range wider {
		if errors.Is(err, c.err) {
			return c.is
		}
	}
	if errors.As(err, &handshake) {
		return flow.TypeConnectivity // for example, the server closed before CONNACK
	}
	for _, c := range widest {
		if errors.Is(err, c.err) {
			return c.is
		}
	}
	return flow.TypeRuntime
}

type sentinel struct {
	err error
	is  flow.ErrorType
}

// sentinels maps sentinel errors to types, from specific to general; the most general one, which
// attempts to connect wrap too, is last.
var (
	sentinels = []sentinel{
		{client.ErrStoreFailed, flow.TypeStore},
		{client.ErrStoreFull, flow.TypeStore},
		{client.ErrQueueFull, flow.TypeOverload},
		{client.ErrPoison, flow.TypePublishRefused},
		{session.ErrScrubRefused, flow.TypePublishRefused},
	}
	wider = []sentinel{
		{client.ErrConnectTimeout, flow.TypeConnectTimeout},
		{client.ErrPingTimeout, flow.TypePingTimeout},
		{os.ErrDeadlineExceeded, flow.TypeWriteTimeout}, // the client sets no other deadline
		{client.ErrNotConnected, flow.TypeNotConnected},
		{client.ErrConnectionLost, flow.TypeConnectionLost},
	}
	widest = []sentinel{
		{client.ErrClosed, flow.TypeNotConnected},
		{context.DeadlineExceeded, flow.TypeTimeout},
		{context.Canceled, flow.TypeCancelled},
	}
)

func encodeType(err *packets.EncodeError) flow.ErrorType {
	switch {
	case err.Type == packets.SUBSCRIBE || err.Type == packets.UNSUBSCRIBE:
		return flow.TypeInvalidFilter
	case err.Type == packets.CONNECT:
		return flow.TypeConfig
	case err.Field == "Payload":
		return flow.TypePayloadTooLarge
	}
	return flow.TypeInvalidTopic
}

// dialType uses the hint where that is more specific than the step.
func dialType(err *transport.DialError) flow.ErrorType {
	if h, ok := transport.HintOf(err); ok {
		if t, ok := byHint[h.Code]; ok {
			return t
		}
	}
	if t, ok := bySteps[err.Step]; ok {
		return t
	}
	return flow.TypeConnectivity
}

var bySteps = map[transport.Step]flow.ErrorType{
	transport.StepParse: flow.TypeConfig, transport.StepResolve: flow.TypeDNS, transport.StepTCP: flow.TypeTCP, transport.StepProxy: flow.TypeProxy,
	transport.StepTLS: flow.TypeTLS, transport.StepWebSocket: flow.TypeWebSocket,
}

var byHint = map[string]flow.ErrorType{
	"unknown-authority": flow.TypeTLSUntrusted,
	"expired":           flow.TypeTLSExpired, "not-yet-valid": flow.TypeTLSExpired,
	"wrong-name": flow.TypeTLSHostname, "no-names": flow.TypeTLSHostname, "unknown-server-name": flow.TypeTLSHostname,
	"client-certificate-required": flow.TypeTLSClientCert, "client-certificate-refused": flow.TypeTLSClientCert,
	"timeout-resolve": flow.TypeConnectTimeout, "timeout-tcp": flow.TypeConnectTimeout, "timeout-proxy": flow.TypeConnectTimeout,
	"timeout-tls": flow.TypeConnectTimeout, "timeout-websocket": flow.TypeConnectTimeout,
}
