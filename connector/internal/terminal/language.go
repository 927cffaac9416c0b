package terminal

import "strings"

// Language returns the language of a user, "en" or "zh", or whatever --lang says among the arguments. Without it the
// locale of the environment decides. Programs ask before they parse their flags, because the help is made of it.
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
			if strings.HasPrefix(strings.ToLower(v), "zh") {
				return "zh"
			}
			break
		}
	}
	return "en"
}
