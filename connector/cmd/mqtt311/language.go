package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// say returns the text in the user's language.
func (p *program) say(en, zh string) string {
	if p.lang == "zh" {
		return zh
	}
	return en
}

// language finds the language before anything is parsed, because the help is made of it:
// --lang, or else the locale of the environment.
func language(args []string, env func(string) string) string {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--lang="); ok {
			return v
		}
		if a == "--lang" && i+1 < len(args) {
			return args[i+1]
		}
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := env(name); v != "" {
			if strings.HasPrefix(strings.ToLower(v), "zh") {
				return "zh"
			}
			break
		}
	}
	return "en"
}

// help prints what a command is for and how to use it.
func (p *program) help(w io.Writer, cmd *cobra.Command) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintf(w, "%s\n\n%s\n  %s\n", text, p.say("Usage:", "用法："), p.useLine(cmd))
	if cmd.Example != "" {
		fmt.Fprintf(w, "\n%s\n%s\n", p.say("Examples:", "示例："), cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s\n", p.say("Commands:", "命令："))
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-*s  %s\n", cmd.NamePadding(), c.Name(), c.Short)
			}
		}
	}
	p.flags(w, p.say("Flags:", "选项："), cmd.LocalFlags())
	p.flags(w, p.say("Flags of every command:", "各命令通用选项："), cmd.InheritedFlags())
}

func (p *program) useLine(cmd *cobra.Command) string {
	line := cmd.CommandPath()
	if cmd.HasAvailableSubCommands() {
		line += " " + p.say("COMMAND", "命令")
	}
	if _, args, ok := strings.Cut(cmd.Use, " "); ok {
		line += " " + args
	}
	return line
}

func (p *program) flags(w io.Writer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	text := flags.FlagUsages()
	if p.lang == "zh" {
		text = strings.ReplaceAll(text, "(default ", "(默认 ")
	}
	fmt.Fprintf(w, "\n%s\n%s", title, text)
}

// flagError says in both languages what is wrong with the flags.
func (p *program) flagError(_ *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	zh := err.Error()
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		zh = fmt.Sprintf("没有选项 -%s", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		zh = fmt.Sprintf("没有选项 --%s", unknown.GetSpecifiedName())
	case errors.As(err, &missing):
		zh = fmt.Sprintf("选项 --%s 缺少取值", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		zh = fmt.Sprintf("选项 --%s 的取值 %q 无效：%v", invalid.GetFlag().Name, invalid.GetValue(), invalid.Unwrap())
	case errors.As(err, &syntax):
		zh = fmt.Sprintf("选项写法有误：%s", syntax.GetSpecifiedFlag())
	}
	return &codedError{code: exitUsage, err: err, zh: zh}
}

// noArgs refuses what stands beside the flags.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%q is not expected here: everything is given by flags", "此处不应有 %q：所有内容均通过选项给出", args[0])
	}
	return nil
}

// commandArgs is for commands that only have commands below them.
func commandArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usage("unknown command %q: did you mean %s?", "没有命令 %q：是否指 %s？", args[0], strings.Join(near, ", "))
	}
	return usage("unknown command %q", "没有命令 %q", args[0])
}
