// Package address parses the URLs of the transport packages. Its errors never quote a part of a URL
// that may be secret.
package address

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Schemes maps the schemes that a package knows to their ports, "" for none.
type Schemes map[string]string

// Parse parses rawURL and returns it with its scheme in lower case, and the host:port to dial, with
// the default port of the scheme if the URL has none. example is a correct URL for use in errors.
func Parse(rawURL string, schemes Schemes, example string) (u *url.URL, hostPort string, err error) {
	scheme, rest, ok := strings.Cut(rawURL, ":")
	if !ok || !isScheme(scheme) || strings.Trim(rest, "0123456789") == "" {
		return nil, "", errors.New("the URL has no scheme: write it like " + example)
	}
	scheme = strings.ToLower(scheme)
	port, ok := schemes[scheme]
	if !ok {
		return nil, "", unknownScheme(scheme, rest, example)
	}
	u, err = url.Parse(rawURL)
	if err != nil {
		return nil, "", WithoutContent(err)
	}
	if u.User != nil {
		return nil, "", errors.New("the URL holds a user name or a password: keep them out of it, since URLs end in logs; those of MQTT belong in the CONNECT packet")
	}
	if u.Fragment != "" || strings.HasSuffix(rawURL, "#") {
		return nil, "", errors.New("the URL has a fragment: percent-encode # as %23")
	}
	if port == "" {
		return u, "", nil
	}
	hostPort, err = HostPort(u, port)
	return u, hostPort, err
}

// HostPort returns the host:port of a parsed URL, with the given port if it
// has none.
func HostPort(u *url.URL, port string) (string, error) {
	if u.Opaque != "" {
		return "", errors.New("the URL lacks // after its scheme")
	}
	host := u.Hostname()
	if host == "" {
		return "", errors.New("the URL has no host")
	}
	if err := checkHost(host); err != nil {
		return "", err
	}
	if p := u.Port(); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || !isPort(n) {
			return "", errPort
		}
		port = strconv.Itoa(n)
	} else if strings.HasSuffix(u.Host, ":") {
		return "", errors.New("the port after the colon is missing")
	}
	return net.JoinHostPort(host, port), nil
}

// Join returns the host:port for a host and a port that do not come from a URL.
func Join(host string, port int) (string, error) {
	if host == "" {
		return "", errors.New("there is no host")
	}
	if err := checkHost(host); err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, "/\\?#@[]<>\"%:") {
		return "", errors.New("the host holds a character that no host name has")
	}
	if !isPort(port) {
		return "", errPort
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func checkHost(host string) error {
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return errors.New("the host holds a space or a control character")
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r > 0x7f }) {
		return errors.New("the host holds a character outside ASCII: write its name in Punycode, xn--")
	}
	return nil
}

var errPort = errors.New("the port is not between 1 and 65535")

func isPort(n int) bool { return 1 <= n && n <= 65535 }

// isScheme reports whether s is a scheme by RFC 3986, section 3.1.
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// unknownScheme quotes a scheme only if // follows: otherwise it may be a user name or a password.
func unknownScheme(scheme, rest, example string) error {
	if !strings.HasPrefix(rest, "//") || len(scheme) > 16 {
		return errors.New("the URL has no scheme that is known: write it like " + example)
	}
	return errors.New("the scheme " + strconv.Quote(scheme) + " is not known: write the URL like " + example)
}

// WithoutContent returns what url.Parse found wrong, without quoting the URL as its errors do.
func WithoutContent(err error) error {
	var escape url.EscapeError
	var host url.InvalidHostError
	switch {
	case errors.As(err, &escape):
		return errors.New("the URL has a % that two hexadecimal digits do not follow: write % itself as %25")
	case errors.As(err, &host):
		return errors.New("the host of the URL holds a character that no host name has")
	case strings.Contains(err.Error(), "invalid port"):
		return errors.New("the port is not a number; if the URL holds a special character such as # or / in a password, take the password out of it")
	case strings.Contains(err.Error(), "control character"):
		return errors.New("the URL holds a control character, perhaps a line end")
	case strings.Contains(err.Error(), "userinfo"):
		return errors.New("the URL holds a user name or a password with a character that must be percent-encoded")
	}
	return errors.New("the URL is malformed")
}
