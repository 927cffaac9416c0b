package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/lint"
	"go.yaml.in/yaml/v3"
)

// Profiles are named values of options, in a file of the user:
//
//	profiles:
//	  plant:
//	    url: mqtts://mq.example.com
//	    username: line-7
//	    password: {file: /home/me/.plant-password}
//
// Keys are the long names of options. A password is never in the file: it stands as {file: PATH},
// {env: NAME}, {exec: [COMMAND, ARGUMENT]} or {prompt: true}.
type profiles struct {
	path string
	doc  yaml.Node
}

// profileOptions are the options that a profile may contain.
var profileOptions = []string{
	"broker", "host", "port", "url", "unix", "proxy", "ws", "ws-path", "ws-header", "bind", "id", "id-prefix", "username",
	"keepalive", "disable-clean-session", "qos", "max-inflight",
	"tls", "cafile", "cert", "key", "keyform", "tls-use-os-certs", "tls-servername", "tls-alpn", "tls-version", "insecure", "connect-timeout",
}

// isProfileName reports whether a text is a valid profile name. (A regular expression would take longer to compile
// than the command takes to start.)
func isProfileName(s string) bool {
	for i, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && (i == 0 || !strings.ContainsRune("._-", r)) {
			return false
		}
	}
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= 64
}

// profilesPath returns the path of the file.
func profilesPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", Usage("profiles: %w", "配置档：%w", err)
	}
	return filepath.Join(dir, "mqtt311", "profiles.yaml"), nil
}

// mostProfiles is the maximum size of the file.
const mostProfiles = 1 << 20

