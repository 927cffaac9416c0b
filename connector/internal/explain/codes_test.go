package explain

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every code has a meaning, and something to do or a case with that, in both languages.
func TestEveryCodeIsExplained(t *testing.T) {
	codes := Codes()
	require.Greater(t, len(codes), 120)
	for _, c := range codes {
		e, _, ok := Code(c)
		require.True(t, ok, c)
		require.NotEmpty(t, e.Means.EN, c)
		require.NotEmpty(t, e.Means.ZH, c)
		require.True(t, len(e.Cases) > 0 || len(e.Facts) > 0 || e.Do.EN != "" && e.Do.ZH != "", c)
		for _, one := range e.Cases {
			require.NotEmpty(t, one.Says.EN)
			require.NotEmpty(t, one.Do.ZH)
		}
	}
	for word, name := range map[string]string{
		"e130": "E130", "dns": "MQTT:DNS", "mqtt:not_authorized": "MQTT:NOT_AUTHORIZED", "CONNACK 5": "CONNACK 5", "connack 0x85": "CONNACK 133",
		"suback 128": "SUBACK 0x80", "exit code 6": "exit 6", "exit  130": "exit 130", "connack=4": "CONNACK 4",
	} {
		e, _, ok := Code(word)
		require.True(t, ok, word)
		require.Equal(t, name, e.Name)
	}
	for word, want := range map[string]string{"E131x": "E131", "MQTT:DNSS": "MQTT:DNS", "NOT_AUTHORISED": "MQTT:NOT_AUTHORIZED", "E999": "", "connack 300": "", "exit 77": "", "": ""} {
		_, nearest, ok := Code(word)
		require.False(t, ok, word)
		if want != "" {
			require.Equal(t, want, nearest, word)
		}
	}
}

// The exit codes are those in the document.
func TestExitCodesAreThoseOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../../docs/command.md")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]*) \|$`).FindAllSubmatch(text, -1)
	require.Len(t, rows, len(exitCodes))
	for _, row := range rows {
		_, _, ok := Code("exit " + string(row[1]))
		require.True(t, ok, "%s", row[0])
	}
}
