package ui

import (
	"embed"
	"io/fs"
)

//go:embed web
var web embed.FS

// An asset is a file of the page.
type asset struct {
	kind string
	text []byte
}

// assets are the files of the page, by the path at which they are served.
var assets = func() map[string]asset {
	out := make(map[string]asset)
	err := fs.WalkDir(web, "web", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := web.ReadFile(path)
		out[path[len("web"):]] = asset{contentType(path), text}
		return err
	})
	if err != nil {
		panic(err) // they are parts of the program
	}
	out["/"] = out["/index.html"]
	delete(out, "/index.html")
	return out
}()
