package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/stretchr/testify/require"
)

// rows returns the cells of the tables of docs/connector.md, by heading.
func rows(t *testing.T) map[string][][]string { return rowsOf(t, "../../docs/connector.md") }

func rowsOf(t *testing.T, document string) map[string][][]string {
	t.Helper()
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	out := make(map[string][][]string)
	heading := ""
	for line := range strings.SplitSeq(string(text), "\n") {
		if strings.HasPrefix(line, "#") {
			heading = strings.Fields(strings.TrimLeft(line, "# "))[0]
		}
		if strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|---") {
			cells := strings.Split(strings.Trim(line, "|"), " | ")
			for i := range cells {
				cells[i] = strings.Trim(cells[i], " `")
			}
			out[heading] = append(out[heading], cells)
		}
	}
	return out
}

// source returns the contents of all files that match.
func source(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		b.Write(text)
	}
	return b.String()
}

// The document lists every setting of the platform's tables, with its label and default, and the
// tests that it names exist.
func TestDocumentHasEveryRowOfThePlatform(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Platform   bool                      `json:"x-platform"`
			Properties map[string]map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(config.Schema(), &schema))
	tables := rows(t)
	for def, heading := range map[string]string{"general": "General,", "advanced": "Advanced,", "consumer": "Consumer", "producer": "Producer"} {
		documented := make(map[string][]string)
		for _, r := range tables[heading] {
			documented[r[0]] = r
		}
		marked := 0
		for key, p := range schema.Defs[def].Properties {
			if p["x-platform"] != true && !schema.Defs[def].Platform {
				continue
			}
			marked++
			row := documented[key]
			require.Len(t, row, 5, "%s.%s", def, key)
			require.Equal(t, p["x-label-zh"], row[1])
			want := "-"
			if p["default"] != nil {
				want = fmt.Sprint(p["default"])
			}
			require.Equal(t, want, row[2], "%s.%s", def, key)
		}
		require.Equal(t, map[string]int{"general": 8, "advanced": 15, "consumer": 3, "producer": 4}[def], marked)
	}
	extensions := make(map[string][]string)
	for _, r := range tables["Extensions"] {
		for _, key := range strings.Split(r[0], "`, `") {
			extensions[key] = r
		}
	}
	for def, d := range schema.Defs {
		for key, p := range d.Properties {
			if p["x-platform"] == true || d.Platform || !slices.Contains([]string{"extension", "consumer", "producer"}, def) {
				continue
			}
			row := extensions[key]
			require.Len(t, row, 5, "%s.%s", def, key)
			require.Contains(t, row[1], def, key)
			require.Contains(t, row[4], "Test", key)
			for _, sub := range nested(p) {
				require.Contains(t, "`"+row[3]+"`", "`"+sub+"`", "%s.%s.%s", def, key, sub)
			}
		}
	}
	tests := source(t, "*_test.go") + source(t, "../*_test.go") + source(t, "../flow/*_test.go") + source(t, "../lint/*_test.go") + source(t, "../../internal/proofs/*_test.go") +
		source(t, "../../client/*_test.go") + source(t, "../internal/verbs/*_test.go") + source(t, "../internal/command/*_test.go")
	text := source(t, "../../docs/connector.md")
	for _, name := range regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(text, -1) {
		require.True(t, strings.Contains(tests, "func "+name[1]+"(t *testing.T)"), "%s is gone", name[1])
	}
}

// nested lists the keys of a property that is an object, or may be one.
func nested(p map[string]any) (keys []string) {
	if sub, ok := p["properties"].(map[string]any); ok {
		for key, inner := range sub {
			keys = append(keys, key)
			keys = append(keys, nested(inner.(map[string]any))...)
		}
	}
	forms, _ := p["oneOf"].([]any)
	for _, form := range forms {
		if object := form.(map[string]any); object["type"] == "object" {
			keys = append(keys, nested(object)...)
		}
	}
	return keys
}

// The document lists every rule of lint and every error type, each with the error type it belongs
// to.
func TestDocumentHasEveryRuleAndErrorType(t *testing.T) {
	tables := rows(t)
	var listed []string
	for _, r := range tables["Rules"][1:] {
		listed = append(listed, strings.Split(r[0], ", ")...)
	}
	known := make(map[string]bool)
	for _, rule := range lint.Rules() {
		if code, _, _ := strings.Cut(rule, "/"); code != "more" {
			known[code] = true
		}
	}
	for _, r := range tables["Rules"][1:] {
		for _, code := range strings.Split(r[0], ", ") {
			// Trimming has removed spaces at the ends of the cells.
			require.Equal(t, r[1], strings.Trim(lint.About(code, "en"), " `"), code)
			require.True(t, strings.ContainsFunc(lint.About(code, "zh"), func(r rune) bool { return unicode.Is(unicode.Han, r) }), code)
		}
	}
	require.Empty(t, lint.About("E999", "en")+lint.About("", "en")+lint.About("E10", "zh"))
	for _, c := range listed {
		require.True(t, known[c], "%s is no rule", c)
		delete(known, c)
	}
	require.Empty(t, known, "not documented")

	types := make(map[string]bool)
	for _, m := range regexp.MustCompile(`ErrorType = "([A-Z]+:[A-Z_]+)"`).FindAllStringSubmatch(source(t, "../flow/errors.go"), -1) {
		types[m[1]] = true
	}
	for _, r := range tables["Errors"][1:] {
		if r[0] == "delivered" {
			break // the next table starts
		}
		require.True(t, types[r[0]], "%s is no error type", r[0])
		delete(types, r[0])
		require.Equal(t, r[1], string(flow.ErrorType(r[0]).Parent()))
		require.Equal(t, r[2] == "yes", flow.ErrorType(r[0]).Retryable(), r[0])
		require.Contains(t, r[4], "Test", r[0])
	}
	require.Empty(t, types, "not documented")
}