// openProfiles reads the file; a missing file has no profiles. Only the user may be able to write the
// file, because it decides where passwords are sent and which commands run.
func openProfiles() (*profiles, error) {
	path, err := profilesPath()
	if err != nil {
		return nil, err
	}
	f := &profiles{path: path}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	switch {
	case err != nil:
		return nil, Usage("profiles: %w", "配置档：%w", err)
	case !info.Mode().IsRegular() || info.Size() > mostProfiles:
		return nil, Usage("profiles: %s is not a file of at most 1 MiB", "配置档：%s 不是 1 MiB 以内的文件", lint.Show(path))
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0:
		return nil, Usage("profiles: other users may change %s (mode %04o), and with it where passwords go: chmod 600",
			"配置档：其他用户可修改 %s（权限 %04o），从而改变密码的去向：请执行 chmod 600", lint.Show(path), info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, Usage("profiles: %w", "配置档：%w", err)
	}
	if err := yaml.Unmarshal(text, &f.doc); err != nil {
		return nil, Usage("%s: %w", "%s：%w", lint.Show(path), err)
	}
	return f, f.check()
}

// check checks the structure of the file.
func (f *profiles) check() error {
	if f.doc.Kind == 0 {
		return nil
	}
	root := f.doc.Content[0]
	if root.Kind != yaml.MappingNode || len(root.Content) != 2 || root.Content[0].Value != "profiles" || root.Content[1].Kind != yaml.MappingNode {
		return f.wrong(root, "the file has one key, profiles, and below it a key for each profile", "文件只有一个键 profiles，其下每个配置档一个键")
	}
	all := root.Content[1].Content
	for i := 0; i < len(all); i += 2 {
		switch {
		case !isProfileName(all[i].Value):
			return f.wrong(all[i], "the name of a profile has letters, digits, dots, dashes and underscores", "配置档名称只能由字母、数字、点、横线和下划线组成")
		case all[i+1].Kind != yaml.MappingNode:
			return f.wrong(all[i+1], "a profile has a value for each option", "配置档应为选项及其取值")
		}
	}
	return nil
}

func (f *profiles) wrong(n *yaml.Node, en, zh string) error {
	return Usage("%s:%d: %[3]s", "%s:%d：%[4]s", lint.Show(f.path), n.Line, en, zh)
}

// names returns the names of the profiles, sorted.
func (f *profiles) names() (out []string) {
	if f.doc.Kind != 0 {
		all := f.doc.Content[0].Content[1].Content
		for i := 0; i < len(all); i += 2 {
			out = append(out, all[i].Value)
		}
	}
	slices.Sort(out)
	return out
}

// node returns a profile, or nil if there is none of that name.
func (f *profiles) node(name string) *yaml.Node {
	if f.doc.Kind == 0 {
		return nil
	}
	all := f.doc.Content[0].Content[1].Content
	for i := 0; i < len(all); i += 2 {
		if all[i].Value == name {
			return all[i+1]
		}
	}
	return nil
}

// A profile is a set of option values, and the source of the password.
type profile struct {
	values []profileValue
	from   *connector.SecretSource
	prompt bool
}

// user returns the user name.
func (p *profile) user() string { return p.value("username") }

// value returns the value of an option, which may be empty.
func (p *profile) value(option string) string {
	for _, v := range p.values {
		if v.option == option {
			return v.value
		}
	}
	return ""
}

type profileValue struct {
	option, value string
	line          int
}

// profile returns the profile of a name.
func (f *profiles) profile(name string) (*profile, error) {
	node := f.node(name)
	if node == nil {
		if all := f.names(); len(all) > 0 {
			return nil, Usage("there is no profile %q: %s has %s", "没有配置档 %q：%s 中有 %s", name, lint.Show(f.path), strings.Join(all, ", "))
		}
		return nil, Usage("there is no profile %q: mqtt311 profile add makes one", "没有配置档 %q：可用 mqtt311 profile add 创建", name)
	}
	out := new(profile)
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if err := f.read(out, key, value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (f *profiles) read(out *profile, key, value *yaml.Node) error {
	switch {
	case key.Value == "password":
		return f.readPassword(out, value)
	case !slices.Contains(profileOptions, key.Value):
		return f.wrong(key, fmt.Sprintf("%s is no option of a profile: it has %s, password", lint.Show(key.Value), strings.Join(profileOptions, ", ")),
			fmt.Sprintf("%s 不是配置档的选项：可用 %s、password", lint.Show(key.Value), strings.Join(profileOptions, "、")))
	case key.Value == "url" && value.Kind == yaml.ScalarNode && passwordInURL(value.Value):
		return f.wrong(value, "the URL has a password: name a file, a variable or a command with password: {file: PATH}", "URL 中含有密码：请用 password: {file: PATH} 给出文件、变量或命令")
	case key.Value == "ws-header" && value.Kind == yaml.SequenceNode:
		for _, v := range value.Content {
			out.values = append(out.values, profileValue{key.Value, v.Value, v.Line})
		}
		return nil
	case value.Kind != yaml.ScalarNode:
		return f.wrong(value, key.Value+" has one value", key.Value+" 只有一个取值")
	}
	out.values = append(out.values, profileValue{key.Value, value.Value, value.Line})
	return nil
}

func passwordInURL(raw string) bool {
	u, err := parseURL("url", raw)
	return err == nil && u.password != nil
}

func (f *profiles) readPassword(out *profile, value *yaml.Node) error {
	var from struct {
		File   string
		Env    string
		Exec   []string
		Prompt bool
	}
	const en = "password is {file: PATH}, {env: NAME}, {exec: [COMMAND, ARGUMENT]} or {prompt: true}; the password itself does not belong into this file"
	const zh = "password 应为 {file: 路径}、{env: 变量名}、{exec: [命令, 参数]} 或 {prompt: true}；密码本身不应写入此文件"
	if value.Kind != yaml.MappingNode || len(value.Content) != 2 || !slices.Contains([]string{"file", "env", "exec", "prompt"}, value.Content[0].Value) {
		return f.wrong(value, en, zh)
	}
	if value.Decode(&from) != nil || from.File == "" && from.Env == "" && len(from.Exec) == 0 && !from.Prompt {
		return f.wrong(value, en, zh) // yaml's own error would quote the value
	}
	if out.prompt = from.Prompt; !from.Prompt {
		out.from = &connector.SecretSource{File: from.File, Env: from.Env, Exec: from.Exec}
	}
	return nil
}

// set adds a profile, or replaces the one of that name.
func (f *profiles) set(name string, node *yaml.Node) {
	if f.doc.Kind == 0 {
		f.doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{mapping(scalar("profiles"), mapping())}}
	}
	if old := f.node(name); old != nil {
		*old = *node
		return
	}
	all := f.doc.Content[0].Content[1]
	all.Content = append(all.Content, scalar(name), node)
}

// remove removes a profile, and reports whether it existed.
func (f *profiles) remove(name string) bool {
	if f.node(name) == nil {
		return false
	}
	all := f.doc.Content[0].Content[1]
	i := slices.IndexFunc(all.Content, func(n *yaml.Node) bool { return n.Value == name })
	all.Content = slices.Delete(all.Content, i, i+2)
	return true
}

// save replaces the file, with access for the user only. A concurrent reader sees either the old file or the new one.
func (f *profiles) save() error {
	var text bytes.Buffer
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := e.Encode(&f.doc); err != nil {
		return Coded(ExitRuntime, err)
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Coded(ExitRuntime, err)
	}
	tmp, err := os.CreateTemp(dir, "profiles-*.yaml") // CreateTemp uses mode 0600
	if err != nil {
		return Coded(ExitRuntime, err)
	}
	_, err = tmp.Write(text.Bytes())
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return Coded(ExitRuntime, err)
}

func scalar(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	return n
}

func mapping(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: content}
}
