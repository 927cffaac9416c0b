package ws_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/mqtt311/mqtt311/transport/ws"
)

// The headers are requested for each connection, so that the token is fresh.
func ExampleDialer() {
	token := func(context.Context) (string, error) { return "fresh", nil }

	dial, err := ws.Dialer("wss://broker.example.com/mqtt", &ws.Options{
		Header: func(ctx context.Context) (http.Header, error) {
			t, err := token(ctx)
			return http.Header{"Authorization": {"Bearer " + t}}, err
		},
	})
	fmt.Println(dial != nil, err)
	// Output: true <nil>
}
