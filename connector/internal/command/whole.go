package command

import (
	"io"
	"os"
)

// wholeWriter keeps the texts that are written to w whole. What of a text was written before a
// failure, as on a full disk, is taken back from a file; elsewhere the next text begins a new line
// behind it.
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

// takeBack reports whether the last n bytes are gone again.
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
