package main

import (
	"fmt"
	"go/constant"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	pahoPath = "github.com/eclipse/paho.mqtt.golang"
	oursPath = "github.com/mqtt311/mqtt311/client/paho"
)

// notThere are the exported names of paho v1.5.1 that package paho lacks or has with another type,
// each with the reason.
var notThere = map[string]string{
	"mqtt.Store":              "client.Store: paho's can neither report an error nor keep two changes together",
	"mqtt.FileStore":          "of package client/wal, opened by Connect: has the methods of client.Store",
	"mqtt.MemoryStore":        "has the methods of client.Store",
	"mqtt.OrderedMemoryStore": "has the methods of client.Store",
	"mqtt.PacketAndToken":     "has neither fields nor methods for a program, and nothing takes or returns it",
	"mqtt.PlaceHolderToken":   "nothing takes or returns it; DummyToken does the same for tests",
	"mqtt.TokenErrorSetter":   "its only method is not exported, so that no program can call or implement it",
}

// Every exported name of paho v1.5.1 exists with the same type, or is in a list with the reason.
func TestPahoAPI(t *testing.T) {
	theirs, ours := apiOf(t, pahoPath), apiOf(t, oursPath)
	require.Greater(t, len(theirs), 300)
	listed := maps.Clone(notThere)
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		reason, known := notThere[name]
		owner := name[:max(strings.LastIndex(name, "."), 0)]
		switch {
		case ours[name] == theirs[name] && known:
			t.Errorf("%s is the same, and listed as different", name)
		case ours[name] == theirs[name], notThere[owner] != "":
		case !known || reason == "":
			t.Errorf("%s\n  paho %s\n  ours %s", name, theirs[name], ours[name])
		}
		delete(listed, name)
	}
	require.Empty(t, listed, "listed, and not in paho")
}

// The comparison finds a name that is missing or has another type.
func TestPahoAPIFindsDifferences(t *testing.T) {
	theirs := apiOf(t, pahoPath)
	require.Equal(t, "func(string, byte, bool, interface{}) mqtt.Token", theirs["mqtt.Client.Publish"])
	require.Equal(t, "const untyped int 254", theirs["packets.ErrNetworkError"])
	require.Equal(t, "func(bool) *mqtt.ClientOptions", theirs["mqtt.ClientOptions.SetCleanSession"])
	require.Equal(t, "func() bool", theirs["mqtt.PublishToken.Wait"], "promoted")
	require.Equal(t, "struct{FixedHeader packets.FixedHeader embedded; MessageID uint16}", theirs["packets.PubackPacket"])
}

// apiOf returns the exported names of the package at path, and of packets below it, with
// descriptions of their types in which the paths of both packages are the same.
func apiOf(t *testing.T, path string) map[string]string {
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", path, path+"/packets")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		files[name] = file
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(name string) (io.ReadCloser, error) { return os.Open(files[name]) })
	all := make(map[string]string)
	for short, full := range map[string]string{"mqtt": path, "packets": path + "/packets"} {
		p, err := imp.Import(full)
		require.NoError(t, err)
		a := apiWords{path: path}
		for _, name := range p.Scope().Names() {
			if o := p.Scope().Lookup(name); o.Exported() {
				a.object(all, short+"."+name, o)
			}
		}
	}
	return all
}

// An apiWords describes types as text.
type apiWords struct{ path string }

func (a apiWords) object(all map[string]string, name string, o types.Object) {
	switch o := o.(type) {
	case *types.Const:
		value := o.Val()
		if value.Kind() == constant.Int {
			all[name] = fmt.Sprintf("const %s %s", a.typ(o.Type()), value.ExactString())
		} else {
			all[name] = fmt.Sprintf("const %s %q", a.typ(o.Type()), constant.StringVal(value))
		}
	case *types.TypeName:
		all[name] = a.underlying(o.Type())
		methods := types.NewMethodSet(types.NewPointer(o.Type()))
		if types.IsInterface(o.Type()) {
			methods = types.NewMethodSet(o.Type())
		}
		for m := range methods.Methods() {
			if m.Obj().Exported() {
				all[name+"."+m.Obj().Name()] = a.typ(m.Type())
			}
		}
	default:
		all[name] = a.typ(o.Type())
	}
}

// underlying describes a type without its methods, and a struct without unexported fields.
func (a apiWords) underlying(t types.Type) string {
	switch u := t.Underlying().(type) {
	case *types.Struct:
		var fields []string
		for f := range u.Fields() {
			if !f.Exported() {
				continue
			}
			words := f.Name() + " " + a.typ(f.Type())
			if f.Embedded() {
				words += " embedded"
			}
			fields = append(fields, words)
		}
		return "struct{" + strings.Join(fields, "; ") + "}"
	case *types.Interface:
		var methods []string
		for m := range u.Methods() {
			methods = append(methods, m.Name())
		}
		return "interface{" + strings.Join(methods, "; ") + "}"
	default:
		return a.typ(u)
	}
}

// typ describes a type, without the names of parameters.
func (a apiWords) typ(t types.Type) string {
	if s, ok := t.(*types.Signature); ok {
		words := "func(" + a.tuple(s.Params(), s.Variadic()) + ")"
		switch results := a.tuple(s.Results(), false); s.Results().Len() {
		case 0:
			return words
		case 1:
			return words + " " + results
		default:
			return words + " (" + results + ")"
		}
	}
	words := types.TypeString(t, func(p *types.Package) string {
		if p.Path() == a.path {
			return "mqtt"
		}
		return strings.Replace(p.Path(), a.path+"/", "", 1)
	})
	return strings.ReplaceAll(words, "any", "interface{}")
}

func (a apiWords) tuple(vars *types.Tuple, variadic bool) string {
	var words []string
	for v := range vars.Variables() {
		words = append(words, a.typ(v.Type()))
	}
	if variadic {
		words[len(words)-1] = "..." + strings.TrimPrefix(words[len(words)-1], "[]")
	}
	return strings.Join(words, ", ")
}
