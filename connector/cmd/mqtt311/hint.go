package main

import "errors"

// hint says what to try, in the user's language; nothing if there is nothing to say.
// Errors of package transport and of the client's handshake know.
func (p *program) hint(err error) string {
	var h interface {
		Hint() string
		HintZH() string
	}
	switch {
	case !errors.As(err, &h):
		return ""
	case p.lang == "zh":
		return h.HintZH()
	}
	return h.Hint()
}
