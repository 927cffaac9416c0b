package command

import (
	"io"
	"os"
)

// A wholeWriter keeps each text written to w whole. If a write fails, as on a full disk, it removes
// the part that was written to a file; for other outputs, the next text begins on a new line.
type wholeWriter struct {
	w    io.Writer
	torn bool
}

func (w *wholeWriter) Write(b []byte) (int, error) {
	text := b
	if w.torn {
		text = append([]byte{'\n'}, b...)
	}
	n, err := w.w.Write(text)
	if err == nil {
		w.torn = false
		return len(b), nil
	}
	if n > 0 {
		w.torn = !w.takeBack(n)
	}
	return 0, err
}

// takeBack removes the last n bytes, and reports whether it could.
func (w *wholeWriter) takeBack(n int) bool {
	out := w.w
	if o, ok := out.(*outputWriter); ok {
		out = o.w
	}
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	return takeBack(f, n)
}
