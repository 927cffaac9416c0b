package ui

import (
	"net/http"
	"path/filepath"
)

// A status is what the shell of the page shows.
type status struct {
	File    string `json:"file"`    // its name, without the folder
	Running bool   `json:"running"` // there is a connector
	Apply   bool   `json:"apply"`   // which takes another configuration
}

// statusPage tells the shell what it is about. It shows how the handlers of a page are added.
func (s *Server) statusPage() {
	s.get("status", func(*http.Request) (any, error) {
		return status{File: filepath.Base(s.opts.File), Running: s.opts.Running != nil, Apply: s.opts.Apply != nil}, nil
	})
}
