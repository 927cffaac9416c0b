package stepwise

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/require"
)

func TestSettled(t *testing.T) {
	alert := fmt.Errorf("before CONNACK: %w", &transport.DialError{Step: transport.StepTLS, Addr: "a", Err: errors.New("certificate required")})
	other := errors.New("other")
	step := func(name transport.Step, addr string, took time.Duration, err error) transport.StepTime {
		return transport.StepTime{Step: name, Addr: addr, Took: took, Err: err}
	}
	for name, c := range map[string]struct{ from, to []transport.StepTime }{
		"all well": {
			[]transport.StepTime{step("tcp", "a", 1, nil), step("tls", "a", 2, nil), step("connect", "", 3, nil)},
			[]transport.StepTime{step("tcp", "a", 1, nil), step("tls", "a", 2, nil), step("connect", "", 3, nil)},
		},
		"refused after the handshake": {
			[]transport.StepTime{step("tcp", "a", 1, nil), step("tls", "a", 2, nil), step("connect", "", 3, alert)},
			[]transport.StepTime{step("tcp", "a", 1, nil), step("tls", "a", 5, alert)},
		},
		"refused in place of WebSocket": {
			[]transport.StepTime{step("tls", "a", 2, nil), step("websocket", "a", 3, alert)},
			[]transport.StepTime{step("tls", "a", 5, alert)},
		},
		"refused in the handshake": {
			[]transport.StepTime{step("tls", "a", 2, alert)},
			[]transport.StepTime{step("tls", "a", 2, alert)},
		},
		"refused by CONNACK": {
			[]transport.StepTime{step("tls", "a", 2, nil), step("connect", "", 3, other)},
			[]transport.StepTime{step("tls", "a", 2, nil), step("connect", "", 3, other)},
		},
		"the second of two servers": {
			[]transport.StepTime{step("tls", "a", 2, nil), step("websocket", "a", 3, other), step("tls", "b", 2, nil), step("connect", "", 3, alert)},
			[]transport.StepTime{step("tls", "a", 2, nil), step("websocket", "a", 3, other), step("tls", "b", 5, alert)},
		},
	} {
		var told []transport.StepTime
		tell := Settled(func(s transport.StepTime) { told = append(told, s) })
		for _, s := range c.from {
			tell(s)
		}
		require.Equal(t, c.to, told, name)
	}
}
