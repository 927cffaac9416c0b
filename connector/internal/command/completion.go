package command

import (
	_ "embed"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/spf13/cobra"
)

func (p *Program) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: p.Say("Print the completion script of a shell", "输出 shell 自动补全脚本"),
		Long: p.Say(`Print the script that makes a shell complete commands, flags and their values: the
producers of a configuration, languages, qualities of service.`,
			`输出 shell 自动补全脚本：可补全命令、选项及其取值，例如配置中的 Producer、语言、QoS。`),
		Example: `  mqtt311 completion bash > /etc/bash_completion.d/mqtt311
  mqtt311 completion zsh > "${fpath[1]}/_mqtt311"
  mqtt311 completion fish > ~/.config/fish/completions/mqtt311.fish`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return Usage("name one shell: %s", "请给出一个 shell：%s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				_, err := io.WriteString(p.Stdout, bashCompletion)
				return err
			case "zsh":
				return root.GenZshCompletion(p.Stdout)
			case "fish":
				return root.GenFishCompletion(p.Stdout, true)
			}
			return root.GenPowerShellCompletionWithDesc(p.Stdout)
		},
	}
}

// bashCompletion needs nothing but bash, of version 4 or later: not the package bash-completion.
//
//go:embed completion.bash
var bashCompletion string

var shells = []string{"bash", "zsh", "fish", "powershell"}

// Complete sets the completion of a flag. It panics if the flag does not exist, which is a bug.
func Complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic("mqtt311: " + err.Error())
	}
}

// noFiles keeps a shell from offering files as values of flags.
func noFiles(cmd *cobra.Command, flags ...string) {
	for _, flag := range flags {
		Complete(cmd, flag, cobra.NoFileCompletions)
	}
}

// Values offers a fixed list; text after a tab in an entry is its description.
func Values(list ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// files offers files with these extensions.
func files(extensions ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(extensions, cobra.ShellCompDirectiveFilterFileExt)
}

// qualities offers the values of a QoS.
func (p *Program) qualities() cobra.CompletionFunc {
	return Values("0\t"+p.Say("at most once", "最多一次"), "1\t"+p.Say("at least once", "至少一次"), "2\t"+p.Say("exactly once", "恰好一次"))
}

// producers offers the producers in the configuration given on the same command line.
func producers(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	var names []string
	file := cmd.Flag("config").Value.String()
	if rest, ok := strings.CutPrefix(file, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			file = home + "/" + rest
		}
	}
	if cfg, _, err := config.Load(file); err == nil {
		for name, params := range cfg.Producers {
			if strings.HasPrefix(name, begun) {
				names = append(names, name+"\t"+params.Topic)
			}
		}
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

// logLevels offers the values of --log-level.
func logLevels() cobra.CompletionFunc { return Values("debug", "info", "warn", "error") }
