// Package stepwise prepares the steps of opening a connection for display.
package stepwise

import (
	"errors"

	"github.com/mqtt311/mqtt311/transport"
)

// Settled returns a function that passes steps on to tell, but a successful TLS handshake only together with the
// next step. In TLS 1.3 the client finishes first, and a server that refuses its certificate says so in place of
// its next answer. The handshake has then failed, and tell is called once for it.
func Settled(tell func(transport.StepTime)) func(transport.StepTime) {
	var held *transport.StepTime
	return func(s transport.StepTime) {
		var dial *transport.DialError
		if errors.As(s.Err, &dial) && dial.Step == transport.StepTLS {
			s.Step = transport.StepTLS
		}
		switch last := held; {
		case last == nil:
		case s.Step == transport.StepTLS && s.Err != nil:
			s.Addr, s.Took = last.Addr, last.Took+s.Took
		default:
			tell(*last)
		}
		if held = nil; s.Step == transport.StepTLS && s.Err == nil {
			held = &s
			return
		}
		tell(s)
	}
}
