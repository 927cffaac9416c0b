package config_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/stretchr/testify/require"
)

// Reading and checking large generated files takes time and memory in proportion to their size, and
// the findings stay readable.
func TestScale(t *testing.T) {
	thorough.Only(t)
	var topics, consumers, wrong, wild strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&topics, "      - plant/%d/reading\n", i)
		fmt.Fprintf(&wrong, "      - plant#%d\n", i)
		fmt.Fprintf(&wild, "      - %s\n", []string{fmt.Sprintf("+/l%d", i), fmt.Sprintf("l%d/+", i)}[i%2])
	}
	head := "connector:\n  general: {broker_url: 127.0.0.1:1883, client_id: c}\n  advanced: {clean_session: false, auto_reconnect: true}\nconsumers:\n"
	one := head + "  in:\n    qos: 1\n    on_failure: {retries: 1, then: drop}\n    topics:\n"
	for i := range 3_000 {
		fmt.Fprintf(&consumers, "  c%d: {topics: ['plant/+/reading%d/#', 'plant/%d/#', '#'], qos: 1, on_failure: {retries: 1, then: dead_letter, dead_letter: {topic: dead/%d}}}\n", i, i, i, i)
	}
	var keys, scalars, quoted strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&keys, "  some_long_key_that_nobody_knows_%d: 1\n", i)
		if i%5 == 0 {
			fmt.Fprintf(&scalars, "  c%d: x\n", i)
		}
		fmt.Fprintf(&quoted, "      - “a%d”\n", i)
	}
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"topics":      {one + topics.String(), nil},
		"unknown":     {"connector:\n  general: {broker_url: 127.0.0.1:1883, client_id: c}\n" + keys.String(), []string{"E130"}},
		"quoted":      {one + quoted.String(), []string{"W227"}},
		"no objects":  {head + scalars.String(), []string{"E131"}},
		"wrong":       {one + wrong.String(), []string{"E105"}},
		"wild":        {one + wild.String(), []string{"W210"}},
		"overlapping": {head + consumers.String(), []string{"E110", "W210"}},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, findings, _ := config.Parse([]byte(c.text), "")
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			t.Logf("%d bytes: %s, %d MiB allocated", len(c.text), took, (after.TotalAlloc-before.TotalAlloc)>>20)
			require.Less(t, took, 2*time.Minute)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(512<<20))
			seen := make(map[string]int)
			for _, f := range findings {
				seen[f.Code]++
				require.LessOrEqual(t, len(f.String()), 1000)
			}
			for _, code := range c.want {
				require.Equal(t, lint.MaxOfRule+1, seen[code], code)
				delete(seen, code)
			}
			require.Empty(t, seen)
		})
	}
}

// Findings about values of any length and content are short and escaped.
func TestFindingsAreEscaped(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, value := range []string{`"\e[31m"`, `"\e]0;x\a"`, `"a\r\nb"`, `"\u202eabc"`, long} {
		text := strings.NewReplacer(
			"broker_url: 127.0.0.1:1883", "broker_url: "+value, "client_id: c", "client_id: c\n    protocol: "+value+"\n    tls_server_cert: "+value+"\n    "+value+": 1",
			"auto_reconnect: true", "auto_reconnect: "+value+"\n    keep_alive: "+value, "qos: At Least Once", "qos: 1\n    share_group: "+value+"\n    order_by: "+value,
			"retries: 5", "retries: "+value, "  in:", "  "+value+":", "[plant/+/reading]", "["+value+", "+value+"]", "plant/${variable.line}/command", "${x}").Replace(good)
		_, findings := parse(t, text)
		require.NotEmpty(t, findings)
		for _, f := range findings {
			for _, s := range append(f.Args, f.Text("en"), f.Text("zh"), f.Path, f.Label, f.Message, f.MessageZH) {
				require.Less(t, len(s), 3000)
				require.Equal(t, -1, strings.IndexFunc(s, func(r rune) bool { return !lint.Visible(r) }), "%q", s)
			}
		}
		require.Error(t, connector.Errors(findings))
	}
}
