package fuzz

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
)

// FuzzConfig reads arbitrary text as a configuration: nothing panics, every refusal has its place
// in the text, an accepted configuration makes a connector, and a password appears nowhere. The
// password replaces the word PASSWORD in the text.
func FuzzConfig(f *testing.F) {
	const secret = "hunter2SECRET"
	example, err := os.ReadFile(filepath.Join("..", "connector", "config", "testdata", "example.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example, secret)
	f.Add([]byte("connector: {general: {broker_url: 'h:1', client_id: c, username: u, password: PASSWORD}}"), "*"+secret)
	f.Add([]byte("connector:\n  general:\n    password: {env: X}\n    tls_client_key: PASSWORD\n    protocol: TLS"), "&"+secret)
	f.Add([]byte("consumers: &a {in: {topics: [*a]}}\nconnector: *a"), secret)
	f.Add([]byte(`{"connector": {"通用配置": {"Broker URL": "[::1]:1883", "Client ID": "${hostname}", "密码": {"PASSWORD": 1}}}}`), secret)
	f.Add([]byte("producers: {out: {topic: '${payload.a', payload: '${env:HOME'}}"), secret)
	f.Fuzz(func(t *testing.T, text []byte, password string) {
		if strings.Contains(string(text), secret) || strings.Contains(string(text), "file") {
			return // the password stands elsewhere, or other files would be read
		}
		// Only where a password belongs: anything else is text that errors may quote.
		var whole string
		if before, after, ok := strings.Cut(string(text), "password: PASSWORD"); ok {
			whole = before + "password: " + oneLine(password) + after
		} else {
			whole = string(text)
		}
		cfg, findings, err := config.Parse([]byte(whole), t.TempDir())
		var shown strings.Builder
		for _, f := range findings {
			shown.WriteString(f.Text("en") + f.Text("zh"))
			if f.Code == "" || f.Path == "" || f.Message == "" || f.Fix == "" || f.MessageZH == "" || f.FixZH == "" {
				t.Errorf("an empty finding: %+v", f)
			}
		}
		if err != nil {
			shown.WriteString(err.Error())
		}
		if strings.Contains(shown.String(), secret) && strings.Count(whole, secret) == 1 && !strings.ContainsAny(password, ",{}[]:#\"'\n") {
			t.Errorf("the password shows in %s", &shown)
		}
		if err != nil {
			return
		}
		if _, err := json.Marshal(cfg); err != nil {
			t.Errorf("%+v does not encode: %v", cfg, err)
		}
		if _, err := connector.New(*cfg, connector.Options{}); err != nil {
			t.Errorf("accepted, and no connector: %v\n%s", err, whole)
		}
	})
}

func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(s) }
