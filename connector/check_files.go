package connector

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mqtt311/mqtt311/connector/internal/others"
)

// source checks the source of a secret and reports whether it can be read. No command is run.
func (c *checker) source(at string, s *SecretSource) bool {
	switch {
	case s == nil:
		return false
	case s.File != "" && s.Env != "" || len(s.Exec) > 0 && s.File+s.Env != "":
		c.add("E140", at, []string{"{file: ...}", "{env: ...}", "{exec: ...}"})
		return false
	case len(s.Exec) > 0:
		if _, err := exec.LookPath(s.Exec[0]); err != nil {
			c.add("E147/missing", at, s.Exec[0])
			return false
		}
		return true
	case s.Exec != nil || s.Env == "" && s.File == "":
		c.add("E147/empty", at)
		return false
	case s.Env != "":
		switch v, ok := os.LookupEnv(s.Env); {
		case !ok:
			c.add("E135", at, s.Env)
			return false
		case v == "":
			c.add("E135/empty", at, s.Env)
			return false
		}
		return true
	}
	_, err := s.readFile()
	if bad, ok := err.(*secretError); ok {
		c.add("E117/"+bad.kind, at, s.File, maxSecret)
		return false
	}
	c.privacy(at, s.File)
	return true
}

// privacy warns of a secret that other users can read or replace.
func (c *checker) privacy(at, path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	mode := fmt.Sprintf("%04o", info.Mode().Perm())
	switch others := permissions(info); {
	case others&0o022 != 0:
		c.add("W218/writable", at, path, mode)
	case others&0o004 != 0:
		c.add("W218/readable", at, path, mode)
	}
}

// pem checks a PEM file. A key given where a path is expected is not shown.
func (c *checker) pem(at, value string) {
	if strings.ContainsAny(value, "\r\n") || strings.Contains(value, "-----BEGIN") {
		return
	}
	key := strings.HasSuffix(at, "tls_client_key")
	f, kind := openRegular(value)
	if f != nil {
		f.Close()
	}
	switch {
	case kind == "" && key:
		c.privacy(at, value)
	case kind == "":
	case key:
		c.add("E117/key", at)
	default:
		c.add("E117/"+kind, at, value)
	}
}

// deadLetterFile checks that a file can be appended to or created, and warns if other users can
// remove it.
func (c *checker) deadLetterFile(at, path string) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		c.add("E150/irregular", at, path)
	case err == nil && !writable(path):
		c.add("W229/denied", at, path)
	case err == nil:
	default:
		folder := filepath.Dir(path)
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			c.add("W229/missing", at, folder)
		} else if !writable(folder) {
			c.add("W229/denied", at, folder)
		}
	}
	switch w, found := others.Find(path); {
	case w.Everyone:
		c.add("W228/anybody", at, w.Path, fmt.Sprintf("%04o", w.Mode))
	case found:
		c.add("W228/taken", at, w.Path, w.Owner)
	}
}

// storeFolder warns if the owner of a parent folder, or anyone, could replace the stores. Package
// wal refuses the latter. The ledger is in the store.
func (c *checker) storeFolder(at string, k *SessionStore) {
	if k.AllowShared {
		return
	}
	if info, err := os.Stat(k.Dir); err == nil && !info.IsDir() {
		c.add("W228/file", at, k.Dir)
		return
	}
	switch w, found := others.Find(k.Dir); {
	case w.Everyone:
		c.add("W228/everyone", at, w.Path, fmt.Sprintf("%04o", w.Mode))
	case found:
		c.add("W228/other", at, w.Path, w.Owner)
	}
}
