package connector

import (
	"context"
	"errors"
	"os"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/classify"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport"
)

// Package flow does not know the errors of the layers below.
func init() {
	classify.Type = func(err error) string { return string(errorType(err)) }
	classify.Reason = reason
}

// reason returns the return code of a CONNACK or SUBACK that said no; otherwise 0.
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

var refusals = map[packets.ConnectCode]ErrorType{
	packets.UnacceptableProtocolVersion: TypeProtocolVersion,
	packets.IdentifierRejected:          TypeClientIDRejected,
	packets.ServerUnavailable:           TypeUnavailable,
	packets.BadUserNameOrPassword:       TypeBadCredentials,
	packets.NotAuthorized:               TypeNotAuthorized,
}

// errorType finds the narrowest type that an error of the layers below has.
func errorType(err error) ErrorType {
	var (
		refused  *client.RefusedError
		filter   *client.FilterError
		encode   *packets.EncodeError
		format   *packets.FormatError
		large    *packets.TooLargeError
		protocol *session.ProtocolError
		dial     *transport.DialError

		handshake *client.HandshakeError
	)
	var secret *secretError
	if errors.As(err, &secret) {
		return TypeSecret
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
		return TypeRefused
	case errors.As(err, &filter):
		return TypeRejected
	case errors.As(err, &encode):
		return encodeType(encode)
	case errors.As(err, &dial):
		return dialType(dial)
	case errors.As(err, &format), errors.As(err, &large), errors.As(err, &protocol):
		return TypeProtocol
	}
	for _, c := range wider {
		if errors.Is(err, c.err) {
			return c.is
		}
	}
	if errors.As(err, &handshake) {
		return TypeConnectivity // as of a server that closes before CONNACK
	}
	for _, c := range widest {
		if errors.Is(err, c.err) {
			return c.is
		}
	}
	return TypeRuntime
}

type sentinel struct {
	err error
	is  ErrorType
}

// sentinels say what an error is, whatever else it wraps; wider ones only if nothing else does,
// and the widest, which an attempt to connect wraps too, last.
var (
	sentinels = []sentinel{
		{client.ErrStoreFailed, TypeStore},
		{client.ErrStoreFull, TypeStore},
		{client.ErrQueueFull, TypeOverload},
		{client.ErrPoison, TypePublishRefused},
		{session.ErrScrubRefused, TypePublishRefused},
	}
	wider = []sentinel{
		{client.ErrConnectTimeout, TypeConnectTimeout},
		{client.ErrPingTimeout, TypePingTimeout},
		{os.ErrDeadlineExceeded, TypeWriteTimeout}, // the client sets no other deadline
		{client.ErrNotConnected, TypeNotConnected},
		{client.ErrConnectionLost, TypeConnectionLost},
	}
	widest = []sentinel{
		{client.ErrClosed, TypeNotConnected},
		{context.DeadlineExceeded, TypeTimeout},
		{context.Canceled, TypeCancelled},
	}
)

func encodeType(err *packets.EncodeError) ErrorType {
	switch {
	case err.Type == packets.SUBSCRIBE || err.Type == packets.UNSUBSCRIBE:
		return TypeInvalidFilter
	case err.Type == packets.CONNECT:
		return TypeConfig
	case err.Field == "Payload":
		return TypePayloadTooLarge
	}
	return TypeInvalidTopic
}

// dialType goes by the hint where it tells more than the step.
func dialType(err *transport.DialError) ErrorType {
	if h, ok := transport.HintOf(err); ok {
		if t, ok := byHint[h.Code]; ok {
			return t
		}
	}
	if t, ok := bySteps[err.Step]; ok {
		return t
	}
	return TypeConnectivity
}

var bySteps = map[transport.Step]ErrorType{
	transport.StepParse: TypeConfig, transport.StepResolve: TypeDNS, transport.StepTCP: TypeTCP, transport.StepProxy: TypeProxy,
	transport.StepTLS: TypeTLS, transport.StepWebSocket: TypeWebSocket,
}

var byHint = map[string]ErrorType{
	"unknown-authority": TypeTLSUntrusted,
	"expired":           TypeTLSExpired, "not-yet-valid": TypeTLSExpired,
	"wrong-name": TypeTLSHostname, "no-names": TypeTLSHostname, "unknown-server-name": TypeTLSHostname,
	"client-certificate-required": TypeTLSClientCert, "client-certificate-refused": TypeTLSClientCert,
	"timeout-resolve": TypeConnectTimeout, "timeout-tcp": TypeConnectTimeout, "timeout-proxy": TypeConnectTimeout,
	"timeout-tls": TypeConnectTimeout, "timeout-websocket": TypeConnectTimeout,
}
