package connector

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport"
)

// The code of every error in the seed's form.
const CodeRuntime = "CORE:RUNTIME"

// An ErrorType is a kind of error; a kind has a wider kind above it.
type ErrorType string

// The error types.
const (
	TypeAny                 ErrorType = "any"
	TypeRuntime             ErrorType = "CORE:RUNTIME"
	TypeConfig              ErrorType = "CORE:CONFIG"
	TypeExpression          ErrorType = "CORE:EXPRESSION"
	TypeTimeout             ErrorType = "CORE:TIMEOUT"
	TypeCancelled           ErrorType = "CORE:CANCELLED"
	TypeOverload            ErrorType = "CORE:OVERLOAD"
	TypeStalled             ErrorType = "CORE:STALLED"
	TypeRetryExhausted      ErrorType = "CORE:RETRY_EXHAUSTED"
	TypeRedeliveryExhausted ErrorType = "CORE:REDELIVERY_EXHAUSTED"
	TypeConnectivity        ErrorType = "MQTT:CONNECTIVITY"
	TypeDNS                 ErrorType = "MQTT:DNS"
	TypeTCP                 ErrorType = "MQTT:TCP"
	TypeProxy               ErrorType = "MQTT:PROXY"
	TypeTLS                 ErrorType = "MQTT:TLS"
	TypeTLSUntrusted        ErrorType = "MQTT:TLS_UNTRUSTED"
	TypeTLSExpired          ErrorType = "MQTT:TLS_EXPIRED"
	TypeTLSHostname         ErrorType = "MQTT:TLS_HOSTNAME"
	TypeTLSClientCert       ErrorType = "MQTT:TLS_CLIENT_CERT"
	TypeWebSocket           ErrorType = "MQTT:WEBSOCKET"
	TypeConnectTimeout      ErrorType = "MQTT:CONNECT_TIMEOUT"
	TypePingTimeout         ErrorType = "MQTT:PING_TIMEOUT"
	TypeWriteTimeout        ErrorType = "MQTT:WRITE_TIMEOUT"
	TypeConnectionLost      ErrorType = "MQTT:CONNECTION_LOST"
	TypeNotConnected        ErrorType = "MQTT:NOT_CONNECTED"
	TypeClientIDInUse       ErrorType = "MQTT:CLIENT_ID_IN_USE"
	TypeSecret              ErrorType = "MQTT:SECRET"
	TypeRefused             ErrorType = "MQTT:REFUSED"
	TypeProtocolVersion     ErrorType = "MQTT:PROTOCOL_VERSION"
	TypeClientIDRejected    ErrorType = "MQTT:CLIENT_ID_REJECTED"
	TypeUnavailable         ErrorType = "MQTT:SERVER_UNAVAILABLE"
	TypeBadCredentials      ErrorType = "MQTT:BAD_CREDENTIALS"
	TypeNotAuthorized       ErrorType = "MQTT:NOT_AUTHORIZED"
	TypeProtocol            ErrorType = "MQTT:PROTOCOL"
	TypeSubscribe           ErrorType = "MQTT:SUBSCRIBE"
	TypeRejected            ErrorType = "MQTT:SUBSCRIPTION_REJECTED"
	TypeDowngraded          ErrorType = "MQTT:QOS_DOWNGRADED"
	TypeInvalidFilter       ErrorType = "MQTT:INVALID_FILTER"
	TypeSubscribeTimeout    ErrorType = "MQTT:SUBSCRIBE_TIMEOUT"
	TypePublish             ErrorType = "MQTT:PUBLISH"
	TypeInvalidTopic        ErrorType = "MQTT:INVALID_TOPIC"
	TypePayloadTooLarge     ErrorType = "MQTT:PAYLOAD_TOO_LARGE"
	TypePublishTimeout      ErrorType = "MQTT:PUBLISH_TIMEOUT"
	TypePublishRefused      ErrorType = "MQTT:PUBLISH_REFUSED"
	TypeStore               ErrorType = "MQTT:STORE"
	TypeDeadLetter          ErrorType = "MQTT:DEAD_LETTER"
)

