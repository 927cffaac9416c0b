package ui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
)

// A configuration is the configuration file that the page shows.
type configuration struct {
	s      *Server
	folder string
	known  map[known]bool // references that were in the file at the start; never changes

	mu      sync.Mutex // guards the rest, and writing
	state   *state
	veil    *veil
	homes   map[string]destination // destinations of the connections of the file
	testing bool
}

// A view is the state of the page for a text.
type view struct {
	Text     string         `json:"text"`
	Revision string         `json:"revision,omitempty"` // of the file; only where it was read or written
	Values   *config.Value  `json:"values"`
	ReadOnly string         `json:"read_only,omitempty"` // why the forms are read-only: see config.Document
	Findings []finding      `json:"findings"`
	Withheld []withheldLine `json:"withheld,omitempty"` // references that are shown but not examined
	Problem  *fault         `json:"problem,omitempty"`  // why the text cannot be used at all
}

// A finding is one of lint, with its place in the text of the page.
type finding struct {
	Code      string `json:"code"`
	Path      string `json:"path"`
	Label     string `json:"label,omitempty"`
	Line      int    `json:"line,omitempty"`
	Column    int    `json:"column,omitempty"`
	Message   string `json:"message"`
	MessageZH string `json:"message_zh"`
	Fix       string `json:"fix"`
	FixZH     string `json:"fix_zh"`
}

type withheldLine struct {
	Path string `json:"path"`
	Kind string `json:"kind"`
	Line int    `json:"line"`
}

// configurationPage shows and changes the configuration.
func (s *Server) configurationPage() {
	c := &configuration{s: s, folder: filepath.Dir(s.opts.File)}
	if now, err := readState(s.opts.File); err == nil {
		c.known = knownReferences(config.Read([]byte(now.text), c.folder, nil))
	}
	s.get("config", func(*http.Request) (any, error) { return c.load() })
	s.get("config/schema", func(*http.Request) (any, error) { return json.RawMessage(config.Schema()), nil })
	s.post("config/check", c.check)
	s.post("config/edit", c.edit)
	s.post("config/save", c.save)
	s.post("config/apply", c.apply)
	s.stream("config/test", c.test)
}

// load reads the file.
func (c *configuration) load() (*view, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := readState(c.s.opts.File)
	if err != nil {
		return nil, err
	}
	if c.state == nil || c.state.revision != now.revision {
		v, err := newVeil(now.text)
		var known *fault
		switch {
		case errors.As(err, &known):
			return nil, err
		case err != nil:
			return nil, c.unreadable(now)
		}
		c.state, c.veil = now, v
		c.homes = destinations(config.Read([]byte(v.text), c.folder, never).Values)
	}
	out := c.look(c.veil.text)
	out.Revision = c.state.revision
	return out, nil
}

func never(config.Reference) bool { return false }

// unreadable returns why a file is not shown: its secrets cannot be located.
func (c *configuration) unreadable(now *state) error {
	f := config.Read([]byte(now.text), c.folder, never).Findings
	if len(f) == 0 {
		return errNotText
	}
	return &fault{409, fmt.Sprintf("The file cannot be read, so the page does not show it. Line %d: %s → %s", f[0].Line, f[0].Message, f[0].Fix),
		fmt.Sprintf("文件无法解析，因此不在页面上显示。第 %d 行：%s → %s", f[0].Line, f[0].MessageZH, f[0].FixZH)}
}

// look returns the view for a text of the page. The lock is held.
func (c *configuration) look(text string) *view {
	shown := config.Read([]byte(text), c.folder, never)
	out := &view{Text: text, Values: shown.Values, ReadOnly: shown.ReadOnly, Findings: []finding{}}
	u, d, err := c.use(text)
	if u == nil {
		errors.As(err, &out.Problem)
		return out
	}
	for _, f := range d.Findings {
		line, column := u.place(f.Line, f.Column)
		one := func(s string) string { return c.veil.scrub(s) }
		out.Findings = append(out.Findings, finding{f.Code, one(f.Path), one(f.Label), line, column, one(f.Message), one(f.MessageZH), one(f.Fix), one(f.FixZH)})
	}
	for _, r := range d.Withheld {
		line, _ := u.place(r.Line, r.Column)
		out.Withheld = append(out.Withheld, withheldLine{r.Path, r.Kind, line})
	}
	return out
}