// The configurations in the pages for newcomers have no findings except for files that do not exist
// on this machine.
func TestConfigurationsOfTheFirstPages(t *testing.T) {
	t.Setenv("MQTT_PASSWORD", "secret")
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for _, name := range []string{"README.md", "README.zh.md", "docs/start.md", "docs/zh/start.md", "docs/security.md", "docs/zh/security.md", "docs/zh/connector.md", "docs/zh/jetstream.md"} {
		text, err := os.ReadFile("../../" + name)
		require.NoError(t, err)
		found := blocks.FindAllSubmatch(text, -1)
		require.NotEmpty(t, found, name)
		for _, b := range found {
			_, findings, _ := config.Parse(b[1], t.TempDir())
			for _, f := range findings {
				require.True(t, f.Code == "E117" || f.Code[0] == 'W', "%s: %v", name, f)
			}
		}
	}
}

// The Chinese page lists every setting with its label and default from the schema, and every rule
// of lint and error type with the same words as the program.
func TestChinesePageIsComplete(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Properties map[string]map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(config.Schema(), &schema))
	tables, english := rowsOf(t, "../../docs/zh/connector.md"), rows(t)
	settings := make(map[string][][]string)
	for heading, listed := range tables {
		for _, r := range listed {
			settings[r[0]] = append(settings[r[0]], append([]string{heading}, r...))
		}
	}
	for def, heading := range map[string]string{"general": "通用配置（`connector.general`）", "advanced": "高级配置（`connector.advanced`）", "consumer": "Consumer", "producer": "Producer", "extension": "扩展配置"} {
		for key, p := range schema.Defs[def].Properties {
			found := false
			for _, r := range settings[key] {
				if found = r[0] == heading || r[0] == "扩展配置" && strings.Contains(r[3], def); found {
					require.Equal(t, p["x-label-zh"], r[2], "%s.%s", def, key)
					if r[0] == "扩展配置" {
						for _, sub := range nested(p) {
							require.Contains(t, r[5], "`"+sub+"`", "%s.%s", def, key)
						}
						break
					}
					want := "-"
					if p["default"] != nil {
						want = fmt.Sprint(p["default"])
					}
					require.Equal(t, want, r[3], "%s.%s", def, key)
					break
				}
			}
			require.True(t, found, "%s.%s is missing", def, key)
		}
	}
	rules := make(map[string]string)
	for _, r := range tables["检查规则"] {
		rules[r[0]] = r[1]
	}
	for _, r := range english["Rules"][1:] {
		code, _, _ := strings.Cut(r[0], ",")
		require.Equal(t, strings.Trim(lint.About(code, "zh"), " `"), rules[r[0]], r[0])
	}
	types := make(map[string][]string)
	for _, r := range tables["错误"] {
		types[r[0]] = r
	}
	for _, r := range english["Errors"][1:] {
		if r[0] == "delivered" {
			break
		}
		e := &flow.Error{Type: flow.ErrorType(r[0])}
		require.Len(t, types[r[0]], 4, r[0])
		require.Equal(t, r[1], types[r[0]][1])
		require.Equal(t, map[bool]string{true: "是", false: "否"}[e.Type.Retryable()], types[r[0]][2])
		require.Equal(t, e.Explain("zh"), types[r[0]][3])
	}
}

// The fields that docs/start.md tells readers to fill in on the page have the same names there, in
// both languages.
func TestFieldsOfTheFirstPages(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Properties map[string]map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(config.Schema(), &schema))
	for page, label := range map[string]string{"docs/start.md": "title", "docs/zh/start.md": "x-label-zh"} {
		_, section, ok := strings.Cut(source(t, "../../"+page), "\n### 1.")
		require.True(t, ok)
		section, _, _ = strings.Cut(section, "\n### 2.")
		fields := regexp.MustCompile(`(?m)^\|([^|-]*)\| ([^|]+) \| [^|]+ \|$`).FindAllStringSubmatch(section, -1)
		require.Len(t, fields, 10, page) // including the header row
		for _, f := range fields[1:] {
			if strings.HasPrefix(f[2], "a name") || strings.HasPrefix(f[2], "输入名称") {
				continue
			}
			known := false
			for _, def := range schema.Defs {
				for _, p := range def.Properties {
					name, _ := p[label].(string)
					known = known || name != "" && strings.HasPrefix(f[2], name)
				}
			}
			require.True(t, known, "%s: the page has no field %q", page, f[2])
		}
	}
}
