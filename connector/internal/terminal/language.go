package terminal

import (
	"slices"
	"strings"
)

// Language returns the language of a user, "en" or "zh", or the value of --lang in args. Without --lang the locale
// in the environment decides. It is called before the flags are parsed, because the help depends on it.
func Language(args []string, env func(string) string) string {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--lang="); ok {
			return v
		}
		if a == "--lang" && i+1 < len(args) {
			return args[i+1]
		}
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := env(name); v != "" {
			lang, charset, _ := strings.Cut(strings.ToLower(v), ".")
			charset, _, _ = strings.Cut(charset, "@")
			if strings.HasPrefix(lang, "zh") && slices.Contains([]string{"", "utf-8", "utf8"}, charset) { // elsewhere it could not be read
				return "zh"
			}
			break
		}
	}
	return "en"
}
