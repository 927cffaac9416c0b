package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/spf13/cobra"
)

func (p *Program) store() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: p.Say("Look into session stores on disk, and repair them", "查看和修复磁盘上的会话存储"),
		Long: p.Say(`Look into session stores on disk, and repair them. DIR is a folder of stores, or the
folder of one. No command changes what is in DIR, and a running client is not disturbed.`,
			`查看和修复磁盘上的会话存储。DIR 是若干存储所在的文件夹，或某个存储的文件夹。
各命令均不改动 DIR 中的内容，也不影响正在运行的客户端。`),
		Example: `  mqtt311 store ls /var/lib/line-7
  mqtt311 store verify /var/lib/line-7
  mqtt311 store salvage /var/lib/line-7 --into /var/lib/line-7-salvaged`,
		Args: commandArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.storeList(), p.storeVerify(), p.storeSalvage())
	return cmd
}

func (p *Program) storeList() *cobra.Command {
	var keys, payloads bool
	cmd := &cobra.Command{
		Use:   "ls DIR",
		Short: p.Say("List the sessions that are stored", "列出已存储的会话"),
		Long: p.Say(`List the sessions that are stored: whose each is, how many messages wait, incoming Packet
Identifiers, notes. --keys lists each record: of a message the topic, QoS, size, and whether PUBREC
has come; payloads and the content of notes only with --payloads.`,
			`列出已存储的会话：所属的服务端和客户端、待发消息数、已接收的报文标识符、备注。--keys 列出每条记录：
消息的主题、QoS、大小，以及是否已收到 PUBREC；仅在加 --payloads 时输出消息内容和备注内容。`),
		Example: `  mqtt311 store ls /var/lib/line-7
  mqtt311 store ls --keys /var/lib/line-7
  mqtt311 store ls --keys --payloads --json /var/lib/line-7`,
		Args: oneFolder,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.eachStore(args[0], func(folder string) error {
				var records storeRecords
				found, err := wal.Inspect(folder, records.add)
				if err != nil {
					return Coded(ExitRuntime, err)
				}
				if err := p.printStore(found, &records); err != nil || !keys && !payloads {
					return err
				}
				return p.printRecords(&records, payloads)
			})
		},
	}
	cmd.Flags().BoolVar(&keys, "keys", false, p.Say("list each record", "列出每条记录"))
	cmd.Flags().BoolVar(&payloads, "payloads", false, p.Say("list each record with its content", "列出每条记录及其内容"))
	return cmd
}

func (p *Program) storeVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: p.Say("Read every byte of the stores and name each damage", "逐字节检查存储，指出每处损坏"),
		Long: p.Say(`Read every byte of the stores and name each damage by file and byte. Exit code 8 says that
there is some. A commit that a crash has cut short is none: nothing in it was promised, and the next
start drops it.`,
			`逐字节检查存储，给出每处损坏的文件和字节位置；发现损坏时退出码为 8。因崩溃而未写完的提交不算损坏：
其中的内容尚未作出承诺，下次启动时会被丢弃。`),
		Example: `  mqtt311 store verify /var/lib/line-7
  mqtt311 store verify --json /var/lib/line-7`,
		Args: oneFolder,
		RunE: func(_ *cobra.Command, args []string) error {
			damages := 0
			err := p.eachStore(args[0], func(folder string) error {
				var records storeRecords
				found, err := wal.Inspect(folder, records.add)
				if err != nil {
					return Coded(ExitRuntime, err)
				}
				damages += len(found.Damage) + len(records.strange)
				return p.printDamage(found, &records)
			})
			if err == nil && damages > 0 {
				err = Fail(ExitFindings, "damage in %s, places: %d; mqtt311 store salvage saves what can be read",
					"%s 中有 %d 处损坏；可用 mqtt311 store salvage 抢救可读的内容", args[0], damages)
			}
			return err
		},
	}
}

