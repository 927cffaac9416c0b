package verbs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/deadletters"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

// DeadLetter returns the verb deadletter.
func DeadLetter(p *command.Program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deadletter",
		Short: p.Say("Look at dead letters, replay, copy and remove them", "查看、重放、复制与删除死信"),
		Long: p.Say(`Look at the dead letters of a file, replay, copy and remove them. The connector may run and write to the file
meanwhile: what is done is appended to the file, under the lock that the connector takes, and no line is ever changed.

A dead letter has an id of 16 hexadecimal digits; as many of its first digits as are needed are enough.`,
			`查看、重放、复制与删除死信文件中的死信。连接器可同时运行并写入该文件：所有操作都在连接器使用的同一把锁下追加到文件末尾，
不改动已有的行。

每条死信有一个 16 位十六进制的标识，给出足以区分的前几位即可。`),
		Example: `  mqtt311 deadletter ls dead.jsonl
  mqtt311 deadletter show dead.jsonl 3f2a
  mqtt311 deadletter replay dead.jsonl --all --exec ./store`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(deadLetterList(p), deadLetterShow(p), deadLetterCopy(p), deadLetterReplay(p), deadLetterRemove(p), deadLetterCollect(p))
	return cmd
}

// A letterLine is a dead letter in JSON.
type letterLine struct {
	ID    deadletters.ID `json:"id"`
	State string         `json:"state"`
	Size  int64          `json:"size"`
	*deadletters.Record
}

var stateNames = map[deadletters.State]string{deadletters.Waiting: "待处理", deadletters.WasReplayed: "已重放", deadletters.WasRemoved: "已删除"}

// A letterAct is what was done with a dead letter, in JSON.
type letterAct struct {
	Letter deadletters.ID  `json:"letter"`
	Act    string          `json:"act"` // removed, copied, replayed, failed, collected
	Copy   *deadletters.ID `json:"copy,omitempty"`
	To     string          `json:"to,omitempty"` // of replay: a step, or topic and a name
	Error  string          `json:"error,omitempty"`
	Topic  string          `json:"topic,omitempty"` // of collect
	Size   *int64          `json:"size,omitempty"`  // of collect, of the payload
}

// actJSON prints an act with --json, and nothing otherwise.
func actJSON(p *command.Program, a letterAct) error {
	if !p.JSON {
		return nil
	}
	return p.JSONLine(a)
}

// openLetters opens a file, and warns of lines that it cannot read.
func openLetters(ctx context.Context, p *command.Program, path string) (*deadletters.File, error) {
	f, err := deadletters.Open(ctx, path)
	if err != nil {
		return nil, command.Coded(command.ExitUsage, err)
	}
	first, all, torn := f.Faults()
	if all > 0 {
		p.Warn(fmt.Sprintf("%s: lines that cannot be read: %d; the first begins at byte %d: %v", path, all, first[0].At, first[0].Reason),
			fmt.Sprintf("%s：无法读取的行：%d；第一行始于字节 %d：%s", path, all, first[0].At, chinese.Of(first[0].Reason.Error())))
	}
	if torn {
		p.Warn(path+": the last line has no end: it is being written, or a crash has cut it off", path+"：最后一行没有结尾：正在写入，或因崩溃而中断")
	}
	return f, nil
}

// find returns the dead letter with an id.
func find(f *deadletters.File, id string) (deadletters.Entry, error) {
	e, err := f.Find(strings.ToLower(id))
	var not *deadletters.FindError
	switch {
	case errors.As(err, &not) && not.Many:
		return e, command.Usage("several ids begin with %q: give more digits", "有多个标识以 %q 开头：请给出更多位", id)
	case errors.As(err, &not):
		return e, command.Usage("no dead letter in %[2]s has an id that begins with %[1]q", "%[2]s 中没有标识以 %[1]q 开头的死信", id, f.Path())
	}
	return e, err
}

// A choice selects dead letters: by ids, or all that wait and match.
type choice struct {
	all    bool
	search string
}

func (c *choice) flags(p *command.Program, cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.all, "all", false, p.Say("all that wait", "所有待处理的死信"))
	cmd.Flags().StringVar(&c.search, "search", "", p.Say("of --all those that have this `text` in topic, consumer, key, error or payload", "--all 中主题、Consumer、键、错误或内容含有文本 `text` 的死信"))
	command.Complete(cmd, "search", cobra.NoFileCompletions)
}

