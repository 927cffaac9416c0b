package explain

import (
	"bytes"
	"strings"
)

// A looks says what the first bytes of a connection may be.
type looks int

const (
	no looks = iota
	perhaps
	yes
)

// looksConnect reports whether a connection begins with CONNECT, of any version.
func looksConnect(b []byte) looks {
	if b[0] != 0x10 {
		return no
	}
	h := parseHeader(b)
	if !h.readable {
		if hopeless(b) {
			return no
		}
		return perhaps
	}
	name := b[h.length:]
	for _, known := range []string{"\x00\x04MQTT", "\x00\x06MQIsdp"} {
		switch {
		case bytes.HasPrefix(name, []byte(known)):
			return yes
		case strings.HasPrefix(known, string(name)):
			return perhaps
		}
	}
	return no
}

// looksTLS reports whether b begins with a TLS record: of a handshake, or of data after one.
func looksTLS(b []byte) bool {
	return len(b) >= 3 && (b[0] == 0x16 || b[0] == 0x17) && b[1] == 3 && b[2] <= 4
}

// looksHTTP reports whether b is, or may become, an HTTP request for a WebSocket.
func looksHTTP(b []byte) bool {
	return bytes.HasPrefix([]byte("GET "), b) || bytes.HasPrefix(b, []byte("GET "))
}

// httpHeader parses the header lines, with names in lower case.
func httpHeader(head []byte) map[string]string {
	h := make(map[string]string)
	for line := range strings.Lines(string(head)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
	}
	return h
}
