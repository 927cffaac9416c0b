package command

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/stepwise"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

func (p *Program) profiles() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile",
		Short: p.Say("Save servers and options under names", "以名称保存服务端与选项"),
		Long: p.Say(`Save servers and options under names, for --profile of pub, sub and other commands. They
are in mqtt311/profiles.yaml in the user's configuration folder. The file never contains a
password, only its source: a file, an environment variable, a command, or a prompt on the
terminal.`,
			`以名称保存服务端与选项，供 pub、sub 等命令的 --profile 使用。保存在用户配置目录的
mqtt311/profiles.yaml 中。密码不会写入该文件，只记录其来源：文件、环境变量、命令，或在终端上输入。`),
		Example: `  mqtt311 profile add plant -L mqtts://line-7@mq.example.com --pw-file ~/.plant
  mqtt311 profile test plant
  mqtt311 sub --profile plant -t 'plant/#'`,
		Args: commandArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.profileList(), p.profileAdd(), p.profileRemove(), p.profileTest())
	return cmd
}

// profileNames offers the names of profiles.
func profileNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	f, err := openProfiles()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return f.names(), cobra.ShellCompDirectiveNoFileComp
}

// oneProfile requires the name of a profile as the only argument.
func oneProfile(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return Usage("the name of the profile is missing", "缺少配置档名称")
	case len(args) > 1:
		return NoArgs(nil, args[1:])
	case !isProfileName(args[0]):
		return Usage("%q is no name of a profile: use letters, digits, dots, dashes and underscores", "%q 不是合法的配置档名称：请使用字母、数字、点、横线和下划线", args[0])
	}
	return nil
}

// A profileLine is a profile in JSON.
type profileLine struct {
	Name     string            `json:"name"`
	Options  map[string]string `json:"options"`
	Password string            `json:"password,omitempty"` // the source of the password
}

func (p *Program) profileList() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   p.Say("List the profiles, without secrets", "列出配置档，不含密码"),
		Example: "  mqtt311 profile ls --json",
		Args:    NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := openProfiles()
			if err != nil {
				return err
			}
			for _, name := range f.names() {
				profile, err := f.profile(name)
				if err != nil {
					return err
				}
				p.printProfile(name, profile)
			}
			if len(f.names()) == 0 && !p.JSON {
				fmt.Fprintf(p.Stdout, p.Say("no profiles in %s\n", "%s 中没有配置档\n"), lint.Show(f.path))
			}
			return nil
		},
	}
}

func (p *Program) printProfile(name string, profile *profile) {
	l := profileLine{Name: name, Options: make(map[string]string)}
	switch {
	case profile.prompt:
		l.Password = "prompt"
	case profile.from != nil:
		l.Password = profile.from.String()
	}
	var parts []string
	for _, v := range profile.values {
		if v.option == "ws-header" { // a header may contain a token
			v.value, _, _ = strings.Cut(v.value, ":")
		}
		if v.option == "proxy" || v.option == "url" {
			v.value = withoutPassword(v.value)
		}
		l.Options[v.option] = v.value
		parts = append(parts, v.option+" "+lint.Show(v.value))
	}
	if l.Password != "" {
		parts = append(parts, p.Say("password: ", "密码：")+lint.Show(l.Password))
	}
	if p.JSON {
		p.JSONLine(l)
		return
	}
	fmt.Fprintf(p.Stdout, "%s: %s\n", name, strings.Join(parts, ", "))
}

// withoutPassword removes the user name and password from a URL that has a password.
func withoutPassword(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	end := len(rest)
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		end = i
	}
	if at := strings.LastIndexByte(rest[:end], '@'); ok && at >= 0 && strings.Contains(rest[:at], ":") {
		return scheme + "://…" + rest[at:]
	}
	return raw
}

func (p *Program) profileAdd() *cobra.Command {
	c, replace := new(Connection), false
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: p.Say("Add a profile with the given options", "以给出的选项添加配置档"),
		Example: `  mqtt311 profile add plant -L mqtts://line-7@mq.example.com --pw-file ~/.plant
  mqtt311 profile add lab -b 10.0.0.7:1883 -u me --pw-exec 'pass lab' --replace`,
		Args: oneProfile,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := openProfiles()
			if err != nil {
				return err
			}
			if f.node(args[0]) != nil && !replace {
				return Usage("there is a profile %q: --replace puts the new one in its place", "已有配置档 %q：可用 --replace 替换", args[0])
			}
			node, err := c.asProfile()
			if err != nil {
				return err
			}
			f.set(args[0], node)
			return f.save()
		},
	}
	c.Flags(p, cmd)
	for _, name := range []string{"profile", "will-topic", "will-payload", "will-qos", "will-retain", "protocol-version", "debug", "quiet", "nodelay"} {
		cmd.Flags().MarkHidden(name) // these belong to one call, not to a server
	}
	cmd.Flags().BoolVar(&replace, "replace", false, p.Say("put it in the place of a profile of that name", "替换同名配置档"))
	return cmd
}

