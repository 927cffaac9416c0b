package terminal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without --lang the locale decides, with the variables in the order of POSIX.
func TestLanguage(t *testing.T) {
	for _, c := range []struct {
		args string
		env  map[string]string
		want string
	}{
		{"", nil, "en"},
		{"", map[string]string{"LANG": "zh_CN.UTF-8"}, "zh"},
		{"", map[string]string{"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"},
		{"", map[string]string{"LANG": "C", "LC_MESSAGES": "ZH_TW"}, "zh"},
		{"", map[string]string{"LANG": "zh_CN.GBK"}, "en"},
		{"", map[string]string{"LC_ALL": "zh_CN.utf8@pinyin"}, "zh"},
		{"--lang=zh pub", map[string]string{"LANG": "zh_CN.GBK"}, "zh"},
		{"pub --lang en", map[string]string{"LANG": "zh_CN.UTF-8"}, "en"},
		{"--lang=zh pub", nil, "zh"},
		{"pub --lang", nil, "en"},
	} {
		require.Equal(t, c.want, Language(strings.Fields(c.args), func(name string) string { return c.env[name] }), "%+v", c)
	}
}
