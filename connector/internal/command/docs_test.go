package command

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/stretchr/testify/require"
)

// The table of metrics in the documents has the metrics and labels of the collector.
func TestMetricsOfTheDocument(t *testing.T) {
	for _, document := range []string{"docs/command.md", "docs/zh/command.md"} {
		t.Run(document, func(t *testing.T) { metricsOf(t, document) })
	}
}

func metricsOf(t *testing.T, document string) {
	text, err := os.ReadFile("../../../" + document)
	require.NoError(t, err)
	documented := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `(mqtt_\\w+)` \\| ([^|]*) ?\\| (.+) \\|$").FindAllSubmatch(text, -1) {
		documented[string(m[1])] = strings.TrimSpace(string(m[2]))
	}
	c, err := connector.New(connector.Config{
		General:     connector.General{BrokerURL: "127.0.0.1:1", ClientID: "c"},
		Connections: map[string]connector.Connection{"cloud": {General: connector.General{BrokerURL: "127.0.0.1:1", ClientID: "d"}}},
	}, connector.Options{})
	require.NoError(t, err)
	families := familiesOf(t, (&watch{members: func() []member { return []member{{c: c}} }, restarts: func() uint64 { return 0 }}).exposition())
	delete(documented, "mqtt_tls_cert_expires_seconds") // only present with TLS
	delete(documented, "mqtt_connection_tls_cert_expires_seconds")
	require.Len(t, documented, len(families))
	for _, f := range families {
		labels := make(map[string]bool)
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = true
		}
		want, ok := documented[f.GetName()]
		require.True(t, ok, "%s is not documented", f.GetName())
		for label := range strings.SplitSeq(want, ", ") {
			require.True(t, label == "" || labels[label], "%s has no label %q", f.GetName(), label)
			delete(labels, label)
		}
		require.Empty(t, labels, f.GetName())
	}
}

// The exit codes in the documents are those of the command and its help.
func TestExitCodesOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../../docs/command.md")
	require.NoError(t, err)
	chinese, err := os.ReadFile("../../../docs/zh/command.md")
	require.NoError(t, err)
	_, table, _ := bytes.Cut(text, []byte("## Exit codes"))
	_, tableZH, _ := bytes.Cut(chinese, []byte("## 退出码"))
	for _, code := range []int{ExitOK, ExitRuntime, ExitUsage, ExitConnection, ExitRefused, ExitSubscribe, ExitPublish, ExitTimeout, ExitFindings, ExitInterrupt} {
		require.Contains(t, string(table), fmt.Sprintf("\n| %d | ", code))
		require.Contains(t, string(tableZH), fmt.Sprintf("\n| %d | ", code))
		for _, lang := range []string{"en", "zh"} {
			require.Regexp(t, fmt.Sprintf(`\b%d `, code), (&Program{Lang: lang}).root().Long)
		}
	}
}