var parents = map[ErrorType]ErrorType{
	TypeRuntime: TypeAny,
	TypeConfig:  TypeRuntime, TypeExpression: TypeRuntime, TypeTimeout: TypeRuntime, TypeCancelled: TypeRuntime,
	TypeOverload: TypeRuntime, TypeStalled: TypeRuntime, TypeRetryExhausted: TypeRuntime, TypeRedeliveryExhausted: TypeRuntime,
	TypeConnectivity: TypeRuntime,
	TypeDNS:          TypeConnectivity, TypeTCP: TypeConnectivity, TypeProxy: TypeConnectivity, TypeTLS: TypeConnectivity, TypeWebSocket: TypeConnectivity,
	TypeTLSUntrusted: TypeTLS, TypeTLSExpired: TypeTLS, TypeTLSHostname: TypeTLS, TypeTLSClientCert: TypeTLS,
	TypeConnectTimeout: TypeConnectivity, TypePingTimeout: TypeConnectivity, TypeWriteTimeout: TypeConnectivity,
	TypeConnectionLost: TypeConnectivity, TypeNotConnected: TypeConnectivity, TypeClientIDInUse: TypeConnectivity, TypeProtocol: TypeConnectivity, TypeSecret: TypeConnectivity,
	TypeRefused: TypeConnectivity, TypeProtocolVersion: TypeRefused, TypeClientIDRejected: TypeRefused,
	TypeUnavailable: TypeRefused, TypeBadCredentials: TypeRefused, TypeNotAuthorized: TypeRefused,
	TypeSubscribe: TypeRuntime, TypeRejected: TypeSubscribe, TypeDowngraded: TypeSubscribe, TypeInvalidFilter: TypeSubscribe, TypeSubscribeTimeout: TypeSubscribe,
	TypePublish: TypeRuntime, TypeInvalidTopic: TypePublish, TypePayloadTooLarge: TypePublish, TypePublishTimeout: TypePublish, TypePublishRefused: TypePublish,
	TypeStore: TypeRuntime, TypeDeadLetter: TypeRuntime,
}

// Parent returns the wider kind; TypeAny and unknown types of a flow's own have none
// but TypeRuntime and TypeAny.
func (t ErrorType) Parent() ErrorType {
	if p, ok := parents[t]; ok {
		return p
	}
	if t == TypeAny {
		return ""
	}
	return TypeRuntime
}

// Is tells whether target is t or a type above it.
func (t ErrorType) Is(target error) bool {
	wide, ok := target.(ErrorType)
	for ; ok && t != ""; t = t.Parent() {
		if t == wide {
			return true
		}
	}
	return false
}

// Error returns the type, so that errors.Is(err, connector.TypeConnectivity) asks whether
// err is of that type or below it.
func (t ErrorType) Error() string { return string(t) }

// Retryable tells whether the same may work later without anybody changing anything.
func (t ErrorType) Retryable() bool {
	for ; t != ""; t = t.Parent() {
		if retry, ok := retryable[t]; ok {
			return retry
		}
	}
	return false
}

// retryable has the answer of each type that differs from the one above it.
var retryable = map[ErrorType]bool{
	TypeRuntime: true,
	TypeConfig:  false, TypeExpression: false, TypeCancelled: false, TypeRetryExhausted: false, TypeRedeliveryExhausted: false,
	TypeTLS: false, TypeProtocolVersion: false, TypeClientIDRejected: false, TypeBadCredentials: false, TypeNotAuthorized: false,
	TypeRejected: false, TypeDowngraded: false, TypeInvalidFilter: false,
	TypeInvalidTopic: false, TypePayloadTooLarge: false, TypePublishRefused: false,
}

// Delivered says whether a message that was to be published has arrived.
type Delivered string

// The answers.
const (
	DeliveredYes     Delivered = "yes"
	DeliveredNo      Delivered = "no"      // and it will not: it may be published again
	DeliveredUnknown Delivered = "unknown" // publishing it again may do so twice
	DeliveredLater   Delivered = "later"   // the session store has it, and it goes out: publishing it again does so twice
)

