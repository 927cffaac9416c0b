package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// Kinds of profiles, and the names of their samples in go tool pprof.
const (
	cpuProfile   = "cpu"
	allocProfile = "allocs"
	heapProfile  = "heap"
)

var samples = map[string]string{cpuProfile: "cpu", allocProfile: "alloc_objects", heapProfile: "inuse_space"}

// profile starts the profile that the job asks for, and returns a function that ends it.
func (j job) profile() (stop func() error, err error) {
	kind, path, ok := strings.Cut(j.Profile, "=")
	if !ok {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if kind == cpuProfile {
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, err
		}
		return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
	}
	runtime.MemProfileRate = 512
	return func() error {
		runtime.GC()
		if err := pprof.Lookup(kind).WriteTo(f, 0); err != nil {
			return err
		}
		return f.Close()
	}, nil
}

// profiles writes profiles of our rows to a directory, and lists what costs most.
func profiles(m method, dir, only string, w io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	kinds := func(m method) map[string][]table {
		running := slices.Concat(m.trafficTables(), m.coreTables(), m.serverTables(), m.connectorTables(), m.afarTables(), m.durableTables(), m.liveTables())
		return map[string][]table{cpuProfile: running, allocProfile: running, heapProfile: m.idleTables()}
	}
	for _, kind := range []string{cpuProfile, allocProfile, heapProfile} {
		for i, t := range kinds(m)[kind] {
			if !strings.Contains(t.Name, only) {
				continue
			}
			for k, r := range t.Rows {
				if r.Who != ours && r.Who != usual && r.Who != wide && r.Who != unwatched && r.Who != watched && !strings.HasPrefix(r.Who, unordered) {
					continue
				}
				path := filepath.Join(dir, fileName(t.Name+" "+r.Who)+"."+kind)
				m := m
				m.Profile, m.Traffic = kind+"="+path, 200*time.Millisecond
				if kind == cpuProfile {
					m.Traffic = 4 * time.Second // the kernel takes a sample every few milliseconds
				}
				if _, err := kinds(m)[kind][i].Rows[k].Round(); err != nil {
					return err
				}
				if err := top(w, kind, path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func fileName(s string) string {
	return strings.NewReplacer(": ", "-", ", ", "-", " ", "-", "%", "percent").Replace(s)
}

// top writes the most expensive functions, by cumulative and by own cost.
func top(w io.Writer, kind, path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := tool("tool", "pprof", "-top", "-cum", "-nodecount=45", "-sample_index="+samples[kind], self, path)
	if err != nil {
		return err
	}
	_, text, _ := strings.Cut(out, "Showing")
	fmt.Fprintf(w, "\n== %s\nShowing%s", path, text)
	return nil
}
