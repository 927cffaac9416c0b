package connector

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
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
	TypeRetryExhausted      ErrorType = "CORE:RETRY_EXHAUSTED"
	TypeRedeliveryExhausted ErrorType = "CORE:REDELIVERY_EXHAUSTED"
	TypeConnectivity        ErrorType = "MQTT:CONNECTIVITY"
	TypeTLS                 ErrorType = "MQTT:TLS"
	TypeWebSocket           ErrorType = "MQTT:WEBSOCKET"
	TypeConnectTimeout      ErrorType = "MQTT:CONNECT_TIMEOUT"
	TypePingTimeout         ErrorType = "MQTT:PING_TIMEOUT"
	TypeConnectionLost      ErrorType = "MQTT:CONNECTION_LOST"
	TypeNotConnected        ErrorType = "MQTT:NOT_CONNECTED"
	TypeRefused             ErrorType = "MQTT:REFUSED"
	TypeProtocolVersion     ErrorType = "MQTT:PROTOCOL_VERSION"
	TypeClientIDRejected    ErrorType = "MQTT:CLIENT_ID_REJECTED"
	TypeUnavailable         ErrorType = "MQTT:SERVER_UNAVAILABLE"
	TypeBadCredentials      ErrorType = "MQTT:BAD_CREDENTIALS"
	TypeNotAuthorized       ErrorType = "MQTT:NOT_AUTHORIZED"
	TypeProtocol            ErrorType = "MQTT:PROTOCOL"
	TypeSubscribe           ErrorType = "MQTT:SUBSCRIBE"
	TypeRejected            ErrorType = "MQTT:SUBSCRIPTION_REJECTED"
	TypePublish             ErrorType = "MQTT:PUBLISH"
	TypeInvalidTopic        ErrorType = "MQTT:INVALID_TOPIC"
	TypePublishTimeout      ErrorType = "MQTT:PUBLISH_TIMEOUT"
	TypeDeadLetter          ErrorType = "MQTT:DEAD_LETTER"
	TypeStore               ErrorType = "MQTT:STORE"
)

var parents = map[ErrorType]ErrorType{
	TypeRuntime: TypeAny, TypeConfig: TypeRuntime, TypeExpression: TypeRuntime, TypeTimeout: TypeRuntime,
	TypeCancelled: TypeRuntime, TypeRetryExhausted: TypeRuntime, TypeRedeliveryExhausted: TypeRuntime, TypeStore: TypeRuntime,
	TypeConnectivity: TypeRuntime, TypeTLS: TypeConnectivity, TypeWebSocket: TypeConnectivity,
	TypeConnectTimeout: TypeConnectivity, TypePingTimeout: TypeConnectivity, TypeConnectionLost: TypeConnectivity,
	TypeNotConnected: TypeConnectivity, TypeProtocol: TypeConnectivity,
	TypeRefused: TypeConnectivity, TypeProtocolVersion: TypeRefused, TypeClientIDRejected: TypeRefused,
	TypeUnavailable: TypeRefused, TypeBadCredentials: TypeRefused, TypeNotAuthorized: TypeRefused,
	TypeSubscribe: TypeRuntime, TypeRejected: TypeSubscribe,
	TypePublish: TypeRuntime, TypeInvalidTopic: TypePublish, TypePublishTimeout: TypePublish,
	TypeDeadLetter: TypeRuntime,
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
	TypeRuntime: true, TypeConfig: false, TypeExpression: false, TypeCancelled: false, TypeRetryExhausted: false, TypeRedeliveryExhausted: false,
	TypeTLS: false, TypeProtocolVersion: false, TypeClientIDRejected: false, TypeBadCredentials: false, TypeNotAuthorized: false,
	TypeRejected: false, TypeInvalidTopic: false,
}

// Delivered says whether a message that could not be published may have arrived.
type Delivered string

// The answers.
const (
	DeliveredNo      Delivered = "no"
	DeliveredUnknown Delivered = "unknown"
)

// An Error is what the error of a message holds. Its JSON is exactly the seed's
// {"Code", "Description"}.
type Error struct {
	Code        string // CodeRuntime, or what RaiseError says
	Description string
	Type        ErrorType
	Delivered   Delivered // of a Producer; otherwise empty
	Err         error     // the cause, or nil
}

func (e *Error) Error() string { return "connector: " + e.Description }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is tells whether target is the error's type or one above it.
func (e *Error) Is(target error) bool {
	t, ok := target.(ErrorType)
	return ok && e.Type.Is(t)
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
	case lang == "zh" && e.Delivered == DeliveredNo:
		return text.zh + "消息未送达，可以重发。"
	case lang == "zh":
		return text.zh
	case e.Delivered == DeliveredUnknown:
		return text.en + " The message may have arrived: sending it again may do so twice."
	case e.Delivered == DeliveredNo:
		return text.en + " The message did not arrive: it may be sent again."
	}
	return text.en
}

// MarshalJSON returns the seed's form.
func (e *Error) MarshalJSON() ([]byte, error) {
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
		text = "[" + string(t) + "] " + text
	}
	return &Error{Code: CodeRuntime, Description: text, Type: t, Err: err}
}

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
		refused *client.RefusedError
		filter  *client.FilterError
		encode  *packets.EncodeError
		format  *packets.FormatError
		dial    *transport.DialError
	)
	switch {
	case errors.Is(err, client.ErrStoreFailed), errors.Is(err, client.ErrStoreFull):
		return TypeStore
	case errors.As(err, &refused):
		if t, ok := refusals[refused.Code]; ok {
			return t
		}
		return TypeRefused
	case errors.As(err, &filter):
		return TypeRejected
	case errors.As(err, &encode):
		return TypeInvalidTopic
	case errors.As(err, &dial):
		return dialType(dial)
	case errors.As(err, &format):
		return TypeProtocol
	case errors.Is(err, client.ErrConnectTimeout):
		return TypeConnectTimeout
	case errors.Is(err, client.ErrPingTimeout):
		return TypePingTimeout
	case errors.Is(err, client.ErrNotConnected):
		return TypeNotConnected
	case errors.Is(err, client.ErrConnectionLost):
		return TypeConnectionLost
	case errors.Is(err, client.ErrClosed):
		return TypeNotConnected
	case errors.Is(err, context.DeadlineExceeded):
		return TypeTimeout
	case errors.Is(err, context.Canceled):
		return TypeCancelled
	}
	return TypeRuntime
}

func dialType(err *transport.DialError) ErrorType {
	switch err.Step {
	case transport.StepTLS:
		return TypeTLS
	case transport.StepWebSocket:
		return TypeWebSocket
	}
	return TypeConnectivity
}
