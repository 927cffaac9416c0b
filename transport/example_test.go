package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mqtt311/mqtt311/transport"
)

// The dialer is used in the client's configuration. A wrong URL is detected here, before anything
// is dialled.
func ExampleDialer() {
	_, err := transport.Dialer("mqtt:broker.example.com", nil)
	fmt.Println(err)

	dial, err := transport.Dialer("mqtts://broker.example.com", &transport.Options{
		Timeout: 10 * time.Second,
		TLS: &transport.TLSOptions{
			ClientCert: "/etc/device/client.crt",
			ClientKey:  "/etc/device/client.key",
			ServerCert: "/etc/device/ca.crt",
		},
	})
	fmt.Println(dial != nil, err)
	// Output:
	// transport: parse: the URL lacks // after its scheme
	// true <nil>
}

// A DialError says at which step dialling failed, and what to do about it.
func ExampleDialError() {
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	ln.Close() // nobody listens here any more

	_, err := transport.Dial(context.Background(), "mqtt://"+ln.Addr().String(), nil)
	var failed *transport.DialError
	if errors.As(err, &failed) {
		fmt.Println(failed.Step)
		fmt.Println(failed.Hint())
		fmt.Println(failed.HintZH())
	}
	// Output:
	// tcp
	// Nothing listens on this port; check host and port, and that the server runs.
	// 该端口没有服务在监听；请检查主机和端口，并确认服务端已启动。
}
