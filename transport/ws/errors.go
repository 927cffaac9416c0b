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

// A HandshakeError says how a server answered the WebSocket handshake, if not
// as it should. What the request held of headers and query is blackened, in
// case the server echoes it.
type HandshakeError struct {
	Status   int    // of HTTP; 0 if the answer is not HTTP
	Reason   string // what is wrong with the answer
	Location string // for a redirect, scheme and host of its target
	Body     string // how the body begins, up to 256 bytes
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

// HintCode names the failure for [transport.HintOf].
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

// refusal makes one error of what gorilla says about a failed handshake.
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

// A CloseError says that the server closed the WebSocket, or what was wrong
// with what it sent. With the codes of an ordinary end it is io.EOF to
// [errors.Is].
type CloseError struct {
	Code   int    // RFC 6455, section 7.4; 1005 for none, 1006 for no close frame
	Reason string // as the server gave it
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

// Is makes an ordinary end io.EOF: 1000, 1001, no code, no frame.
func (e *CloseError) Is(target error) bool {
	return target == io.EOF && (e.Code == 1000 || e.Code == 1001 || e.Code == 1005 || e.Code == 1006)
}

// ByPeer reports that the server ended the connection, for package client.
func (e *CloseError) ByPeer() bool { return true }

// HintCode names the failure for [transport.HintOf].
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

// A ProtocolError says how the server broke RFC 6455 or section 6 of MQTT. The
// connection is closed with the code that fits.
type ProtocolError struct {
	Code   int // sent to the server, RFC 6455, section 7.4
	Reason string
}

func (e *ProtocolError) Error() string { return "ws: " + e.Reason }

// ByPeer reports that this end ended the connection, for package client.
func (e *ProtocolError) ByPeer() bool { return false }

// HintCode names the failure for [transport.HintOf].
func (e *ProtocolError) HintCode() string { return "ws-protocol" }
