package proxy_test

import (
	"fmt"

	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/proxy"
)

// A proxy works with all schemes, since it is below TLS and WebSocket.
func ExampleDialer() {
	viaProxy, err := proxy.Dialer("socks5://user:p%40ss@proxy.example.com", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	dial, err := transport.Dialer("mqtts://broker.example.com", &transport.Options{NetDial: viaProxy})
	fmt.Println(dial != nil, err)

	_, err = proxy.Dialer("proxy.example.com:3128", nil)
	fmt.Println(err)
	// Output:
	// true <nil>
	// proxy: the URL is not like http://host:port, https://host:port or socks5://host:port
}
