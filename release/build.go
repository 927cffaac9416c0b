package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A target is a system.
type target struct{ OS, Arch string }

func (t target) String() string { return t.OS + "/" + t.Arch }

// targets are the platforms to build for.
var targets = []target{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

func targetOf(name string) (target, error) {
	var known []string
	for _, t := range targets {
		if t.String() == name {
			return t, nil
		}
		known = append(known, t.String())
	}
	return target{}, fmt.Errorf("target %q is none of %s", name, strings.Join(known, ", "))
}

// Toolchain is what builds a release, whatever is installed: other ones make other bytes.
const Toolchain = "go1.26.8"

// build builds the command for a target: static, without paths of this machine.
func (r *release) build(t target) (string, error) {
	name := "mqtt311"
	if t.OS == "windows" {
		name += ".exe"
	}
	dir := filepath.Join(r.work, t.OS+"_"+t.Arch)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	out := filepath.Join(dir, name)
	const of = "github.com/mqtt311/mqtt311/connector/internal/command."
	flags := "-s -w -buildid= -X " + of + "version=" + r.version.Name + " -X " + of + "commit=" + r.version.Commit
	cmd := exec.CommandContext(r.ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", out, "./connector/cmd/mqtt311")
	cmd.Dir = r.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.OS, "GOARCH="+t.Arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly", "GOWORK=off", "GOEXPERIMENT=", "GOTOOLCHAIN="+Toolchain)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return out, cmd.Run()
}