func (p *Program) storeSalvage() *cobra.Command {
	var into string
	cmd := &cobra.Command{
		Use:   "salvage DIR --into DIR",
		Short: p.Say("Make new stores of what can be read in damaged ones", "用损坏存储中可读的内容建立新存储"),
		Long: p.Say(`Make new stores of the whole commits that can be read in damaged ones. The damaged ones stay as
they are; their clients must not run. Where commits are lost, messages in them do not go out, and
messages whose end was in them go out again.

Afterwards give the new folder to the program instead of the old one.`,
			`用损坏存储中完整可读的提交建立新存储。原存储保持不变，其客户端不得正在运行。丢失的提交中的消息不会再发出；
若丢失的是某条消息的完成记录，则该消息会再次发出。

完成后请让程序使用新的文件夹。`),
		Example: `  mqtt311 store salvage /var/lib/line-7 --into /var/lib/line-7-salvaged`,
		Args:    oneFolder,
		RunE: func(_ *cobra.Command, args []string) error {
			if into == "" {
				return Usage("--into is missing: name the folder for the new stores", "缺少 --into：请指定新存储的文件夹")
			}
			return p.eachStore(args[0], func(folder string) error {
				found, made, err := wal.Salvage(folder, into)
				switch {
				case errors.Is(err, wal.ErrLocked):
					return Fail(ExitRuntime, "%s is in use: stop its client first", "%s 正在使用中：请先停止其客户端", folder)
				case errors.Is(err, fs.ErrExist):
					return Fail(ExitRuntime, "there is a store of this session in %s already: name another folder", "%s 中已有该会话的存储：请指定其他文件夹", into)
				case err != nil:
					return Coded(ExitRuntime, err)
				}
				return p.printSalvaged(found, made)
			})
		},
	}
	cmd.Flags().StringVar(&into, "into", "", p.Say("`folder` for the new stores; it is made", "新存储的文件夹 `folder`，不存在则创建"))
	return cmd
}

func oneFolder(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return Usage("name one folder of stores", "请指定一个存储文件夹")
	}
	return nil
}

// eachStore calls f for every store in dir, in the order of their names.
func (p *Program) eachStore(dir string, f func(folder string) error) error {
	folders, err := wal.Folders(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Usage("%s is not there", "%s 不存在", dir)
	case err != nil:
		return Coded(ExitRuntime, err)
	case len(folders) == 0:
		return Usage("there is no store in %s", "%s 中没有存储", dir)
	}
	for _, folder := range folders {
		if err := f(folder); err != nil {
			return err
		}
	}
	return nil
}

// storeRecords are the records in a store, by kind.
type storeRecords struct {
	all      []session.Record
	released map[uint64]bool
	strange  []string // records that no version of the session has written
}

func (s *storeRecords) add(key, value []byte) error {
	r, err := session.ParseRecord(key, value)
	if err != nil {
		s.strange = append(s.strange, err.Error())
		return nil
	}
	if r.Kind == session.RecordReleased {
		if s.released == nil {
			s.released = make(map[uint64]bool)
		}
		s.released[r.Seq] = true
	}
	s.all = append(s.all, r)
	return nil
}

func (s *storeRecords) count(kind session.RecordKind) int {
	n := 0
	for i := range s.all {
		if s.all[i].Kind == kind {
			n++
		}
	}
	return n
}

// A storeLine is a store in JSON.
type storeLine struct {
	Kind      string       `json:"kind"` // "store"
	Folder    string       `json:"folder"`
	Server    string       `json:"server"`
	ClientID  string       `json:"client_id"`
	Sync      string       `json:"sync"`
	InUse     bool         `json:"in_use"`
	Segments  int          `json:"segments"`
	FileBytes int64        `json:"file_bytes"`
	Keys      int          `json:"keys"`
	QoS1      int          `json:"qos1"`
	QoS2      int          `json:"qos2"`
	Released  int          `json:"released"`
	Bytes     int          `json:"message_bytes"` // topics and payloads
	Received  int          `json:"received"`
	Filters   int          `json:"filters"`
	Notes     int          `json:"notes"`
	Damage    []damageLine `json:"damage"`
	Torn      *damageLine  `json:"torn,omitempty"`
	Lost      uint64       `json:"lost_frames,omitempty"`
	Strange   []string     `json:"strange_records,omitempty"`
	Salvaged  string       `json:"salvaged,omitempty"` // the new directory
}

type damageLine struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Reason string `json:"reason"`
}

