// Package terminal writes to people: with colours if the terminal has them, in lines that fit its
// width, and without control characters from outside.
package terminal

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Is reports whether f is a terminal.
func Is(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// A Screen is a terminal. Control characters written to it are escaped, except line ends and tabs. Like the file, it may
// be written by several goroutines.
type Screen struct {
	f      *os.File
	colour bool
}

// Open returns w as a Screen, or nil if w is not a terminal. It has colours unless the environment
// says otherwise: NO_COLOR with any value, or a TERM without colours.
func Open(w io.Writer, env func(string) string) *Screen {
	if !Is(w) {
		return nil
	}
	colour := env("NO_COLOR") == "" && env("TERM") != "" && env("TERM") != "dumb"
	return &Screen{f: w.(*os.File), colour: colour}
}

// Write escapes b and writes it.
func (s *Screen) Write(b []byte) (int, error) {
	if _, err := s.f.Write(EscapeText(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Raw returns the terminal itself, for unescaped output.
func (s *Screen) Raw() *os.File { return s.f }

// Width returns the current width of the terminal in columns, or 80 if it is unknown.
func (s *Screen) Width() int {
	if width, _, err := term.GetSize(int(s.f.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}

// A Style is the look of a text on a terminal with colours.
type Style string

// The styles.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Reset ends every style.
const Reset = "\x1b[0m"

// Sequence returns the sequence that begins a style, or "" for a terminal without colours.
func (s *Screen) Sequence(style Style) string {
	if !s.colour || style == Plain {
		return ""
	}
	return "\x1b[" + string(style) + "m"
}

// A Text consists of parts in several styles. On a terminal each part is escaped; elsewhere parts
// are unchanged, and styles have no effect.
type Text struct {
	w      io.Writer
	screen *Screen
	b      []byte
}

// NewText returns an empty text for w, which may be a Screen.
func NewText(w io.Writer) *Text {
	if s, ok := w.(*Screen); ok {
		return TextThrough(s.f, s)
	}
	return TextThrough(w, nil)
}

// TextThrough returns an empty text for w, which leads to the screen s without escaping; s may be
// nil.
func TextThrough(w io.Writer, s *Screen) *Text { return &Text{w: w, screen: s} }

// Add adds text in a style and returns t.
func (t *Text) Add(style Style, text string) *Text {
	if t.screen == nil {
		t.b = append(t.b, text...)
		return t
	}
	begin := t.screen.Sequence(style)
	t.b = append(t.b, begin...)
	t.b = append(t.b, EscapeText([]byte(text))...)
	if begin != "" {
		t.b = append(t.b, Reset...)
	}
	return t
}

// Print writes the text.
func (t *Text) Print() error {
	_, err := t.w.Write(t.b)
	return err
}
