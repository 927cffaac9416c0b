package ws

import (
	"encoding/base64"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// shortest is the minimum length of a secret: otherwise a header "1" would redact every 1 in a
// text.
const shortest = 4

// parts returns the parts of header values that are secrets: the token of "Bearer token", the user
// name and password of Basic, and the values of cookies.
func parts(values []string) (out []string) {
	for _, value := range values {
		for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" ,;=\"", r) }) {
			if slices.Contains([]string{"Bearer", "Basic", "Digest", "Token"}, word) {
				continue
			}
			out = append(out, word)
		}
		if _, basic, ok := strings.Cut(value, "Basic "); ok {
			if login, err := base64.StdEncoding.DecodeString(basic); err == nil {
				_, password, _ := strings.Cut(string(login), ":")
				out = append(out, string(login), password)
			}
		}
	}
	return out
}

// redact replaces the secrets in text, including one that may be truncated at the end of text.
func redact(text string, secrets []string) string {
	longestFirst := slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) })
	for _, secret := range longestFirst {
		if len(secret) < shortest {
			continue
		}
		text = strings.ReplaceAll(text, secret, redacted)
		for n := min(len(secret)-1, len(text)); n >= shortest; n-- {
			if strings.HasSuffix(text, secret[:n]) {
				text = text[:len(text)-n] + redacted
				break
			}
		}
	}
	return text
}