// An Error is what the error of a message holds. Its JSON is exactly the seed's
// {"Code", "Description"}, unless it is Extended.
type Error struct {
	Code        string // CodeRuntime, or what RaiseError says; of an Extended error its Type
	Description string
	Type        ErrorType
	Delivered   Delivered // of a Producer; otherwise empty
	Err         error     // the cause, or nil

	extended bool
}

func (e *Error) Error() string { return "connector: " + e.Description }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is tells whether target is the error's type or one above it.
func (e *Error) Is(target error) bool {
	t, ok := target.(ErrorType)
	return ok && e.Type.Is(t)
}

// Retryable tells whether the same may work later without anybody changing anything. It
// says nothing about whether that would do it twice: see Delivered.
func (e *Error) Retryable() bool { return e.Type.Retryable() }

// Reason is the return code of a CONNACK or SUBACK that said no; otherwise 0.
func (e *Error) Reason() byte {
	var refused *client.RefusedError
	var filter *client.FilterError
	switch {
	case errors.As(e.Err, &refused):
		return byte(refused.Code)
	case errors.As(e.Err, &filter):
		return byte(filter.Code)
	}
	return 0
}

// Extended returns a copy whose Code is the type and whose JSON says all there is to say. It is
// what messages carry with Extension.ErrorFormat "extended".
func (e *Error) Extended() *Error {
	x := *e
	x.Description = strings.TrimPrefix(x.Description, bracketed(e.Type))
	x.Code, x.extended = string(e.Type), true
	return &x
}

// Explain says in "en" or "zh" what kind of error it is, what it means for the message,
// and what to try. It does not repeat the Description.
func (e *Error) Explain(lang string) string {
	t := e.Type
	for explanations[t].en == "" {
		t = t.Parent() // of a flow's own type: CORE:RUNTIME
	}
	text := explanations[t]
	switch {
	case lang == "zh" && e.Delivered == DeliveredUnknown:
		return text.zh + "消息可能已送达，重发可能重复。"
	case lang == "zh" && e.Delivered == DeliveredLater:
		return text.zh + "消息已存入会话存储，稍后会送达，请勿重发。"
	case lang == "zh" && e.Delivered == DeliveredNo:
		return text.zh + "消息未送达，可以重发。"
	case lang == "zh":
		return text.zh
	case e.Delivered == DeliveredUnknown:
		return text.en + " The message may have arrived: sending it again may do so twice."
	case e.Delivered == DeliveredLater:
		return text.en + " The session store has the message and it goes out later: do not send it again."
	case e.Delivered == DeliveredNo:
		return text.en + " The message did not arrive: it may be sent again."
	}
	return text.en
}

// MarshalJSON returns the seed's form, or that of an Extended error.
func (e *Error) MarshalJSON() ([]byte, error) {
	if e.extended {
		return json.Marshal(struct {
			Code, Description string
			Type, Parent      ErrorType
			Retryable         bool
			Reason            byte      `json:",omitempty"`
			Delivered         Delivered `json:",omitempty"`
			Hint, HintZH      string
		}{e.Code, e.Description, e.Type, e.Type.Parent(), e.Retryable(), e.Reason(), e.Delivered, e.Explain("en"), e.Explain("zh")})
	}
	return json.Marshal(struct{ Code, Description string }{e.Code, e.Description})
}

// AsError returns err in the seed's form; nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	t := classify(err)
	return newError(t, err)
}

func newError(t ErrorType, err error) *Error {
	text := strings.TrimPrefix(err.Error(), "connector: ")
	if t != TypeRuntime {
		text = bracketed(t) + text
	}
	return &Error{Code: CodeRuntime, Description: text, Type: t, Err: err}
}

func bracketed(t ErrorType) string { return "[" + string(t) + "] " }

var refusals = map[packets.ConnectCode]ErrorType{
	packets.UnacceptableProtocolVersion: TypeProtocolVersion,
	packets.IdentifierRejected:          TypeClientIDRejected,
	packets.ServerUnavailable:           TypeUnavailable,
	packets.BadUserNameOrPassword:       TypeBadCredentials,
	packets.NotAuthorized:               TypeNotAuthorized,
}

// classify finds the narrowest type that an error of the layers below has.
func classify(err error) ErrorType {
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
