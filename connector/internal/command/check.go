package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/spf13/cobra"
)

// configFlag adds the configuration argument of a command that needs one: -c FILE, or FILE alone.
func (p *Program) configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", p.Say("YAML or JSON `file`", "YAML 或 JSON 配置文件 `file`"))
	Complete(cmd, "config", files("yaml", "yml", "json"))
	cmd.ValidArgsFunction = files("yaml", "yml", "json")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		for _, name := range args {
			if *file != "" && *file != name {
				return Usage("%q stands beside the configuration %s: give one file", "%q 与配置文件 %s 同时给出：只需一个文件", name, *file)
			}
			*file = name
		}
		return nil
	}
}

func (p *Program) check() *cobra.Command {
	var file string
	var strict bool
	cmd := &cobra.Command{
		Use:   "check [-c] FILE",
		Short: p.Say("Check a connector's configuration", "检查连接器配置"),
		Long: p.Say(`Check a connector's configuration: every mistake and every warning, each with its place
and what to do. Mistakes end with exit code 8; warnings alone with 0, or with 8 by --strict.
Nothing is connected to: mqtt311 test does that.`,
			`检查连接器配置：列出所有错误和警告及其位置、修正方法。有错误时退出码为 8；仅有警告时为 0，
加 --strict 则为 8。不会连接服务端，连接测试请用 mqtt311 test。`),
		Example: `  mqtt311 check -c connector.yaml
  mqtt311 check -c connector.yaml --json --lang zh`,
		RunE: func(*cobra.Command, []string) error {
			if file == "" {
				return missingConfig()
			}
			_, findings, err := config.Load(file)
			var known *connector.ConfigError
			if err != nil && !errors.As(err, &known) {
				return Coded(ExitUsage, err)
			}
			mistakes := p.printFindings(p.Stdout, file, findings)
			switch {
			case mistakes > 0:
				return Fail(ExitFindings, "mistakes in %s: %d", "%s 中的错误：%d 处", file, mistakes)
			case strict && len(findings) > 0:
				return Fail(ExitFindings, "warnings in %s: %d", "%s 中的警告：%d 处", file, len(findings))
			case len(findings) == 0 && !p.JSON:
				fmt.Fprintln(p.Stdout, file+p.Say(": no problems found", "：没有发现问题"))
			}
			return nil
		},
	}
	p.configFlag(cmd, &file)
	cmd.Flags().BoolVar(&strict, "strict", false, p.Say("warnings count like mistakes", "警告按错误处理"))
	return cmd
}

func missingConfig() error {
	return Usage("--config is missing: give the configuration as -c FILE", "缺少 --config：请用 -c FILE 给出配置文件")
}

// load reads a configuration for a command that needs a valid one. Otherwise it prints the mistakes to standard error.
// The findings of a valid configuration are warnings.
func (p *Program) load(file string) (*connector.Config, []connector.Finding, error) {
	if file == "" {
		return nil, nil, missingConfig()
	}
	cfg, findings, err := config.Load(file)
	var known *connector.ConfigError
	switch {
	case errors.As(err, &known):
		mistakes := p.printFindings(p.Stderr, file, findings)
		return nil, nil, Usage("mistakes in %s: %d", "%s 中的错误：%d 处", file, mistakes)
	case err != nil:
		return nil, nil, Coded(ExitUsage, err)
	}
	return cfg, findings, nil
}

// printFindings writes findings and returns the number of mistakes.
func (p *Program) printFindings(w io.Writer, file string, findings []connector.Finding) (mistakes int) {
	for _, f := range findings {
		if f.IsError() {
			mistakes++
		}
		if p.JSON {
			json.NewEncoder(w).Encode(f)
			continue
		}
		style := terminal.Yellow
		if f.IsError() {
			style = terminal.Red
		}
		place, rest, _ := strings.Cut(f.Text(p.Lang), string(f.Code))
		t := terminal.NewText(w)
		if s, ok := w.(*status); ok {
			t = terminal.TextThrough(s, s.screen)
		}
		t.Add(terminal.Plain, file+":"+place).Add(style, string(f.Code)).Add(terminal.Plain, rest+"\n").Print()
	}
	return mistakes
}

// tell shows findings on a terminal, and otherwise logs them.
func (p *Program) tell(show *status, log *slog.Logger, file string, findings []connector.Finding) {
	if show.on {
		p.printFindings(show, file, findings)
		return
	}
	for _, f := range findings {
		level := slog.LevelWarn
		if f.IsError() {
			level = slog.LevelError
		}
		log.Log(context.Background(), level, p.Say(f.Message, f.MessageZH), "code", f.Code, "path", f.Path, "line", f.Line, "column", f.Column, "fix", p.Say(f.Fix, f.FixZH))
	}
}

func (p *Program) schema() *cobra.Command {
	var editor bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: p.Say("Print the JSON Schema of a configuration", "输出配置的 JSON Schema"),
		Long: p.Say(`Print the JSON Schema (draft 2020-12) of a configuration in canonical spelling, for programs that write
one. --editor prints that for editors: it accepts what mqtt311 check accepts, with the labels of the platform and
other spellings, and completes both. mqtt311 check knows more.`,
			`输出配置的 JSON Schema（2020-12），只含规范写法，供生成配置的程序使用。--editor 输出供编辑器使用的版本：
接受 mqtt311 check 接受的全部写法，包括平台的中文名称，并可补全。mqtt311 check 的检查更全面。`),
		Example: `  mqtt311 schema > connector.schema.json
  mqtt311 schema --editor > connector.editor.schema.json`,
		Args: NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text := config.Schema()
			if editor {
				text = config.EditorSchema()
			}
			_, err := p.Stdout.Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&editor, "editor", false, p.Say("accept labels and other spellings, as check does", "与 check 一样接受中文名称和其他写法"))
	return cmd
}

// Set in a release: -ldflags "-X .../connector/internal/command.version=1.2.3".
var version, commit string

func (p *Program) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   p.Say("Print the version", "输出版本"),
		Example: "  mqtt311 version --json",
		Args:    NoArgs,
		RunE:    func(*cobra.Command, []string) error { return p.printVersion() },
	}
}

func (p *Program) printVersion() error {
	version := cmp.Or(version, "(devel)")
	if info, ok := debug.ReadBuildInfo(); ok && version == "(devel)" && info.Main.Version != "" {
		version = info.Main.Version
	}
	if p.JSON {
		about := map[string]string{"version": version, "protocol": "MQTT 3.1.1", "go": runtime.Version()}
		if commit != "" {
			about["commit"] = commit
		}
		return p.JSONLine(about)
	}
	_, err := fmt.Fprintf(p.Stdout, "%s %s, MQTT 3.1.1, %s %s/%s\n", p.name(), version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
