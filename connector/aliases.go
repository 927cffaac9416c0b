package connector

import (
	"context"
	"log/slog"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// What flows are made of is in package connector/flow. These are its names for programs that import
// package connector alone; they mean the same.
type (
	Message    = flow.Message
	Entity     = flow.Entity
	Error      = flow.Error
	ErrorType  = flow.ErrorType
	Delivered  = flow.Delivered
	PanicError = flow.PanicError
	Flow       = flow.Flow
	FlowFunc   = flow.Func
	Middleware = flow.Middleware
	Catch      = flow.Catch
	Case       = flow.Case
)

// See package flow.
const (
	CodeRuntime = flow.CodeRuntime

	DeliveredYes     = flow.DeliveredYes
	DeliveredNo      = flow.DeliveredNo
	DeliveredUnknown = flow.DeliveredUnknown
	DeliveredLater   = flow.DeliveredLater

	AttributeQoS            = flow.AttributeQoS
	AttributeTopic          = flow.AttributeTopic
	AttributeMessageID      = flow.AttributeMessageID
	AttributeRetained       = flow.AttributeRetained
	AttributeDuplicate      = flow.AttributeDuplicate
	AttributeAttempt        = flow.AttributeAttempt
	AttributeFilter         = flow.AttributeFilter
	AttributeTopicLevels    = flow.AttributeTopicLevels
	AttributeReceivedAt     = flow.AttributeReceivedAt
	AttributeClientID       = flow.AttributeClientID
	AttributeBroker         = flow.AttributeBroker
	AttributeIdempotencyKey = flow.AttributeIdempotencyKey

	TypeAny                 = flow.TypeAny
	TypeRuntime             = flow.TypeRuntime
	TypeConfig              = flow.TypeConfig
	TypeExpression          = flow.TypeExpression
	TypeTimeout             = flow.TypeTimeout
	TypeCancelled           = flow.TypeCancelled
	TypeOverload            = flow.TypeOverload
	TypeStalled             = flow.TypeStalled
	TypeRetryExhausted      = flow.TypeRetryExhausted
	TypeRedeliveryExhausted = flow.TypeRedeliveryExhausted
	TypeConnectivity        = flow.TypeConnectivity
	TypeDNS                 = flow.TypeDNS
	TypeTCP                 = flow.TypeTCP
	TypeProxy               = flow.TypeProxy
	TypeTLS                 = flow.TypeTLS
	TypeTLSUntrusted        = flow.TypeTLSUntrusted
	TypeTLSExpired          = flow.TypeTLSExpired
	TypeTLSHostname         = flow.TypeTLSHostname
	TypeTLSClientCert       = flow.TypeTLSClientCert
	TypeWebSocket           = flow.TypeWebSocket
	TypeConnectTimeout      = flow.TypeConnectTimeout
	TypePingTimeout         = flow.TypePingTimeout
	TypeWriteTimeout        = flow.TypeWriteTimeout
	TypeConnectionLost      = flow.TypeConnectionLost
	TypeNotConnected        = flow.TypeNotConnected
	TypeClientIDInUse       = flow.TypeClientIDInUse
	TypeSecret              = flow.TypeSecret
	TypeRefused             = flow.TypeRefused
	TypeProtocolVersion     = flow.TypeProtocolVersion
	TypeClientIDRejected    = flow.TypeClientIDRejected
	TypeUnavailable         = flow.TypeUnavailable
	TypeBadCredentials      = flow.TypeBadCredentials
	TypeNotAuthorized       = flow.TypeNotAuthorized
	TypeProtocol            = flow.TypeProtocol
	TypeSubscribe           = flow.TypeSubscribe
	TypeRejected            = flow.TypeRejected
	TypeDowngraded          = flow.TypeDowngraded
	TypeInvalidFilter       = flow.TypeInvalidFilter
	TypeSubscribeTimeout    = flow.TypeSubscribeTimeout
	TypePublish             = flow.TypePublish
	TypeInvalidTopic        = flow.TypeInvalidTopic
	TypePayloadTooLarge     = flow.TypePayloadTooLarge
	TypePublishTimeout      = flow.TypePublishTimeout
	TypePublishRefused      = flow.TypePublishRefused
	TypeStore               = flow.TypeStore
	TypeDeadLetter          = flow.TypeDeadLetter
)

// NewMessage is flow.NewMessage.
func NewMessage(topic string, payload []byte, qos packets.QoS, id uint16) *Message {
	return flow.NewMessage(topic, payload, qos, id)
}

// AsError is flow.AsError.
func AsError(err error) *Error { return flow.AsError(err) }

// Permanent is flow.Permanent.
func Permanent(err error) error { return flow.Permanent(err) }

// Chain is flow.Chain.
func Chain(flows ...Flow) Flow { return flow.Chain(flows...) }

// Try is flow.Try.
func Try(body Flow, catches ...Catch) Flow { return flow.Try(body, catches...) }

// UntilSuccessful is flow.UntilSuccessful.
func UntilSuccessful(f Flow, retries int, every time.Duration) Flow {
	return flow.UntilSuccessful(f, retries, every)
}

// RaiseError is flow.RaiseError.
func RaiseError(code, description string) Flow { return flow.RaiseError(code, description) }

// Choice is flow.Choice.
func Choice(cases []Case, otherwise Flow) Flow { return flow.Choice(cases, otherwise) }

// Parallel is flow.Parallel.
func Parallel(flows ...Flow) Flow { return flow.Parallel(flows...) }

// SetPayload is flow.SetPayload.
func SetPayload(text string) Flow { return flow.SetPayload(text) }

// SetVariable is flow.SetVariable.
func SetVariable(name, text string) Flow { return flow.SetVariable(name, text) }

// SetAttribute is flow.SetAttribute.
func SetAttribute(name, text string) Flow { return flow.SetAttribute(name, text) }

// Log is flow.Log.
func Log(log *slog.Logger, text string) Flow { return flow.Log(log, text) }

// IdempotencyKey is flow.IdempotencyKey.
func IdempotencyKey(ctx context.Context) string { return flow.IdempotencyKey(ctx) }

// Attempt is flow.Attempt.
func Attempt(ctx context.Context) int { return flow.Attempt(ctx) }

// Defer is flow.Defer.
func Defer(ctx context.Context) (settle func(error)) { return flow.Defer(ctx) }
