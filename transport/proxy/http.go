package proxy

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
)

// maxAnswer limits the answer of a proxy.
const maxAnswer = 16 << 10

// connectHTTP requests a tunnel (RFC 9110, section 9.3.6).
func (s *server) connectHTTP(_ context.Context, conn net.Conn, addr string) error {
	request := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	if s.login {
		login := base64.StdEncoding.EncodeToString([]byte(s.userName + ":" + s.password))
		request += "Proxy-Authorization: Basic " + login + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return err
	}
	for left := maxAnswer; ; {
		header, err := readHeader(conn, left)
		if err != nil {
			return err
		}
		left -= len(header)
		status, text, err := readStatus(header)
		switch {
		case err != nil:
			return err
		case status/100 == 1: // an interim answer
			continue
		case status/100 == 2:
			return nil
		case status == 407:
			return &Error{Err: errors.New("the proxy answered " + s.quote(text)), code: "proxy-login"}
		}
		return &Error{Err: errors.New("the proxy answered " + s.quote(text)), code: "proxy-refused"}
	}
}

var errAnswer = errors.New("the answer is not that of an HTTP proxy")

// readHeader reads up to the empty line, byte by byte: what follows belongs to
// the tunnel.
func readHeader(conn io.Reader, limit int) ([]byte, error) {
	var header []byte
	var b [1]byte
	for !bytes.HasSuffix(header, []byte("\r\n\r\n")) && !bytes.HasSuffix(header, []byte("\n\n")) {
		if len(header) == limit {
			return nil, &Error{Err: errors.New("the answer of the proxy is too long"), code: "proxy-answer"}
		}
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return nil, err
		}
		header = append(header, b[0])
		if n := min(len(header), 5); string(header[:n]) != "HTTP/"[:n] {
			return nil, &Error{Err: errAnswer, code: "proxy-answer"}
		}
	}
	return header, nil
}

// readStatus returns the status of a header and its text.
func readStatus(header []byte) (int, string, error) {
	line, _, _ := strings.Cut(string(header), "\n")
	_, text, _ := strings.Cut(textproto.TrimString(line), " ")
	code, _, _ := strings.Cut(text, " ")
	status, err := strconv.Atoi(code)
	if err != nil || status < 100 || status > 599 {
		return 0, "", &Error{Err: errAnswer, code: "proxy-answer"}
	}
	return status, text, nil
}

// quote returns text of the proxy for an error, without secrets that the proxy may echo.
func (s *server) quote(text string) string {
	for _, secret := range []string{base64.StdEncoding.EncodeToString([]byte(s.userName + ":" + s.password)), s.password, s.userName} {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return strconv.Quote(text[:min(len(text), 120)])
}
