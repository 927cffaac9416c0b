package ws

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// checkHeader refuses headers that would break the handshake or allow request smuggling. Errors
// contain names of headers, but never their values.
func checkHeader(header http.Header) error {
	for name, values := range header {
		if !isToken(name) {
			return errors.New("a header has a name that is not a token of HTTP")
		}
		switch canonical := http.CanonicalHeaderKey(name); canonical {
		case "Upgrade", "Connection", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol",
			"Content-Length", "Transfer-Encoding":
			return fmt.Errorf("the header %s belongs to the handshake: leave it out", canonical)
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("the value of the header %s holds a line end or another control character", name)
			}
		}
	}
	return nil
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && !('0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
