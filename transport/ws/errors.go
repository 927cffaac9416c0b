package ws

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mqtt311/mqtt311/transport"
)

// A HandshakeError describes an invalid answer to the WebSocket handshake. The headers and query of
// the request are redacted in it, in case the server echoes them.
type HandshakeError struct {
	Status   int    // the HTTP status; 0 if the answer is not HTTP
	Reason   string // what is wrong with the answer
	Location string // of a redirect: scheme and host of its target
	Body     string // the first 256 bytes of the body
}

func (e *HandshakeError) Error() string {
	s := e.Reason
	if e.Location != "" {
		s += " to " + e.Location
	}
	if e.Body != "" {
		s += ": " + strconv.Quote(e.Body)
	}
	return s
}

// HintCode returns the code of the [transport.Hint] for this error.
func (e *HandshakeError) HintCode() string {
	switch {
	case e.Reason == errSubprotocol.Error():
		return "ws-subprotocol"
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return "ws-login"
	case e.Status == http.StatusNotFound, e.Status == http.StatusMethodNotAllowed:
		return "ws-path"
	case e.Status/100 == 3:
		return "ws-redirect"
	case e.Status == 0, e.Status/100 == 1, e.Status/100 == 2:
		return "ws-answer"
	}
	return "ws-refused"
}

var (
	errSubprotocol = errors.New(`the answer does not choose the subprotocol "mqtt" [MQTT-6.0.0-4]`)
	errExtension   = errors.New("the answer chooses an extension that was not offered")
	errTooLong     = errors.New("the answer to the handshake is too long")
)

// maxBody is how much of the body of a failed handshake is shown.
const maxBody = 256

// refusal returns the error for a failed handshake.
func refusal(answer *http.Response, err error, secrets []string) error {
	var network interface{ Timeout() bool }
	switch {
	case answer == nil && errors.Is(err, errTooLong):
		return &HandshakeError{Reason: errTooLong.Error()}
	case answer == nil && (errors.As(err, &network) || errors.Is(err, transport.ErrSpeaksTLS) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return err
	case answer == nil:
		return &HandshakeError{Reason: clip(redact(err.Error(), secrets))}
	}
	e := &HandshakeError{Status: answer.StatusCode, Reason: err.Error()}
	switch {
	case answer.StatusCode != http.StatusSwitchingProtocols:
		e.Reason = "the server answered " + strconv.Quote(clip(redact(answer.Status, secrets)))
	case errors.Is(err, errSubprotocol), errors.Is(err, errExtension):
		return e
	default:
		e.Reason = "the server agreed with headers that do not answer the request"
	}
	if target, err := url.Parse(answer.Header.Get("Location")); err == nil && e.Status/100 == 3 && target.Host != "" {
		e.Location = clip(redact(target.Scheme+"://"+target.Host, secrets))
	}
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 4*maxBody))
	e.Body = clip(redact(strings.TrimSpace(string(body)), secrets))
	return e
}

func clip(s string) string {
	if len(s) > maxBody {
		return strings.ToValidUTF8(s[:maxBody], "") + "..."
	}
	return s
}

// A CloseError says that the server closed the WebSocket. If the code is that of a normal closure,
// errors.Is(err, io.EOF) is true.
type CloseError struct {
	Code   int    // RFC 6455, section 7.4; 1005 if the close frame had none, 1006 without a close frame
	Reason string // the reason in the close frame
}

func (e *CloseError) Error() string {
	switch {
	case e.Code == 1006:
		return "ws: the server ended the connection without a close frame"
	case e.Code == 1005:
		return "ws: the server closed the WebSocket"
	case e.Reason == "":
		return fmt.Sprintf("ws: the server closed the WebSocket with code %d (%s)", e.Code, codeName(e.Code))
	}
	return fmt.Sprintf("ws: the server closed the WebSocket with code %d (%s): %q", e.Code, codeName(e.Code), e.Reason)
}

// Is reports whether target is io.EOF and the closure was normal: code 1000 or 1001, no code, or no
// close frame.
func (e *CloseError) Is(target error) bool {
	return target == io.EOF && (e.Code == 1000 || e.Code == 1001 || e.Code == 1005 || e.Code == 1006)
}

// ByPeer returns true: the server ended the connection. Package client uses it.
func (e *CloseError) ByPeer() bool { return true }

// HintCode returns the code of the [transport.Hint] for this error.
func (e *CloseError) HintCode() string { return "ws-closed" }

var codeNames = map[int]string{
	1000: "normal", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", 1007: "invalid data",
	1008: "policy violation", 1009: "message too big", 1010: "extension missing", 1011: "internal error",
	1012: "service restart", 1013: "try again later", 1014: "bad gateway", 1015: "TLS failure",
}

func codeName(code int) string {
	if name, ok := codeNames[code]; ok {
		return name
	}
	return "private"
}

// A ProtocolError says how the server violated RFC 6455 or section 6 of MQTT. The connection is
// closed with Code.
type ProtocolError struct {
	Code   int // the code sent to the server (RFC 6455, section 7.4)
	Reason string
}

func (e *ProtocolError) Error() string { return "ws: " + e.Reason }

// ByPeer returns false: the client ended the connection. Package client uses it.
func (e *ProtocolError) ByPeer() bool { return false }

// HintCode returns the code of the [transport.Hint] for this error.
func (e *ProtocolError) HintCode() string { return "ws-protocol" }
