package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// profile begins the profile that the job asks for and returns what ends it.
func (j job) profile() (stop func() error, err error) {
	kind, path, ok := strings.Cut(j.Profile, "=")
	if !ok {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "cpu":
		runtime.SetCPUProfileRate(1000)
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, err
		}
		return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
	case "allocs":
		runtime.MemProfileRate = 512
		return func() error {
			if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
				return err
			}
			return f.Close()
		}, nil
	}
	return nil, fmt.Errorf("no profile is called %q", kind)
}

// profiles leaves profiles of the client's work in a folder, and says what costs most.
func profiles(m method, dir, only string, w io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, t := range selected(m.trafficTables(), only) {
		for _, kind := range []string{"cpu", "allocs"} {
			name := strings.NewReplacer("clients: ", "", " ", "-", ",", "").Replace(t.Name)
			path := filepath.Join(dir, name+"."+kind+".pprof")
			m.Profile, m.Traffic = kind+"="+path, 4*time.Second // the kernel takes a sample every few milliseconds
			if kind == "allocs" {
				m.Traffic = 200 * time.Millisecond
			}
			for _, again := range selected(m.trafficTables(), t.Name) {
				if _, err := again.Rows[0].Round(); err != nil {
					return err
				}
			}
			fmt.Fprintf(w, "\n== %s: %s (%s)\n", t.Name, kind, path)
			sample := map[string]string{"cpu": "cpu", "allocs": "alloc_objects"}[kind]
			out, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=20", "-sample_index="+sample, self, path).Output()
			if err != nil {
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					err = fmt.Errorf("%w: %s", err, exit.Stderr)
				}
				return fmt.Errorf("go tool pprof: %w", err)
			}
			_, top, _ := strings.Cut(string(out), "Showing")
			fmt.Fprint(w, "Showing", top)
		}
	}
	return nil
}
