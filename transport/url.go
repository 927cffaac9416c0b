package transport

import (
	"errors"

	"github.com/mqtt311/mqtt311/transport/internal/address"
)

// A target is a parsed URL.
type target struct {
	network string // tcp or unix
	addr    string // host:port, or the path of a socket
	secure  bool   // TLS
}

// The ports are those registered for mqtt and secure-mqtt (section 4.2).
var schemes = address.Schemes{
	"mqtt": "1883", "tcp": "1883",
	"mqtts": "8883", "tls": "8883", "ssl": "8883",
	"unix": "",
	"ws":   "80", "wss": "443", // for an error that names the right package
}

func parse(rawURL string) (target, error) {
	u, hostPort, err := address.Parse(rawURL, schemes, "mqtt://host:1883 or mqtts://host:8883")
	if err != nil {
		return target{}, err
	}
	switch u.Scheme {
	case "ws", "wss":
		return target{}, errors.New("package transport/ws dials ws and wss")
	case "unix":
		return parseUnix(u.Host, u.Opaque, u.Path)
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return target{}, errors.New("the URL has a path or a query, which only WebSocket has: ws or wss")
	}
	secure := u.Scheme == "mqtts" || u.Scheme == "tls" || u.Scheme == "ssl"
	return target{network: "tcp", addr: hostPort, secure: secure}, nil
}

// parseUnix reads unix:///path, unix:/path, unix:path and unix:@name, the last
// for Linux's abstract sockets.
func parseUnix(host, opaque, path string) (target, error) {
	if host != "" {
		return target{}, errors.New("the socket's path needs three slashes: unix:///path")
	}
	if opaque != "" {
		path = opaque
	}
	if path == "" {
		return target{}, errors.New("the URL has no path of a socket: write it like unix:///path")
	}
	return target{network: "unix", addr: path}, nil
}
