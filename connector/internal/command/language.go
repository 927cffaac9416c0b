package command

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Say returns the text in the user's language.
func (p *Program) Say(en, zh string) string {
	if p.Lang == "zh" {
		return zh
	}
	return en
}

// helpWidth is the maximum width of help, in columns; narrower terminals have less.
const helpWidth = 80

// help prints what a command is for and how to use it.
func (p *Program) help(w io.Writer, cmd *cobra.Command) {
	h := &helpText{Text: terminal.NewText(w), width: helpWidth}
	if s, ok := w.(*terminal.Screen); ok {
		h.width = min(helpWidth, max(30, s.Width()-1))
	}
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	h.paragraphs(text)
	h.title(p.Say("Usage:", "用法："))
	h.folded("  ", "      ", p.useLine(cmd))
	if cmd.Example != "" {
		h.title(p.Say("Examples:", "示例："))
		h.Add(terminal.Plain, cmd.Example+"\n")
	}
	if cmd.HasAvailableSubCommands() {
		h.title(p.Say("Commands:", "命令："))
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				h.item(c.Name(), c.Short, cmd.NamePadding()+4)
			}
		}
	}
	p.flags(h, p.Say("Flags:", "选项："), cmd.LocalFlags())
	p.flags(h, p.Say("Flags of every command:", "各命令通用选项："), cmd.InheritedFlags())
	h.Print()
}

// A helpText is help text folded to a width.
type helpText struct {
	*terminal.Text
	width int
}

func (h *helpText) title(s string) {
	h.Add(terminal.Plain, "\n").Add(terminal.Bold, s).Add(terminal.Plain, "\n")
}

// paragraphs adds text, folding it except for lines that are empty or begin with a blank.
func (h *helpText) paragraphs(text string) {
	var paragraph string
	end := func() {
		if paragraph != "" {
			h.folded("", "", paragraph)
		}
		paragraph = ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == ' ':
			end()
			h.laidOut(line)
		case paragraph == "":
			paragraph = line
		default:
			paragraph += terminal.Joint(paragraph, line) + line
		}
	}
	end()
}

// laidOut adds a line that has columns; text that does not fit continues below its last column.
func (h *helpText) laidOut(line string) {
	if terminal.Columns(line) <= h.width {
		h.Add(terminal.Plain, line+"\n")
		return
	}
	text := strings.TrimLeft(line, " ")
	if _, last, ok := strings.Cut(text, "  "); ok {
		text = strings.TrimLeft(last, " ")
	}
	front := strings.TrimSuffix(line, text)
	h.folded(front, strings.Repeat(" ", terminal.Columns(front)), text)
}

// folded adds text, with one indent before its first line and another before the rest.
func (h *helpText) folded(first, rest, text string) {
	for i, line := range terminal.Fold(text, h.width-max(len(first), len(rest))) {
		if i > 0 {
			first = rest
		}
		h.Add(terminal.Plain, first+line+"\n")
	}
}

// item adds a name and its description, in columns.
func (h *helpText) item(name, text string, column int) {
	for _, line := range terminal.Fold(text, h.width-column) {
		if terminal.Columns(line) > h.width-column { // a word too long for a narrow terminal
			column = 8
		}
	}
	room := strings.Repeat(" ", column)
	if n := 2 + terminal.Columns(name); n+2 <= column {
		h.Add(terminal.Plain, "  ").Add(terminal.Bold, name).Add(terminal.Plain, room[n:])
	} else {
		h.Add(terminal.Plain, "  ").Add(terminal.Bold, name).Add(terminal.Plain, "\n"+room)
	}
	for i, line := range terminal.Fold(text, h.width-column) {
		if i > 0 {
			h.Add(terminal.Plain, room)
		}
		h.Add(terminal.Plain, line+"\n")
	}
}

func (p *Program) useLine(cmd *cobra.Command) string {
	line := cmd.CommandPath()
	if cmd.HasAvailableSubCommands() {
		line += " " + p.Say("COMMAND", "命令")
	}
	if _, args, ok := strings.Cut(cmd.Use, " "); ok {
		line += " " + args
	}
	return line
}

// flagColumn is the column at which the descriptions of flags begin.
const flagColumn = 26

func (p *Program) flags(h *helpText, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	h.title(title)
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			name, text := p.flagTexts(f)
			h.item(name, text, flagColumn)
		}
	})
}

// plainTexts removes the back quotes around value names from the descriptions of all flags, because shells would
// show them.
func plainTexts(cmd *cobra.Command) {
	plain := func(f *pflag.Flag) { _, f.Usage = pflag.UnquoteUsage(f) }
	cmd.Flags().VisitAll(plain)
	cmd.PersistentFlags().VisitAll(plain)
	for _, c := range cmd.Commands() {
		plainTexts(c)
	}
}

// flagTexts returns a flag as it is typed, and its description.
func (p *Program) flagTexts(f *pflag.Flag) (name, text string) {
	value, text := pflag.UnquoteUsage(f)
	if f.Value.Type() == "bool" {
		value = ""
	}
	name = "    --" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", --" + f.Name
	}
	if value != "" {
		name += " " + value
	}
	switch f.DefValue {
	case "", "0", "false", "[]", "0s":
	default:
		text += fmt.Sprintf(p.Say(" (default %s)", "（默认 %s）"), f.DefValue)
	}
	return name, text
}

// flagError returns an error, in both languages, about the flags.
func (p *Program) flagError(_ *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	zh := chinese.Of(err.Error())
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		zh = fmt.Sprintf("没有选项 -%s", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		zh = fmt.Sprintf("没有选项 --%s", unknown.GetSpecifiedName())
	case errors.As(err, &missing):
		zh = fmt.Sprintf("选项 --%s 缺少取值", missing.GetFlag().Name)
	case errors.As(err, &invalid) && kinds[invalid.GetFlag().Value.Type()] != [2]string{}:
		kind := kinds[invalid.GetFlag().Value.Type()]
		if errors.Is(invalid.Unwrap(), strconv.ErrRange) {
			kind = [2]string{"a smaller number", "更小的数"}
		}
		return Usage("--%[1]s is %[2]q: %[3]s is expected", "--%[1]s 为 %[2]q：应为%[4]s", invalid.GetFlag().Name, invalid.GetValue(), kind[0], kind[1])
	case errors.As(err, &invalid):
		zh = fmt.Sprintf("选项 --%s 的取值 %q 无效：%v", invalid.GetFlag().Name, invalid.GetValue(), chineseOf(invalid.Unwrap()))
	case errors.As(err, &syntax):
		zh = fmt.Sprintf("选项写法有误：%s", syntax.GetSpecifiedFlag())
	}
	return &codedError{code: ExitUsage, err: err, zh: zh}
}

// kinds are the values that flags expect, by type.
var kinds = map[string][2]string{
	"int":      {"a whole number", "整数"},
	"float64":  {"a number", "数字"},
	"duration": {"a number with a unit, such as 500ms or 2s,", "带单位的时长，例如 500ms 或 2s"},
	"bool":     {"true or false", " true 或 false"},
}

// NoArgs refuses arguments other than flags.
func NoArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usage("%q is not expected here: everything is given by flags", "此处不应有 %q：所有内容均通过选项给出", args[0])
	}
	return nil
}

// commandArgs is for commands that only have subcommands.
func commandArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return Usage("unknown command %q: did you mean %s?", "没有命令 %q：是否指 %s？", args[0], strings.Join(near, ", "))
	}
	return Usage("unknown command %q", "没有命令 %q", args[0])
}