// asProfile returns the given options as a profile. They must be valid for a connection.
func (c *Connection) asProfile() (*yaml.Node, error) {
	switch {
	case c.given("pw"):
		return nil, Usage("--pw: a password is not stored: name a file, a variable or a command with --pw-file, --pw-env or --pw-exec, or --pw-prompt", "--pw：不保存密码本身：请用 --pw-file、--pw-env、--pw-exec 或 --pw-prompt")
	case c.givenOf("broker", "host", "url", "unix") == "":
		return nil, Usage("the server is missing: --url, --broker, --host or --unix", "缺少服务端：--url、--broker、--host 或 --unix")
	}
	var wrong error
	node := mapping()
	c.set.Visit(func(f *pflag.Flag) {
		switch {
		case f.Name == "replace", f.Name == "json", f.Name == "lang", slices.Contains(passwordOptions, f.Name):
		case !slices.Contains(profileOptions, f.Name):
			wrong = Usage("--%s is not kept in a profile", "--%s 不保存在配置档中", f.Name)
		case f.Name == "ws-header":
			list := &yaml.Node{Kind: yaml.SequenceNode}
			for _, h := range c.headers {
				list.Content = append(list.Content, scalar(h))
			}
			node.Content = append(node.Content, scalar(f.Name), list)
		default:
			value := f.Value.String()
			if slices.Contains([]string{"cafile", "cert", "key", "unix"}, f.Name) {
				value = absolute(value)
			}
			node.Content = append(node.Content, scalar(f.Name), scalar(value))
		}
	})
	if wrong != nil {
		return nil, wrong
	}
	if err := c.numbers(); err != nil {
		return nil, err
	}
	c.draft = true
	s, err := c.server()
	switch {
	case err != nil:
		return nil, err
	case c.given("url") && s.password != nil && passwordInURL(c.url):
		return nil, Usage("--url has a password, which is not stored: --pw-file, --pw-env, --pw-exec or --pw-prompt say where it is", "--url 含有密码，不会保存：请用 --pw-file、--pw-env、--pw-exec 或 --pw-prompt 给出来源")
	case s.topic != "":
		return nil, Usage("--url has a topic, which is not of the server: leave it out", "--url 含有主题，不属于服务端：请去掉")
	}
	if from := c.passwordFrom(); from != nil {
		source := mapping()
		switch {
		case from.File != "":
			source.Content = append(source.Content, scalar("file"), scalar(absolute(from.File)))
		case from.Env != "":
			source.Content = append(source.Content, scalar("env"), scalar(from.Env))
		default:
			list := &yaml.Node{Kind: yaml.SequenceNode}
			for _, arg := range from.Exec {
				list.Content = append(list.Content, scalar(arg))
			}
			source.Content = append(source.Content, scalar("exec"), list)
		}
		source.Style = yaml.FlowStyle
		node.Content = append(node.Content, scalar("password"), source)
	} else if c.ask {
		yes := new(yaml.Node)
		yes.Kind, yes.Value = yaml.ScalarNode, "true"
		source := mapping(scalar("prompt"), yes)
		source.Style = yaml.FlowStyle
		node.Content = append(node.Content, scalar("password"), source)
	}
	return node, nil
}

// absolute returns a path that is the same in every directory.
func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

func (p *Program) profileRemove() *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME",
		Short:             p.Say("Remove a profile", "删除配置档"),
		Example:           "  mqtt311 profile rm plant",
		Args:              oneProfile,
		ValidArgsFunction: profileNames,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := openProfiles()
			if err != nil {
				return err
			}
			if !f.remove(args[0]) {
				return Usage("there is no profile %q", "没有配置档 %q", args[0])
			}
			return f.save()
		},
	}
}

func (p *Program) profileTest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test NAME",
		Short: p.Say("Test the connection of a profile step by step", "逐步测试配置档的连接"),
		Long: p.Say(`Test the connection of a profile step by step. The client id has a random suffix and the
session is clean, so that no other client is disturbed.`,
			`逐步测试配置档的连接。客户端 ID 带随机后缀并清除会话，不影响其他客户端。`),
		Example:           "  mqtt311 profile test plant",
		Args:              oneProfile,
		ValidArgsFunction: profileNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return p.testProfile(cmd.Context(), args[0]) },
	}
	EndsInOrder(cmd)
	return cmd
}

// testProfile tests the connection of a profile.
func (p *Program) testProfile(ctx context.Context, name string) error {
	c, cmd := new(Connection), new(cobra.Command)
	c.Flags(p, cmd)
	if err := cmd.Flags().Set("profile", name); err != nil {
		return Coded(ExitUsage, err)
	}
	failed := false
	tell := stepwise.Settled(func(st transport.StepTime) {
		s := connector.TestStep{Step: st.Step, Addr: st.Addr, Took: st.Took, Err: flow.AsError(st.Err)}
		if s.Err != nil {
			failed = true
			s.Hint = p.hint(ExitConnection, st.Err)
			s.HintZH = s.Hint // it is in the language of the user
		}
		p.printStep(s)
	})
	start := time.Now()
	step := func(step transport.Step, err error) {
		tell(transport.StepTime{Step: step, Took: time.Since(start), Err: err})
	}
	c.onStep = func(s transport.StepTime) {
		tell(s)
		start = time.Now()
	}
	s, err := c.server()
	if err != nil {
		return err
	}
	cfg, err := c.config(ctx, p, s)
	if err != nil {
		return err
	}
	cfg.ClientID, cfg.CleanSession, cfg.NoReconnect = c.clientID()+"-test-"+randomEnd(), true, true
	conn, err := client.New(cfg)
	if err != nil {
		return Coded(ExitUsage, err)
	}
	if err := conn.Connect(ctx); err != nil {
		err = unwrapClosed(err)
		if !failed {
			step(connector.StepConnect, err)
		}
		return Fail(ExitConnection, "connect: %w", "连接失败：%w", err)
	}
	step(connector.StepConnect, nil)
	start = time.Now()
	within, cancel := p.Closing(ctx)
	defer cancel()
	err = Leave(within, conn)
	step(connector.StepDisconnect, err)
	return Coded(ExitConnection, err)
}
