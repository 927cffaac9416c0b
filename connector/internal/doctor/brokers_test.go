package doctor_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/doctor"
	"github.com/mqtt311/mqtt311/internal/aedes"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/internal/rabbitmq"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/brokers.md")

// TestMain lets all servers be tested at once: most of the time the tests wait for packets that do
// not come.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "8")
	os.Exit(m.Run())
}

// servers are the columns of docs/brokers.md.
var servers = []struct {
	name  string
	start func(testing.TB) (url string)
}{
	{"mosquitto", func(t testing.TB) string { return mosquitto.Start(t, mosquitto.Options{}).TCP }},
	{"nats-server", func(t testing.TB) string { return nats.Start(t, nats.Options{AckWait: 2 * time.Second}).TCP }},
	{"RabbitMQ", func(t testing.TB) string { return rabbitmq.Start(t).TCP }},
	{"aedes", func(t testing.TB) string { return aedes.Start(t).TCP }},
	{"mochi", func(t testing.TB) string {
		b, err := broker.Start()
		require.NoError(t, err)
		t.Cleanup(func() { b.Close() })
		return "mqtt://" + b.Addr
	}},
}

func options(t testing.TB, url string) doctor.Options {
	t.Helper()
	dial, err := transport.Dialer(url, nil)
	require.NoError(t, err)
	return doctor.Options{Client: client.Config{Dial: dial}, Patience: 1500 * time.Millisecond, Resend: 4 * time.Second}
}

func run(t testing.TB, o doctor.Options) *doctor.Report {
	t.Helper()
	r, err := doctor.Run(t.Context(), o)
	require.NoError(t, err)
	require.Empty(t, r.Left)
	return r
}

// A page is a document that contains the table, in one language.
type page struct {
	path string
	say  func(doctor.Text) string
	list func(question, servers, means string) string // a line about consequences
	sep  string
	head string
}

var pages = []page{
	{
		"../../../docs/brokers.md", func(t doctor.Text) string { return t.EN },
		func(question, servers, means string) string {
			return "- " + question + ", " + servers + ": " + means + ".\n"
		}, ", ",
		"What that means for the settings of a connector:",
	},
	{
		"../../../docs/zh/brokers.md", func(t doctor.Text) string { return t.ZH },
		func(question, servers, means string) string {
			return "- " + question + "（" + servers + "）：" + means + "。\n"
		}, "、",
		"对连接器的配置意味着：",
	},
}

const begins, ends = "\n<!-- made by make brokers -->\n", "<!-- end -->\n"

// read returns the text before, in and after the table.
func (p page) read(t *testing.T) (before, made, after string) {
	t.Helper()
	text, err := os.ReadFile(p.path)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begins)
	require.True(t, ok)
	made, after, ok = strings.Cut(rest, ends)
	require.True(t, ok)
	return before, made, after
}

// The tables of docs/brokers.md, in both languages, are what doctor finds on the real servers that are installed.
func TestBrokers(t *testing.T) {
	if !*update {
		thorough.Only(t)
	}
	if raced {
		t.Skip("the same conversations run without the race detector, and with it against one server in TestNothingStays")
	}
	var was []map[string]map[string]string
	for _, p := range pages {
		_, made, _ := p.read(t)
		was = append(was, columns(made))
	}
	var mu sync.Mutex
	now := make(map[string]*doctor.Report)
	t.Run("servers", func(t *testing.T) {
		for _, s := range servers {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				o := options(t, s.start(t))
				r := run(t, o)
				if !*update && !agrees(r, was[0][s.name]) { // on a slow machine answers come late: try again with more patience
					o.Patience, o.Resend = 5*o.Patience, 5*o.Resend
					r = run(t, o)
				}
				mu.Lock()
				now[s.name] = r
				mu.Unlock()
				for _, row := range r.Rows {
					require.False(t, row.Failed, "%s: %s", row.Probe, row.Answer.EN)
					require.NotEmpty(t, row.Answer.ZH)
					require.Equal(t, row.Means.EN == "", row.Means.ZH == "")
					for i, p := range pages {
						if !*update {
							require.Equal(t, was[i][s.name][p.say(row.Asked)], p.say(row.Answer), "%s; make brokers writes %s again", row.Probe, p.path)
						}
					}
				}
			})
		}
	})
	if *update {
		require.Len(t, now, len(servers), "every server has to be installed to write the tables")
		for _, p := range pages {
			before, _, after := p.read(t)
			require.NoError(t, os.WriteFile(p.path, []byte(before+begins+p.table(now)+"\n"+ends+after), 0o644))
		}
	}
}

// agrees reports whether r agrees with its column in the table.
func agrees(r *doctor.Report, column map[string]string) bool {
	for _, row := range r.Rows {
		if row.Failed || column[row.Asked.EN] != row.Answer.EN {
			return false
		}
	}
	return true
}

// table returns the table in Markdown.
func (p page) table(of map[string]*doctor.Report) string {
	var b strings.Builder
	b.WriteString("| |")
	for _, s := range servers {
		b.WriteString(" " + s.name + " |")
	}
	b.WriteString("\n|" + strings.Repeat("---|", len(servers)+1) + "\n")
	for i, row := range of[servers[0].name].Rows {
		b.WriteString("| " + p.say(row.Asked) + " |")
		for _, s := range servers {
			b.WriteString(" " + strings.ReplaceAll(p.say(of[s.name].Rows[i].Answer), "|", `\|`) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n" + p.head + "\n\n")
	for i, row := range of[servers[0].name].Rows {
		at := make(map[string][]string)
		var order []string
		for _, s := range servers {
			if means := p.say(of[s.name].Rows[i].Means); means != "" {
				if !slices.Contains(order, means) {
					order = append(order, means)
				}
				at[means] = append(at[means], s.name)
			}
		}
		for _, means := range order {
			b.WriteString(p.list(p.say(row.Asked), strings.Join(at[means], p.sep), means))
		}
	}
	return b.String()
}

// columns parses the table into answers by server and question.
func columns(text string) map[string]map[string]string {
	of := make(map[string]map[string]string)
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.ReplaceAll(strings.TrimSpace(line), `\|`, "\x00"), "|"), "|")
		if len(cells) != len(servers)+1 {
			continue
		}
		for i, s := range servers {
			if of[s.name] == nil {
				of[s.name] = make(map[string]string)
			}
			of[s.name][strings.TrimSpace(cells[0])] = strings.ReplaceAll(strings.TrimSpace(cells[i+1]), "\x00", "|")
		}
	}
	return of
}

// mosquitto grants a subscription that its rules forbid, and acknowledges a message that they forbid: doctor finds
// that nothing arrives. Below a prefix that the rules allow it finds everything.
func TestRulesOfMosquitto(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "acl")
	require.NoError(t, os.WriteFile(rules, []byte("topic readwrite mine/#\n"), 0o600))
	o := options(t, mosquitto.Start(t, mosquitto.Options{Config: "acl_file " + rules}).TCP)
	o.Patience, o.Resend, o.Forbidden = 300*time.Millisecond, 300*time.Millisecond, "others"
	r := run(t, o)
	require.Equal(t, "lost", r.Facts.Delivery)
	require.Equal(t, "PUBLISH: PUBACK, as if it were accepted; SUBSCRIBE: SUBACK 0x01, and nothing arrives", r.Rows[len(r.Rows)-1].Answer.EN)
	o.Prefix = "mine/"
	r = run(t, o)
	require.Equal(t, "delivered", r.Facts.Delivery)
	for _, row := range r.Rows {
		require.False(t, row.Failed, "%s: %s", row.Probe, row.Answer.EN)
	}
}
