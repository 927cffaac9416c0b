package verbs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// serverOf returns the server of a configuration file, and the configuration. Without a file it returns the server
// that the options describe, and nil. Besides the file, only the options in own, of the verb itself, may be given.
func serverOf(ctx context.Context, p *command.Program, cmd *cobra.Command, options *command.Connection, file string, own ...string) (client.Config, *connector.Config, error) {
	if file == "" {
		cfg, err := options.Config(ctx, p)
		return cfg, nil, err
	}
	var beside string
	own = append(own, "config", "quiet", "debug", "lang", "json")
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains(own, f.Name) {
			beside = f.Name
		}
	})
	if beside != "" {
		return client.Config{}, nil, command.Usage("--%s stands beside --config: the server is that of the configuration", "--%s 与 --config 同时给出：服务端取自配置", beside)
	}
	cfg, findings, err := config.Load(file)
	var mistakes *connector.ConfigError
	switch {
	case errors.As(err, &mistakes):
		for _, f := range findings {
			if f.IsError() {
				p.Warn(file+":"+f.Text("en"), file+":"+f.Text("zh"))
			}
		}
		return client.Config{}, nil, command.Usage("mistakes in %s: run mqtt311 check", "%s 有错误：请运行 mqtt311 check", file)
	case err != nil:
		return client.Config{}, nil, command.Coded(command.ExitUsage, err)
	}
	made, err := cfg.ClientConfig()
	return made, cfg, command.Coded(command.ExitUsage, err)
}

// ask asks on a terminal whether to proceed; elsewhere --yes is required.
func ask(ctx context.Context, p *command.Program, yes bool, en, zh string) error {
	if yes {
		return nil
	}
	in, ok := p.Stdin.(*os.File)
	if !ok || !terminal.Is(in) {
		return command.Usage("%[1]s: add --yes to confirm", "%[2]s：请加 --yes 确认", en, zh)
	}
	fmt.Fprint(p.Stderr, p.Say(en+". Continue? [y/N] ", zh+"。是否继续？[y/N] "))
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		if line == "y" || line == "yes" || line == "是" {
			return nil
		}
		return command.Fail(command.ExitInterrupt, "nothing was done", "未进行任何操作")
	case <-ctx.Done():
		return ctx.Err()
	}
}
