package house

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	docSeed    = flag.Uint64("doc.seed", 1, "seed of the doc comments that TestDocComments prints with -v")
	docCount   = flag.Int("doc.n", 30, "how many it prints")
	docPackage = flag.String("doc.package", "", "print all of this folder, as client/wal, instead of drawing")
)

// A comment is the doc comment of an exported name, or of a field or method of one.
type comment struct {
	dir  string // of the package, relative to the root of the project
	at   string // file:line
	decl string // its first line
	text string
}

// TestDocComments prints random doc comments of exported names, to be read by somebody who does not
// know the code. The same seed selects the same comments of the same tree. It fails if an exported
// function or method has no comment.
func TestDocComments(t *testing.T) {
	all := comments(t)
	require.Greater(t, len(all), 800)
	if *docPackage != "" {
		all = slices.DeleteFunc(all, func(c comment) bool { return c.dir != *docPackage })
	} else {
		rand.New(rand.NewPCG(*docSeed, 0)).Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		all = all[:min(*docCount, len(all))]
	}
	if !testing.Verbose() {
		return
	}
	for _, c := range all {
		fmt.Printf("%s\n%s\n    %s\n\n", c.at, c.decl, strings.ReplaceAll(strings.TrimSpace(c.text), "\n", "\n    "))
	}
}

// comments returns the doc comments of all packages that others can import, in the order of the files.
func comments(t *testing.T) (all []comment) {
	t.Helper()
	for _, dir := range []string{"packets", "session", "transport", "client", "connector"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(file string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "internal" || d.Name() == "testdata" || d.Name() == "node_modules"):
				return fs.SkipDir
			case d.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go"):
				return nil
			}
			src, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(top, file)
			if err != nil {
				return err
			}
			found, err := commentsOf(filepath.ToSlash(name), src)
			all = append(all, found...)
			return err
		})
		require.NoError(t, err)
	}
	return all
}

// commentsOf returns the doc comments of a file, in order; none for a program. It returns an error if
// an exported function has none.
func commentsOf(name string, src []byte) (all []comment, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments)
	if err != nil || file.Name.Name == "main" {
		return nil, err
	}
	add := func(owner string, pos token.Pos, docs ...*ast.CommentGroup) {
		at := fset.Position(pos)
		line, _, _ := strings.Cut(string(src[at.Offset:]), "\n")
		if doc := cmp.Or(docs...); doc.Text() != "" {
			all = append(all, comment{path.Dir(name), fmt.Sprintf("%s:%d", name, at.Line), owner + strings.TrimSuffix(line, " {"), doc.Text()})
		}
	}
	add("", file.Package, file.Doc)
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type))) {
				if add("", d.Pos(), d.Doc); d.Doc == nil && d.Name.Name != "Error" {
					return nil, fmt.Errorf("%s: %s has no doc comment", fset.Position(d.Pos()), d.Name.Name)
				}
			}
		case *ast.GenDecl:
			exported := slices.DeleteFunc(slices.Clone(d.Specs), func(s ast.Spec) bool { return !isExported(s) })
			if len(exported) > 0 {
				add("", d.Pos(), d.Doc)
			}
			for _, s := range exported {
				switch s := s.(type) {
				case *ast.ValueSpec:
					add("", s.Pos(), s.Doc, s.Comment)
				case *ast.TypeSpec:
					add("type ", s.Pos(), s.Doc, s.Comment)
					for _, f := range fields(s.Type) {
						add(s.Name.Name+": ", f.Pos(), f.Doc, f.Comment)
					}
				}
			}
		}
	}
	return all, nil
}

// isExported reports whether a declaration has an exported name.
func isExported(s ast.Spec) bool {
	switch s := s.(type) {
	case *ast.ValueSpec:
		return slices.ContainsFunc(s.Names, (*ast.Ident).IsExported)
	case *ast.TypeSpec:
		return s.Name.IsExported()
	}
	return false
}

// fields returns the exported fields of a struct, or methods of an interface.
func fields(x ast.Expr) []*ast.Field {
	var list *ast.FieldList
	switch x := x.(type) {
	case *ast.StructType:
		list = x.Fields
	case *ast.InterfaceType:
		list = x.Methods
	default:
		return nil
	}
	return slices.DeleteFunc(slices.Clone(list.List), func(f *ast.Field) bool {
		return !slices.ContainsFunc(f.Names, (*ast.Ident).IsExported)
	})
}

// receiver returns the name of a method's type.
func receiver(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}