// of returns the selected dead letters.
func (c *choice) of(ctx context.Context, f *deadletters.File, ids []string) (chosen []deadletters.Entry, err error) {
	switch {
	case c.all == (len(ids) > 0):
		return nil, command.Usage("give ids, or --all", "请给出标识，或 --all")
	case c.search != "" && !c.all:
		return nil, command.Usage("--search needs --all", "--search 需要 --all")
	}
	for _, id := range ids {
		e, err := find(f, id)
		if err != nil {
			return nil, err
		}
		if e.State == deadletters.WasRemoved {
			return nil, command.Usage("%s was removed", "%s 已删除", e.ID)
		}
		if !slices.ContainsFunc(chosen, func(o deadletters.Entry) bool { return o.ID == e.ID }) { // named twice, it is meant once
			chosen = append(chosen, e)
		}
	}
	for i := range f.Len() {
		e := f.At(i)
		if !c.all || e.State != deadletters.Waiting {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r, err := f.Record(e)
		if err != nil {
			return nil, err
		}
		if f.Has(e, r, c.search) {
			chosen = append(chosen, e)
		}
	}
	return chosen, nil
}

func fileAndIDs(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return command.Usage("name the file of dead letters", "请指定死信文件")
		case len(args)-1 < least:
			return command.Usage("name the dead letter by its id: mqtt311 deadletter ls %s", "请用标识指定死信：mqtt311 deadletter ls %s", args[0])
		case most >= 0 && len(args)-1 > most:
			return command.Usage("%q is not expected here", "此处不应有 %q", args[most+1])
		}
		return nil
	}
}

