package command

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// man is not listed in the help: packagers call it once.
func (p *Program) man() *cobra.Command {
	return &cobra.Command{
		Use:    "man FOLDER",
		Hidden: true,
		Short:  p.Say("Write the manual pages into a folder", "将手册页写入文件夹"),
		Long: p.Say(`Write a manual page for each command into a folder, made of the same texts as --help.
With --lang zh they are in Chinese.`, `将各命令的手册页写入文件夹，内容与 --help 相同。使用 --lang zh 时为中文。`),
		Example: "  mqtt311 man /usr/local/share/man/man1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return Usage("name one folder", "请给出一个文件夹")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.writeMan(cmd.Root(), args[0]) },
	}
}

func (p *Program) writeMan(cmd *cobra.Command, dir string) error {
	var page strings.Builder
	p.manPage(&page, cmd)
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(page.String()), 0o644); err != nil {
		return Coded(ExitRuntime, err)
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			if err := p.writeMan(c, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// manPage writes a page in the macros of man(7).
func (p *Program) manPage(w io.Writer, cmd *cobra.Command) {
	path := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	fmt.Fprintf(w, ".TH %s 1 \"\" mqtt311\n", strings.ToUpper(roff(path)))
	section := func(en, zh string) { fmt.Fprintf(w, ".SH %s\n", p.Say(en, zh)) }
	section("NAME", "名称")
	fmt.Fprintf(w, "%s \\- %s\n", roff(path), roff(cmd.Short))
	section("SYNOPSIS", "用法")
	fmt.Fprintf(w, ".B %s\n", roff(p.useLine(cmd)))
	if cmd.Long != "" {
		section("DESCRIPTION", "说明")
		manText(w, cmd.Long)
	}
	if cmd.HasAvailableSubCommands() {
		section("COMMANDS", "命令")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(strings.ReplaceAll(c.CommandPath(), " ", "-")+"(1)"), roff(c.Short))
			}
		}
	}
	p.manFlags(w, p.Say("OPTIONS", "选项"), cmd.LocalFlags())
	p.manFlags(w, p.Say("OPTIONS OF EVERY COMMAND", "各命令通用选项"), cmd.InheritedFlags())
	if cmd.Example != "" {
		section("EXAMPLES", "示例")
		fmt.Fprintf(w, ".nf\n%s\n.fi\n", roff(cmd.Example))
	}
	if cmd.HasParent() {
		section("SEE ALSO", "参见")
		fmt.Fprintf(w, ".BR %s (1)\n", roff(strings.ReplaceAll(cmd.Parent().CommandPath(), " ", "-")))
	}
}

func (p *Program) manFlags(w io.Writer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(w, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			name, text := p.flagTexts(f)
			fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(name)), roff(text))
		}
	})
}

// manText writes paragraphs; lines that begin with a blank are not folded.
func manText(w io.Writer, text string) {
	asItIs := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if indented := strings.HasPrefix(line, " "); indented != asItIs {
			fmt.Fprintln(w, map[bool]string{true: ".nf", false: ".fi"}[indented])
			asItIs = indented
		}
		if line == "" {
			fmt.Fprintln(w, ".PP")
			continue
		}
		fmt.Fprintln(w, roff(line))
	}
	if asItIs {
		fmt.Fprintln(w, ".fi")
	}
}

var controlLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^([.'])`) })

// roff escapes text: a dash stays a dash that can be copied.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	return controlLine().ReplaceAllString(s, `\&$1`)
}