// use puts the secrets back and parses the text. It does not examine references that were not in
// the file at the start, or whose connection now has another destination.
func (c *configuration) use(text string) (*unveiled, *config.Document, error) {
	u, err := c.veil.lift(text)
	if err != nil {
		return nil, nil, err
	}
	all := destinations(config.Read([]byte(u.text), c.folder, never).Values)
	d := config.Read([]byte(u.text), c.folder, func(r config.Reference) bool {
		return c.known[known{r.Field(), r.Kind, r.Name, all[connectionOf(r, all)]}]
	})
	return u, d, nil
}

// home refuses a text that would send a secret of the file to another server.
func (c *configuration) home(text string) error {
	values := config.Read([]byte(text), c.folder, never).Values
	now := destinations(values)
	for path, connection := range connectionsOf(values) {
		if holdsSecret(connection) && now[path] != c.homes[path] {
			return &fault{errDestination.status, fmt.Sprintf(errDestination.EN, path), fmt.Sprintf(errDestination.ZH, path)}
		}
	}
	return nil
}

type textRequest struct {
	Text string `json:"text"`
}

// lockFor locks the configuration for a request with a text, unless it returns an error.
func (c *configuration) lockFor(text string) error {
	if len(text) > maxText {
		return errTooLarge
	}
	c.mu.Lock()
	if c.veil == nil {
		c.mu.Unlock()
		return errReload
	}
	return nil
}

var errReload = &fault{http.StatusConflict, "Load the page again: it is older than the program.", "请重新载入页面：页面早于程序启动。"}

// check returns the findings for a text.
func (c *configuration) check(r *http.Request) (any, error) {
	in, err := decode[textRequest](r)
	if err == nil {
		err = c.lockFor(in.Text)
	}
	if err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	return c.look(in.Text), nil
}

// edit changes a value of a text, or the name of one, and returns the view of the new text.
func (c *configuration) edit(r *http.Request) (any, error) {
	in, err := decode[struct {
		Text   string          `json:"text"`
		Path   []string        `json:"path"`
		Value  json.RawMessage `json:"value"`
		Rename string          `json:"rename"`
	}](r)
	if err == nil {
		err = c.lockFor(in.Text)
	}
	if err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	d := config.Read([]byte(in.Text), c.folder, never)
	var out []byte
	if in.Rename != "" {
		out, err = d.Rename(in.Path, in.Rename)
	} else {
		out, err = d.Set(in.Path, in.Value)
	}
	if err != nil {
		return nil, errEdit
	}
	return c.look(string(out)), nil
}

var errEdit = &fault{http.StatusConflict, "The form cannot change this without changing other lines: edit the text beside it.", "表单无法只更改此处而不影响其他行，请在旁边的文本中编辑。"}

// save writes the file.
func (c *configuration) save(r *http.Request) (any, error) {
	in, err := decode[struct {
		Text     string `json:"text"`
		Revision string `json:"revision"`
	}](r)
	if err == nil {
		err = c.lockFor(in.Text)
	}
	if err != nil {
		return nil, err
	}
	out, err := c.write(in.Text, in.Revision)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	c.s.log.Info("ui: saved the configuration", "file", out, "from", r.RemoteAddr)
	return c.load()
}

// write writes a text of the page to the file. The lock is held.
func (c *configuration) write(text, revision string) (string, error) {
	now, err := readState(c.s.opts.File)
	switch {
	case err != nil:
		return "", err
	case now.revision != revision || now.revision != c.state.revision:
		return "", errChanged
	}
	if err := c.home(text); err != nil {
		return "", err
	}
	u, err := c.veil.lift(text)
	if err != nil {
		return "", err
	}
	if placeholder.MatchString(u.text) { // the text cannot be parsed, so its secrets cannot be put back
		return "", errUnread
	}
	return c.s.opts.File, writeFile(c.s.opts.File, now.bytes(u.text))
}

var (
	errUnread   = &fault{http.StatusConflict, "The text cannot be read, so its secrets cannot be put back: mend it first.", "文本无法解析，无法放回保密内容，请先修正。"}
	errMistakes = &fault{http.StatusConflict, "The configuration has mistakes: mend them first.", "配置有错误，请先修正。"}
	errWithheld = &fault{http.StatusConflict, "The configuration names files, variables or commands that were not in the file when the program started, or that belong to another server. The page does not use them: save, and use mqtt311 test or run.",
		"配置引用了程序启动时文件中没有的文件、环境变量或命令，或引用属于其他服务端。页面不会使用它们：请保存后用 mqtt311 test 或 run。"}
	errBusy  = &fault{http.StatusConflict, "A test is running.", "正在测试。"}
	errApply = &fault{http.StatusConflict, "No connector runs here.", "此处没有运行中的连接器。"}
)

