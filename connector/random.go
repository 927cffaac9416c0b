package connector

import (
	"crypto/rand"
	"regexp"
	"strconv"
	"sync"
)

var randomPart = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\$\{random(?::([1-9][0-9]?))?\}`) })

// withRandom replaces ${random} by 8 random letters and digits, and ${random:n} by n.
func withRandom(s string) string {
	return randomPart().ReplaceAllStringFunc(s, func(expr string) string {
		n := 8
		if digits := randomPart().FindStringSubmatch(expr)[1]; digits != "" {
			n, _ = strconv.Atoi(digits)
		}
		text := ""
		for len(text) < n {
			text += rand.Text()
		}
		return text[:n]
	})
}
