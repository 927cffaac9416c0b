package ui

import (
	"net/http"
	"path/filepath"
)

// A status is the data for the frame of the page.
type status struct {
	File    string `json:"file"`    // name of the file, without its folder
	Running bool   `json:"running"` // there is a connector
	Apply   bool   `json:"apply"`   // it can be reconfigured
}

// statusPage adds the handler for the frame of the page. It is an example of how handlers are
// added.
func (s *Server) statusPage() {
	s.get("status", func(*http.Request) (any, error) {
		return status{File: filepath.Base(s.opts.File), Running: s.opts.Running != nil, Apply: s.opts.Apply != nil}, nil
	})
}
