package ws

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// subprotocol is the only one offered, and must be accepted [MQTT-6.0.0-3] [MQTT-6.0.0-4].
	subprotocol = "mqtt"

	// maxFrame is the maximum payload of a frame to the server. A longer Write is split: frame
	// boundaries have no meaning for MQTT [MQTT-6.0.0-2].
	maxFrame = 64 << 10
)

// buffers are the write buffers of all connections, so that an idle connection needs none.
var buffers sync.Pool

// upgrade performs the WebSocket handshake on raw. On failure the caller must close raw.
func (o *Options) upgrade(ctx context.Context, raw net.Conn, t target, header http.Header) (net.Conn, error) {
	w := &wire{Conn: raw, handshake: true}
	dialer := websocket.Dialer{
		NetDialContext:    func(context.Context, string, string) (net.Conn, error) { return w, nil },
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return w, nil },
		Subprotocols:      []string{subprotocol},
		WriteBufferSize:   maxFrame,
		WriteBufferPool:   &buffers,
	}
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	conn, answer, err := dialer.DialContext(context.WithoutCancel(ctx), withoutPort(t.url).String(), canonical(header))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = agreed(answer)
	}
	if err != nil {
		if w.readErr != nil && !errors.Is(w.readErr, io.EOF) {
			err = w.readErr // gorilla's error would hide the cause
		}
		return nil, refusal(answer, err, secrets(t.url, header))
	}
	w.handshake = false
	raw.SetDeadline(time.Time{}) // fails if the server has closed already, which the reader will see
	return newConn(conn, w, o.MaxMessage), nil
}

// withoutPort removes the default port of the scheme from u: it must not be in the Host header (RFC
// 6455, section 4.1), which a signature may cover.
func withoutPort(u *url.URL) *url.URL {
	n, err := strconv.Atoi(u.Port())
	if err != nil || strconv.Itoa(n) != schemes[u.Scheme] {
		return u
	}
	c := *u
	c.Host = strings.TrimSuffix(c.Host, ":"+u.Port())
	return &c
}

// agreed returns an error unless the server accepted exactly what was offered.
func agreed(answer *http.Response) error {
	if answer.Header.Get("Sec-WebSocket-Protocol") != subprotocol {
		return errSubprotocol // [MQTT-6.0.0-4]
	}
	if len(answer.Header.Values("Sec-WebSocket-Extensions")) > 0 {
		return errExtension // compression was not offered
	}
	return nil
}

// canonical returns header with canonical names, as gorilla's checks require.
func canonical(header http.Header) http.Header {
	c := make(http.Header, len(header))
	for name, values := range header {
		for _, value := range values {
			c.Add(name, value)
		}
	}
	return c
}

// secrets returns the secrets in a request, which a server may echo: the values of headers and of
// the query, and the query itself.
func secrets(u *url.URL, header http.Header) []string {
	s := []string{u.RawQuery}
	for _, values := range u.Query() {
		s = append(s, values...)
		for _, v := range values {
			s = append(s, url.QueryEscape(v), url.PathEscape(v))
		}
	}
	for name, values := range header {
		if http.CanonicalHeaderKey(name) != "Host" {
			s = append(s, values...)
			s = append(s, parts(values)...)
		}
	}
	return s
}