func (p *Program) storeLine(found *wal.Inspection, records *storeRecords) *storeLine {
	line := &storeLine{
		Kind: "store", Folder: found.Folder, Server: found.Server, ClientID: found.ClientID,
		Sync: [...]string{"always", "interval", "never"}[found.Sync], InUse: found.InUse,
		Segments: found.Segments, FileBytes: found.FileBytes, Keys: found.Keys, Lost: found.Lost,
		Damage: []damageLine{},
	}
	for _, d := range found.Damage {
		line.Damage = append(line.Damage, damageLine{d.File, d.Offset, p.fault(d.Fault)})
	}
	if t := found.Torn; t != nil {
		line.Torn = &damageLine{t.File, t.Offset, p.Say("a commit that was cut short", "未写完的提交")}
	}
	if records == nil {
		return line
	}
	for i := range records.all {
		if m := records.all[i].Publish; m != nil {
			line.Bytes += len(m.Topic) + len(m.Payload)
			if m.QoS == packets.AtLeastOnce {
				line.QoS1++
			} else {
				line.QoS2++
			}
		}
	}
	line.Released, line.Received = records.count(session.RecordReleased), records.count(session.RecordReceived)
	line.Filters, line.Notes = records.count(session.RecordFilter), records.count(session.RecordApplication)
	for _, s := range records.strange {
		line.Strange = append(line.Strange, p.Say(s, chinese.Of(s)))
	}
	return line
}

func (p *Program) fault(f wal.Fault) string {
	zh := map[wal.Fault]string{
		wal.FaultUnreadable: "此处内容与写入时不符",
		wal.FaultMissing:    "文件缺失",
		wal.FaultShort:      "日志在此结束，而此前曾写到更远处",
		wal.FaultGap:        "此段之前的内容缺失",
		wal.FaultHead:       "文件缺失或无法读取",
		wal.FaultUnknown:    "HEAD 中没有此段的记录",
		wal.FaultOwner:      "此段属于另一个会话",
		wal.FaultFormat:     "此段由程序的另一版本写入",
	}
	return p.Say(f.String(), zh[f])
}

func (p *Program) printStore(found *wal.Inspection, records *storeRecords) error {
	line := p.storeLine(found, records)
	if p.JSON {
		return p.JSONLine(line)
	}
	w := p.Stdout
	fmt.Fprintf(w, p.Say("client %q at %q\n", "客户端 %q，服务端 %q\n"), line.ClientID, line.Server)
	fmt.Fprintf(w, p.Say("  folder    %s\n", "  文件夹    %s\n"), line.Folder)
	if line.InUse {
		fmt.Fprintln(w, p.Say("  state     in use by a running client: read only, and as of a moment ago",
			"  状态      客户端正在运行：仅作读取，内容为片刻前的状态"))
	}
	fmt.Fprintf(w, p.Say("  messages  %d at QoS 1, %d at QoS 2 (PUBREC has come for %d), bytes: %d\n",
		"  待发消息  QoS 1：%d，QoS 2：%d（其中 %d 条已收到 PUBREC），共 %d 字节\n"), line.QoS1, line.QoS2, line.Released, line.Bytes)
	fmt.Fprintf(w, p.Say("  incoming  Packet Identifiers of QoS 2: %d\n", "  已接收    QoS 2 报文标识符 %d 个\n"), line.Received)
	fmt.Fprintf(w, p.Say("  besides   filters: %d, notes: %d\n", "  其他      订阅 %d 个，备注 %d 条\n"), line.Filters, line.Notes)
	_, err := fmt.Fprintf(w, p.Say("  files     segments: %d, bytes: %d, synced %s\n", "  文件      %d 段，%d 字节，同步方式 %s\n"),
		line.Segments, line.FileBytes, line.Sync)
	if n := len(line.Damage); n > 0 {
		fmt.Fprintf(w, p.Say("  damage    places: %d, see mqtt311 store verify\n", "  损坏      %d 处：详见 mqtt311 store verify\n"), n)
	}
	return err
}

// A recordLine is a record in JSON.
type recordLine struct {
	Kind     string  `json:"kind"`
	Seq      *uint64 `json:"seq,omitempty"`
	PacketID uint16  `json:"packet_id,omitempty"`
	Topic    string  `json:"topic,omitempty"`
	Filter   string  `json:"filter,omitempty"`
	Name     string  `json:"name,omitempty"`
	QoS      *int    `json:"qos,omitempty"`
	Retain   bool    `json:"retain,omitempty"`
	Released bool    `json:"released,omitempty"`
	Size     *int    `json:"size,omitempty"`
	Content  []byte  `json:"content,omitempty"` // base64
}

