package proxy

import (
	"net"
	"net/netip"
	"os"
	"strings"
)

// loopback lists the hosts that are never dialed through a proxy from the environment.
const loopback = "localhost,127.0.0.0/8,::1"

func getenv(name string) string { return strings.TrimSpace(os.Getenv(name)) }

// matches reports whether addr, a host:port, is in a list in the format of NO_PROXY.
func matches(list, addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.ToLower(strings.TrimSpace(entry)); entry != "" && matchesOne(entry, host, port) {
			return true
		}
	}
	return false
}

func matchesOne(entry, host, port string) bool {
	if entry == "*" {
		return true
	}
	ip, _ := netip.ParseAddr(host)
	if network, err := netip.ParsePrefix(entry); err == nil {
		return network.Contains(ip.Unmap().WithZone(""))
	}
	if name, only, err := net.SplitHostPort(entry); err == nil {
		if only != port {
			return false
		}
		entry = name
	}
	if want, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
		return want.Unmap() == ip.Unmap()
	}
	below := strings.TrimPrefix(entry, "*")
	if !strings.HasPrefix(below, ".") {
		if host == entry {
			return true
		}
		below = "." + below
	}
	return strings.HasSuffix(host, below)
}