// usable returns the configuration of a text of the page.
func (c *configuration) usable(text string) (*connector.Config, error) {
	if err := c.home(text); err != nil {
		return nil, err
	}
	_, d, err := c.use(text)
	switch {
	case err != nil:
		return nil, err
	case len(d.Withheld) > 0:
		return nil, errWithheld
	case d.Config == nil:
		return nil, errMistakes
	}
	return d.Config, nil
}

// apply applies a text of the page to the running connector.
func (c *configuration) apply(r *http.Request) (any, error) {
	in, err := decode[textRequest](r)
	if err == nil && c.s.opts.Apply == nil {
		err = errApply
	}
	if err == nil {
		err = c.lockFor(in.Text)
	}
	if err != nil {
		return nil, err
	}
	cfg, err := c.usable(in.Text)
	scrub := c.veil.scrub
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	changes, err := c.s.opts.Apply(r.Context(), cfg)
	if err != nil && !errors.Is(err, flow.TypeSubscribe) {
		e := flow.AsError(err)
		why := scrub(e.Description)
		return nil, &fault{http.StatusConflict, why, why + " " + e.Explain("zh")}
	}
	out := struct {
		connector.Changes
		Problem string `json:"problem,omitempty"`
	}{Changes: changes}
	if err != nil {
		out.Problem = scrub(err.Error())
	}
	c.s.log.Info("ui: applied a configuration", "applied", changes.Applied, "restart", changes.Restart, "from", r.RemoteAddr)
	return out, nil
}

// A testLine is a step of the connection test, the server's answer for a topic, or the end.
type testLine struct {
	Step       string         `json:"step,omitempty"`
	Connection string         `json:"connection,omitempty"`
	Address    string         `json:"address,omitempty"`
	Millis     float64        `json:"ms"`
	OK         bool           `json:"ok"`
	Type       flow.ErrorType `json:"type,omitempty"`
	Error      string         `json:"error,omitempty"`
	Hint       *text          `json:"hint,omitempty"`

	Filter   string `json:"filter,omitempty"`
	Consumer string `json:"consumer,omitempty"`
	Asked    int    `json:"asked"`
	Granted  *int   `json:"granted,omitempty"`

	Done           bool       `json:"done,omitempty"`
	ClientID       string     `json:"client_id,omitempty"`
	SessionPresent bool       `json:"session_present,omitempty"`
	Expires        *time.Time `json:"certificates_expire,omitempty"`
}

// A text is a text of the page in both languages.
type text struct {
	EN string `json:"en"`
	ZH string `json:"zh"`
}

// test runs the connection test (测试连接) for a text of the page.
func (c *configuration) test(ctx context.Context, r *http.Request, send func(any) error) error {
	in, err := decode[textRequest](r)
	if err == nil {
		err = c.lockFor(in.Text)
	}
	if err != nil {
		return err
	}
	cfg, err := c.usable(in.Text)
	if err == nil && c.testing {
		err = errBusy
	}
	c.testing = c.testing || err == nil
	scrub := c.veil.scrub
	c.mu.Unlock()
	if err != nil {
		return err
	}
	defer func() {
		c.mu.Lock()
		c.testing = false
		c.mu.Unlock()
	}()
	c.s.log.Info("ui: tests a connection", "broker_url", scrub(cfg.General.BrokerURL), "from", r.RemoteAddr)
	conn, err := connector.New(*cfg, connector.Options{Logger: c.s.log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	report := conn.Test(ctx, connector.TestOptions{OnStep: func(s connector.TestStep) {
		l := testLine{Step: string(s.Step), Connection: s.Connection, Address: s.Addr, Millis: float64(s.Took) / float64(time.Millisecond), OK: s.Err == nil}
		if s.Err != nil {
			l.Type, l.Error, l.Hint = s.Err.Type, scrub(s.Err.Description), &text{scrub(s.Hint), scrub(s.HintZH)}
		}
		if send(l) != nil {
			cancel()
		}
	}})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, g := range report.Grants {
		l := testLine{Filter: g.Filter, Consumer: g.Consumer, Asked: int(g.Asked), OK: g.Err == nil && report.Err() == nil}
		if granted := int(g.Granted); l.OK {
			l.Granted = &granted
		} else if g.Err != nil {
			l.Error = scrub(g.Err.Description)
		} else {
			continue // the test did not get that far
		}
		if err := send(l); err != nil {
			return err
		}
	}
	end := testLine{Done: true, OK: report.Err() == nil, ClientID: report.ClientID, SessionPresent: report.SessionPresent}
	if !report.CertificatesExpire.IsZero() {
		end.Expires = &report.CertificatesExpire
	}
	return send(end)
}
