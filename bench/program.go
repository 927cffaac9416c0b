package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The quantities of a program.
const (
	size     = "bytes"
	linked   = "packages"
	foreign  = "modules" // of other authors
	programs = "github.com/mqtt311/mqtt311/bench/minimal/"
)

// programTables measure the size of the smallest program that publishes and receives, without
// symbols.
func programTables() []table {
	build := func(who, name string) row {
		return row{who, func() (values, error) { return program(programs + name) }}
	}
	return []table{
		{"program: TCP", []row{build(ours, "mqtt311"), build(paho, "paho"), build(atwat, "at-wat"), build(limit, "net")}},
		{"program: TCP and TLS", []row{build(ours, "mqtt311-tls"), build(paho, "paho"), build(atwat, "at-wat"), build(limit, "net-tls")}},
	}
}

func program(pkg string) (values, error) {
	dir, err := os.MkdirTemp("", "mqtt311-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "program")
	if _, err := tool("build", "-trimpath", "-ldflags=-s -w", "-o", file, pkg); err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	deps, err := tool("list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", pkg)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(deps), "\n")
	modules := make(map[string]bool)
	for _, line := range lines {
		if _, module, _ := strings.Cut(line, " "); module != "" && !strings.HasPrefix(module, "github.com/mqtt311/") {
			modules[module] = true
		}
	}
	return values{size: float64(info.Size()), linked: float64(len(lines) - 1), foreign: float64(len(modules))}, nil
}

// tool runs the go command.
func tool(args ...string) (string, error) {
	out, err := exec.Command("go", args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("go %s: %w: %s", args[0], err, exit.Stderr)
	}
	return string(out), err
}
