// Package failure checks in tests that an error agrees with docs/transport.md and reveals no
// secret.
package failure

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/transport"
)

// Canary stands for every secret in tests. No error and no log may show it, not even a part of it.
const Canary = "cAnArY+s3cret/0f=tests"

// canaryParts are texts that a truncated or encoded Canary still contains.
var canaryParts = []string{"cAnArY", "s3cret", "Y0FuQXJZ", "63416e417259"}

// A Row is one line of the table in docs/transport.md.
type Row struct {
	Code     string
	Messages []*regexp.Regexp
	EN, ZH   string
}

// Table reads the table of docs/transport.md.
func Table(t testing.TB) []Row {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../docs/transport.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 4 || !strings.HasPrefix(line, "| `") {
			continue
		}
		row := Row{Code: strings.Trim(cells[0], "` "), EN: strings.TrimSpace(cells[2]), ZH: strings.TrimSpace(cells[3])}
		for message := range strings.SplitSeq(cells[1], "<br>") {
			pattern := regexp.QuoteMeta(strings.Trim(message, "` "))
			row.Messages = append(row.Messages, regexp.MustCompile(strings.ReplaceAll(pattern, "…", ".*")))
		}
		rows = append(rows, row)
	}
	return rows
}

// Is fails the test unless err is the failure with that code: its message and hints agree with the
// row of the table, and it shows no secret. It returns err as a DialError, or nil.
func Is(t testing.TB, code string, err error) *transport.DialError {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, and %s was expected", code)
	}
	Silent(t, err)
	hint, ok := transport.HintOf(err)
	if !ok || hint.Code != code {
		t.Fatalf("the hint is %q, not %q, of: %v", hint.Code, code, err)
	}
	if !inTable(t, hint, err.Error()) {
		t.Errorf("docs/transport.md has no message of %s like: %v", code, err)
	}
	dial, ok := err.(*transport.DialError)
	if ok && (dial.Hint() != hint.EN || dial.HintZH() != hint.ZH) {
		t.Errorf("Hint and HintOf differ: %q, %q", dial.Hint(), hint.EN)
	}
	return dial
}

func inTable(t testing.TB, hint transport.Hint, message string) bool {
	for _, row := range Table(t) {
		for _, pattern := range row.Messages {
			if row.Code == hint.Code && pattern.MatchString(message) {
				return true
			}
		}
	}
	return false
}

// Silent fails the test if any of shown contains a part of the Canary, however it is printed.
func Silent(t testing.TB, shown ...any) {
	t.Helper()
	for _, v := range shown {
		for _, text := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v)} {
			for _, part := range canaryParts {
				if strings.Contains(text, part) {
					t.Errorf("a secret shows in: %s", text)
				}
			}
		}
	}
}
