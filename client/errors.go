package client

import (
	"errors"
	"strings"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// The errors of package session with which a request can fail. Those after which it is certain that
// nothing was sent wrap ErrNotSent; those after which it is not certain wrap ErrUnknown.
var (
	ErrNotSent      = session.ErrNotSent
	ErrUnknown      = session.ErrUnknown
	ErrNotConnected = session.ErrNotConnected
	ErrQueueFull    = session.ErrQueueFull
	ErrDowngraded   = session.ErrDowngraded
	ErrPoison       = session.ErrPoison
	ErrStale        = session.ErrStale
	ErrSuperseded   = session.ErrSuperseded
	ErrPingTimeout  = session.ErrPingTimeout
)

var (
	// ErrClosed: the client was closed or has failed permanently. The error of a request that ends
	// for this reason wraps ErrNotSent or ErrUnknown as well.
	ErrClosed = errors.New("client: closed")

	// ErrStored: the client was closed or has failed, but the message is in its Store and will be
	// sent when a client with that Store connects. Publishing it again would send it twice.
	ErrStored = errors.New("client: stored, not finished")

	// ErrConnectTimeout: an attempt to connect took longer than Config.ConnectTimeout.
	ErrConnectTimeout = errors.New("client: no CONNACK within the connect timeout")

	// ErrNotStarted: a call that needs the Server waited for Config.ConnectTimeout (30 seconds if
	// that is negative) and Connect was not called.
	ErrNotStarted = errors.New("client: Connect was not called")

	// ErrStarted: Connect was called more than once.
	ErrStarted = errors.New("client: Connect was called before")

	// ErrConnectionLost: the Network Connection ended, and Config.NoReconnect is set or the
	// operation was not to be repeated on another connection.
	ErrConnectionLost = errors.New("client: connection lost")

	// ErrLooping: a handler cannot be registered while a loop over Messages runs and takes all
	// messages.
	ErrLooping = errors.New("client: a loop over Messages runs")

	// ErrHandling: Messages cannot be used while handlers are registered and take all messages.
	ErrHandling = errors.New("client: handlers are registered")
)

// A RefusedError is a CONNACK with a return code other than zero (section 3.2.2.3).
type RefusedError = session.RefusedError

// A FilterError is a Topic Filter that the Server did not grant.
type FilterError = session.FilterError

// SafeToRetry reports whether err means that nothing of the request was sent, so that it can be
// repeated without being done twice.
func SafeToRetry(err error) bool { return errors.Is(err, ErrNotSent) }

// A SubscribeError is returned by Subscribe if the Server did not grant every filter.
type SubscribeError struct {
	Results []session.FilterResult // one per requested filter, in the order of the call
}

func (e *SubscribeError) Error() string {
	var refused []string
	for _, r := range e.Results {
		if r.Err != nil {
			refused = append(refused, bare(r.Err))
		}
	}
	return "client: subscribe: " + strings.Join(refused, "; ")
}

// Unwrap returns the errors of the filters that were not granted.
func (e *SubscribeError) Unwrap() []error {
	var errs []error
	for _, r := range e.Results {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return errs
}

// A callError is the error of a call: its name, topic or filter, whether it was done, and the
// cause.
type callError struct {
	call  string // "publish"; "": the caller of the function that made it adds it
	about string // the topic or filter, quoted; "": nothing
	kind  error  // such as ErrNotSent or ErrUnknown; nil: the call sends nothing
	cause error  // nil: the kind says all
}

func (e *callError) Error() string {
	s := "client: " + e.call
	if e.about != "" {
		s += " " + e.about
	}
	switch {
	case e.kind == nil:
	case e.kind != ErrNotSent && errors.Is(e.kind, ErrNotSent):
		s += ": not sent: " + bare(e.kind)
	default:
		s += ": " + bare(e.kind)
	}
	if e.cause != nil {
		s += ": " + bare(e.cause)
	}
	return s
}

// bare returns the text of an error without the prefix of one of our packages.
func bare(err error) string {
	s := err.Error()
	for _, name := range []string{"client: ", "session: ", "packets: "} {
		s = strings.TrimPrefix(s, name)
	}
	return strings.TrimPrefix(s, "not sent: ")
}

func (e *callError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.kind, e.cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// A reasonError is one of our errors together with its cause.
type reasonError struct{ what, why error }

func because(what, why error) error { return &reasonError{what, why} }

func (e *reasonError) Error() string { return e.what.Error() + ": " + bare(e.why) }

func (e *reasonError) Unwrap() []error { return []error{e.what, e.why} }

// A connectError ends a client whose first connection failed. It wraps ErrClosed, but its text does
// not say that the client is closed, since it was never open.
type connectError struct{ cause error }

func (e *connectError) Error() string {
	return "client: connect: " + bare(e.cause)
}

func (e *connectError) Unwrap() []error { return []error{ErrClosed, e.cause} }

// A HandshakeError says that the connection was opened but CONNECT was not accepted. It wraps the
// cause, such as a [*RefusedError].
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string {
	switch e.cause() {
	case refusal, silence:
		return e.Err.Error()
	case closed:
		return "client: the server closed the connection before CONNACK: " + e.Err.Error()
	case noise:
		return "client: the server's answer is not MQTT 3.1.1: " + e.Err.Error()
	}
	return "client: no CONNACK: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Hint returns advice for the user in English, or "" if there is none. If the cause has a Hint
// method, as transport.DialError has, its advice is returned.
func (e *HandshakeError) Hint() string {
	var cause interface{ Hint() string }
	if errors.As(e.Err, &cause) && cause.Hint() != "" {
		return cause.Hint()
	}
	return handshakeHints[e.hint()].en
}

// HintZH is Hint in Chinese.
func (e *HandshakeError) HintZH() string {
	var cause interface{ HintZH() string }
	if errors.As(e.Err, &cause) && cause.HintZH() != "" {
		return cause.HintZH()
	}
	return handshakeHints[e.hint()].zh
}

// Causes of a handshake that failed, and reasons of refusals.
const (
	refusal     = "refusal"
	silence     = "silence"
	closed      = "closed"
	noise       = "noise"
	credentials = "credentials"
	identifier  = "identifier"
	version     = "version"
	unavailable = "unavailable"
)

var handshakeHints = map[string]struct{ en, zh string }{
	silence:     {"The port is open but nobody answers: is it a TLS port, another protocol, or a server under load?", "端口已打开但没有应答：是否为 TLS 端口、其他协议，或服务端负载过高？"},
	closed:      {"Some servers refuse that way. Is this a TLS port? Does the server want a client certificate, a user name, or another client id?", "部分服务端以此方式拒绝。是否为 TLS 端口？是否需要客户端证书、用户名，或更换客户端 ID？"},
	noise:       {"Another protocol answers on this port. Check host, port and protocol (TCP, TLS, WebSocket).", "该端口应答的不是 MQTT。请检查地址、端口与连接协议（TCP、TLS、WebSocket）。"},
	credentials: {"Check user name, password, and what the server allows this client to do.", "请检查用户名、密码以及服务端授予的权限。"},
	identifier:  {"The server does not accept this client id: try a shorter one of letters and digits.", "服务端不接受该客户端 ID：请尝试更短的、仅含字母和数字的 ID。"},
	version:     {"The server does not speak MQTT 3.1.1.", "服务端不支持 MQTT 3.1.1。"},
	unavailable: {"The server is there but not ready: try again later.", "服务端暂不可用：请稍后重试。"},
}

func (e *HandshakeError) cause() string {
	var refused *RefusedError
	var format *packets.FormatError
	var large *packets.TooLargeError
	var protocol *session.ProtocolError
	switch {
	case errors.As(e.Err, &refused):
		return refusal
	case errors.Is(e.Err, ErrConnectTimeout):
		return silence
	case errors.As(e.Err, &format), errors.As(e.Err, &large), errors.As(e.Err, &protocol):
		return noise
	case whoEnded(e.Err) == session.ByPeer:
		return closed
	}
	return ""
}

func (e *HandshakeError) hint() string {
	cause := e.cause()
	if cause != refusal {
		return cause
	}
	var refused *RefusedError
	errors.As(e.Err, &refused)
	switch refused.Code {
	case packets.UnacceptableProtocolVersion:
		return version
	case packets.IdentifierRejected:
		return identifier
	case packets.ServerUnavailable:
		return unavailable
	}
	return credentials
}