// recordKinds are the names of the kinds that are listed. A released message is listed with its
// publish.
var recordKinds = map[session.RecordKind]string{
	session.RecordPublish:     "publish",
	session.RecordReceived:    "received",
	session.RecordFilter:      "filter",
	session.RecordApplication: "note",
	session.RecordSequence:    "sequence",
	session.RecordScrubbed:    "scrubbed",
}

func (p *Program) printRecords(records *storeRecords, payloads bool) error {
	slices.SortStableFunc(records.all, func(a, b session.Record) int { return int(a.Kind) - int(b.Kind) })
	for i := range records.all {
		r := &records.all[i]
		line := recordLine{Kind: recordKinds[r.Kind], PacketID: r.PacketID}
		var content []byte
		switch r.Kind {
		case session.RecordPublish:
			size, qos := len(r.Publish.Payload), int(r.Publish.QoS)
			line.Seq, line.Topic, line.QoS, line.Retain, line.Size = &r.Seq, r.Publish.Topic, &qos, r.Publish.Retain, &size
			line.Released = records.released[r.Seq]
			content = r.Publish.Payload
		case session.RecordFilter:
			qos := int(r.Filter.QoS)
			line.Filter, line.QoS = r.Filter.Filter, &qos
		case session.RecordApplication:
			size := len(r.Note.Value)
			line.Name, line.Size, content = r.Note.Name, &size, r.Note.Value
		case session.RecordSequence, session.RecordScrubbed:
			line.Seq = &r.Seq
		case session.RecordReceived:
		default:
			continue
		}
		if payloads {
			line.Content = content
		}
		if err := p.printRecord(&line); err != nil {
			return err
		}
	}
	return nil
}

func (p *Program) printRecord(line *recordLine) error {
	if p.JSON {
		return p.JSONLine(line)
	}
	text := "  " + line.Kind
	if line.Seq != nil {
		text += fmt.Sprintf(" seq=%d", *line.Seq)
	}
	if line.PacketID != 0 {
		text += fmt.Sprintf(" id=%d", line.PacketID)
	}
	if line.QoS != nil {
		text += fmt.Sprintf(" qos=%d", *line.QoS)
	}
	if line.Retain {
		text += " retain"
	}
	if line.Released {
		text += " released"
	}
	if line.Size != nil {
		text += fmt.Sprintf(" size=%d", *line.Size)
	}
	for _, name := range []string{line.Topic, line.Filter, line.Name} {
		if name != "" {
			text += fmt.Sprintf(" %q", name)
		}
	}
	if line.Content != nil {
		text += fmt.Sprintf(" %q", line.Content)
	}
	_, err := fmt.Fprintln(p.Stdout, text)
	return err
}

func (p *Program) printDamage(found *wal.Inspection, records *storeRecords) error {
	line := p.storeLine(found, records)
	if p.JSON {
		return p.JSONLine(line)
	}
	at := func(d *damageLine) {
		fmt.Fprintf(p.Stdout, "%s%c%s:%d: %s\n", line.Folder, os.PathSeparator, d.File, d.Offset, d.Reason)
	}
	for i := range line.Damage {
		at(&line.Damage[i])
	}
	for _, s := range line.Strange {
		fmt.Fprintf(p.Stdout, "%s: %s\n", line.Folder, s)
	}
	if line.Torn != nil {
		at(line.Torn)
	}
	var err error
	if len(line.Damage) == 0 && len(line.Strange) == 0 {
		_, err = fmt.Fprintf(p.Stdout, p.Say("%s: sound; keys: %d, segments: %d\n", "%s：完好，%d 个键，%d 段\n"), line.Folder, line.Keys, line.Segments)
	}
	return err
}

func (p *Program) printSalvaged(found *wal.Inspection, made string) error {
	if p.JSON {
		line := p.storeLine(found, nil)
		line.Salvaged = made
		return p.JSONLine(line)
	}
	_, err := fmt.Fprintf(p.Stdout, p.Say("%s: keys saved: %d, to %s; damaged places: %d, frames of the log lost: %d\n",
		"%[1]s：%[2]d 个键已存入 %[3]s；%[4]d 处损坏，日志丢失 %[5]d 帧\n"),
		found.Folder, found.Keys, made, len(found.Damage), found.Lost)
	return err
}