func deadLetterList(p *command.Program) *cobra.Command {
	var all bool
	var search string
	cmd := &cobra.Command{
		Use:   "ls FILE",
		Short: p.Say("List the dead letters that wait", "列出待处理的死信"),
		Long: p.Say(`List the dead letters of a file that wait, in the order of the file. --json prints what the connector wrote of each, with its
id, state and size, and without its payload.`, `按文件中的顺序列出待处理的死信。--json 输出连接器写下的内容，以及标识、状态与大小，不含消息内容。`),
		Example: `  mqtt311 deadletter ls dead.jsonl
  mqtt311 deadletter ls dead.jsonl --search 'no such table'
  mqtt311 deadletter ls dead.jsonl --json | jq -r 'select(.attempts > 3) | .id'`,
		Args: fileAndIDs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := openLetters(cmd.Context(), p, args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			return listLetters(cmd.Context(), p, f, all, search)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, p.Say("list the replayed and the removed ones, too", "也列出已重放与已删除的死信"))
	cmd.Flags().StringVar(&search, "search", "", p.Say("those that have this `text` in topic, consumer, key, error or payload", "主题、Consumer、键、错误或内容含有文本 `text` 的死信"))
	command.Complete(cmd, "search", cobra.NoFileCompletions)
	return cmd
}

func listLetters(ctx context.Context, p *command.Program, f *deadletters.File, all bool, search string) error {
	width := 0
	if s, ok := p.Stdout.(*terminal.Screen); ok {
		width = s.Width()
	}
	for i := range f.Len() {
		e := f.At(i)
		if !all && e.State != deadletters.Waiting {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r, err := f.Record(e)
		if err != nil {
			return err
		}
		if !f.Has(e, r, search) {
			continue
		}
		if p.JSON {
			if err := p.JSONLine(letterLine{e.ID, e.State.String(), e.Size, r}); err != nil {
				return err
			}
			continue
		}
		line := fmt.Sprintf("%s  %s  %s  %s", e.ID, r.Time.Local().Format(time.DateTime), bytesText(e.Size), p.Say(e.State.String(), stateNames[e.State]))
		if !all {
			line = fmt.Sprintf("%s  %s  %s", e.ID, r.Time.Local().Format(time.DateTime), bytesText(e.Size))
		}
		line += "  " + terminal.EscapeLine(r.Topic)
		if why := reason(p, r); why != "" {
			line += "  " + terminal.EscapeLine(why)
		}
		if width > 0 {
			line = terminal.Cut(line, width)
		}
		if _, err := fmt.Fprintln(p.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// reason returns the error as the connector recorded it, in the language of the command.
func reason(p *command.Program, r *deadletters.Record) string {
	why := r.Why()
	return p.Say(why, chinese.Of(why))
}

// bytesText formats a size in six columns.
func bytesText(n int64) string {
	unit, f := 0, float64(n)
	for ; f >= 1000; unit++ {
		f /= 1024
	}
	if unit == 0 {
		return fmt.Sprintf("%4d B", n)
	}
	return fmt.Sprintf("%4.3g %c", f, " KMGT"[unit])
}

// shownPayload is how much of a payload show prints by default.
const shownPayload = 4096

func deadLetterShow(p *command.Program) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "show FILE ID",
		Short: p.Say("Show a dead letter, its error and its payload", "显示一条死信及其错误与内容"),
		Long: p.Say(`Show what is known of a dead letter and the beginning of its payload, as text or in hexadecimal. --payload prints the payload alone, as it
is; --json the record with all of its payload in base64.`, `显示一条死信的信息与内容的开头，以文本或十六进制。--payload 只原样输出内容；--json 输出整条记录，内容为 base64。`),
		Example: `  mqtt311 deadletter show dead.jsonl 3f2a
  mqtt311 deadletter show dead.jsonl 3f2a --payload > order.json`,
		Args: fileAndIDs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := openLetters(cmd.Context(), p, args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			e, err := find(f, args[1])
			if err != nil {
				return err
			}
			if raw {
				_, err := io.Copy(p.Stdout, f.Payload(e))
				return command.Coded(command.ExitRuntime, err)
			}
			return showLetter(p, f, e)
		},
	}
	cmd.Flags().BoolVar(&raw, "payload", false, p.Say("print the payload alone", "只输出内容"))
	return cmd
}

func showLetter(p *command.Program, f *deadletters.File, e deadletters.Entry) error {
	r, err := f.Record(e)
	if err != nil {
		return err
	}
	if p.JSON {
		return letterJSON(p.Stdout, letterLine{e.ID, e.State.String(), e.Size, r}, f.Payload(e))
	}
	rows := [][]string{
		{p.Say("id", "标识"), e.ID.String()},
		{p.Say("state", "状态"), p.Say(e.State.String(), stateNames[e.State])},
		{p.Say("time", "时间"), r.Time.Local().Format(time.RFC3339)},
		{p.Say("received", "收到"), ""},
		{"Consumer", r.Consumer},
		{p.Say("topic", "主题"), r.Topic},
		{"QoS", fmt.Sprint(int(r.QoS))},
		{p.Say("message id", "消息 ID"), fmt.Sprint(r.MessageID)},
		{p.Say("key", "键"), r.Key},
		{p.Say("attempts", "次数"), fmt.Sprint(r.Attempts)},
		{p.Say("error", "错误"), reason(p, r)},
	}
	if !r.Received.IsZero() {
		rows[3][1] = r.Received.Local().Format(time.RFC3339)
	}
	if r.CopyOf != nil {
		rows = append(rows, []string{p.Say("copy of", "复制自"), r.CopyOf.String()})
	}
	for _, row := range rows {
		row[1] = terminal.EscapeLine(row[1])
	}
	if _, err := fmt.Fprint(p.Stdout, columns(rows)); err != nil {
		return err
	}
	begin, err := io.ReadAll(io.LimitReader(f.Payload(e), shownPayload))
	if err != nil {
		return command.Fail(command.ExitRuntime, "the payload cannot be read: %w", "内容无法读取：%w", err)
	}
	more := e.Size - int64(len(begin))
	if more > 0 { // do not divide a character
		for n := 0; n < utf8.UTFMax && !utf8.Valid(begin) && len(begin) > 0; n++ {
			begin, more = begin[:len(begin)-1], more+1
		}
	}
	text := hexText(begin)
	if utf8.Valid(begin) {
		text = string(terminal.EscapeText(begin))
	}
	fmt.Fprintf(p.Stdout, p.Say("\npayload, bytes: %d\n%s\n", "\n内容，字节数：%d\n%s\n"), e.Size, strings.TrimRight(text, "\n"))
	if more > 0 {
		fmt.Fprintf(p.Stdout, p.Say("... and more bytes: %d; see --payload\n", "……其余字节数：%d；见 --payload\n"), more)
	}
	return nil
}

func hexText(b []byte) string {
	var out strings.Builder
	for i := 0; i < len(b); i += 16 {
		fmt.Fprintf(&out, "%08x  % x\n", i, b[i:min(i+16, len(b))])
	}
	return out.String()
}

// letterJSON writes a dead letter with its payload, which may be long.
func letterJSON(w io.Writer, l letterLine, payload io.Reader) error {
	head, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(head[:len(head)-1], `,"payload":"`...)); err != nil {
		return err
	}
	text := base64.NewEncoder(base64.StdEncoding, w)
	if _, err := io.Copy(text, payload); err != nil {
		return command.Coded(command.ExitRuntime, err)
	}
	text.Close()
	_, err = io.WriteString(w, "\"}\n")
	return err
}

func deadLetterCopy(p *command.Program) *cobra.Command {
	var topic, message, file string
	cmd := &cobra.Command{
		Use:   "edit FILE ID (-m TEXT | -f PAYLOAD-FILE | -t TOPIC)",
		Short: p.Say("Append a copy of a dead letter with another payload or topic", "追加一条内容或主题不同的死信副本"),
		Long: p.Say(`Append a copy of a dead letter with another payload, another topic, or both, and print its id. The dead letter itself stays as it
is: replay or remove it as well.`, `追加一条死信的副本，可更换内容、主题或两者，并输出副本的标识。原死信保持不变，可另行重放或删除。`),
		Example: `  mqtt311 deadletter show dead.jsonl 3f2a --payload > order.json
  mqtt311 deadletter edit dead.jsonl 3f2a -f order.json
  mqtt311 deadletter edit dead.jsonl 3f2a -t orders/eu`,
		Args: fileAndIDs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			var payload io.Reader
			switch {
			case given("message") && given("file"):
				return command.Usage("give one of --message and --file", "--message 与 --file 只能给出一项")
			case !given("message") && !given("file") && topic == "":
				return command.Usage("say what is different: --message, --file or --topic", "请指定要更改的内容：--message、--file 或 --topic")
			case given("message"):
				payload = strings.NewReader(message)
			case given("file"):
				b, err := command.ReadPayloadFile(cmd.Context(), file)
				if err != nil {
					return command.Coded(command.ExitUsage, err)
				}
				payload = bytes.NewReader(b)
			}
			if topic != "" {
				if err := packets.ValidTopicName(topic); err != nil {
					return command.Usage("--topic %q: %w", "--topic %q：%w", topic, err)
				}
			}
			f, err := openLetters(cmd.Context(), p, args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			e, err := find(f, args[1])
			if err != nil {
				return err
			}
			made, err := f.Copy(cmd.Context(), e, topic, payload)
			if err != nil {
				return command.Coded(command.ExitRuntime, err)
			}
			p.Log().Info("dead letter copied", "letter", e.ID.String(), "copy", made.ID.String())
			if p.JSON {
				return actJSON(p, letterAct{Letter: e.ID, Act: "copied", Copy: &made.ID})
			}
			_, err = fmt.Fprintln(p.Stdout, made.ID)
			return err
		},
	}
	cmd.Flags().StringVarP(&message, "message", "m", "", p.Say("the new `payload`", "新的内容 `payload`"))
	cmd.Flags().StringVarP(&file, "file", "f", "", p.Say("the new payload is in this `file`", "新的内容取自文件 `file`"))
	cmd.Flags().StringVarP(&topic, "topic", "t", "", p.Say("the new `topic`", "新的主题 `topic`"))
	for _, flag := range []string{"message", "topic"} {
		command.Complete(cmd, flag, cobra.NoFileCompletions)
	}
	return cmd
}

func deadLetterRemove(p *command.Program) *cobra.Command {
	var which choice
	var yes bool
	cmd := &cobra.Command{
		Use:   "rm FILE (ID... | --all)",
		Short: p.Say("Remove dead letters from the list", "从列表中删除死信"),
		Long: p.Say(`Remove dead letters from the list. The file gets a line that says so; their own lines stay, and only deleting the whole file takes
them off the disk. It asks before it does; where there is no terminal, --yes is needed.`,
			`从列表中删除死信。文件末尾追加一行删除记录，原有的行仍在，只有删除整个文件才会从磁盘上清除。操作前会询问；没有终端时需要 --yes。`),
		Example: `  mqtt311 deadletter rm dead.jsonl 3f2a 91c0
  mqtt311 deadletter rm dead.jsonl --all --search 'test device' --yes`,
		Args: fileAndIDs(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			f, err := openLetters(ctx, p, args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			chosen, err := which.of(ctx, f, args[1:])
			if err != nil || len(chosen) == 0 {
				return err
			}
			if err := ask(ctx, p, yes, fmt.Sprintf("this removes dead letters: %d", len(chosen)), fmt.Sprintf("将删除的死信：%d 条", len(chosen))); err != nil {
				return err
			}
			log := p.Log()
			for _, e := range chosen {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err := f.Mark(ctx, e.ID, deadletters.Removed, ""); err != nil {
					return command.Coded(command.ExitRuntime, err)
				}
				log.Info("dead letter removed", "letter", e.ID.String())
				if err := actJSON(p, letterAct{Letter: e.ID, Act: "removed"}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	which.flags(p, cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, p.Say("do not ask", "不询问"))
	command.EndsInOrder(cmd)
	return cmd
}
