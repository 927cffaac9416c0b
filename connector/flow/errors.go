package flow

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector/internal/classify"
)

// CodeRuntime is the code of errors in the platform's format.
const CodeRuntime = "CORE:RUNTIME"

// An ErrorType is a type of error. Types form a hierarchy: see [ErrorType.Parent].
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
	TypeUnmatched           ErrorType = "MQTT:UNMATCHED"
	TypeOversize            ErrorType = "MQTT:OVERSIZE"
	TypeMalformed           ErrorType = "MQTT:MALFORMED"
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
	TypeStore: TypeRuntime, TypeDeadLetter: TypeRuntime, TypeUnmatched: TypeRuntime,
	TypeOversize: TypeProtocol, TypeMalformed: TypeProtocol,
}

// Types returns all error types defined in this package, sorted.
func Types() []ErrorType { return slices.Sorted(maps.Keys(parents)) }

// Parent returns the type of which t is a subtype. The parent of an unknown type, which a flow may
// define, is TypeRuntime, whose parent is TypeAny; TypeAny has none.
func (t ErrorType) Parent() ErrorType {
	if p, ok := parents[t]; ok {
		return p
	}
	if t == TypeAny {
		return ""
	}
	return TypeRuntime
}

// Is reports whether target is t or an ancestor of t.
func (t ErrorType) Is(target error) bool {
	wide, ok := target.(ErrorType)
	for ; ok && t != ""; t = t.Parent() {
		if t == wide {
			return true
		}
	}
	return false
}

// Error returns the type as text. It makes an ErrorType an error, so that errors.Is(err,
// flow.TypeConnectivity) reports whether err is of that type or a subtype.
func (t ErrorType) Error() string { return string(t) }

// Retryable reports whether a retry may succeed although nothing has been changed.
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
	TypeInvalidTopic: false, TypePayloadTooLarge: false, TypePublishRefused: false, TypeUnmatched: false,
	TypeOversize: false, TypeMalformed: false,
}

// Delivered says whether a published message has arrived.
type Delivered string

// The values of Delivered.
const (
	DeliveredYes     Delivered = "yes"
	DeliveredNo      Delivered = "no"      // it has not arrived and will not: it can be published again
	DeliveredUnknown Delivered = "unknown" // it may have arrived: publishing it again may publish it twice
	DeliveredLater   Delivered = "later"   // it is in the session store and will be sent: publishing it again publishes it twice
)

// An Error is the error of a message. Its JSON has exactly the platform's fields Code and
// Description, unless it was made by [Error.Extended].
type Error struct {
	Code        string // CodeRuntime, or that of RaiseError; the Type if the error is Extended
	Description string
	Type        ErrorType
	Delivered   Delivered // for errors of a Producer; otherwise empty
	Err         error     // the cause, or nil

	extended bool
}

func (e *Error) Error() string { return "connector: " + e.Description }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the type of the error or an ancestor of it.
func (e *Error) Is(target error) bool {
	t, ok := target.(ErrorType)
	return ok && e.Type.Is(t)
}

// Retryable reports whether a retry may succeed although nothing has been changed. Delivered says
// whether a retry may publish the message twice.
func (e *Error) Retryable() bool { return e.Type.Retryable() }

// Reason returns the return code of the CONNACK or SUBACK by which the Server refused, or 0 if
// there is none.
func (e *Error) Reason() byte { return classify.Reason(e.Err) }

// Extended returns a copy whose Code is the type and whose JSON has all fields. Messages carry it
// if Extension.ErrorFormat is "extended".
func (e *Error) Extended() *Error {
	x := *e
	x.Description = strings.TrimPrefix(x.Description, bracketed(e.Type))
	x.Code, x.extended = string(e.Type), true
	return &x
}

// Explain returns, in English or Chinese if lang is "en" or "zh", what type of error it is, what it
// means for the message, and what to try. It does not repeat the Description.
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

// MarshalJSON returns the platform's format, or all fields if the error is Extended.
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

// AsError returns err as an *Error, or nil if err is nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return NewError(ErrorType(classify.Type(err)), err)
}

// NewError returns err as an *Error of type t.
func NewError(t ErrorType, err error) *Error {
	text := strings.TrimPrefix(err.Error(), "connector: ")
	if t != TypeRuntime {
		text = bracketed(t) + text
	}
	return &Error{Code: CodeRuntime, Description: text, Type: t, Err: err}
}

func bracketed(t ErrorType) string { return "[" + string(t) + "] " }
