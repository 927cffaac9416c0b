package main

import (
	"os"
	"os/exec"
	"path/filepath"
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

// Toolchain is what builds a release, whatever is installed: other ones make other bytes.
const Toolchain = "go1.26.8"

// build builds a program for a target, unless it was: static, without paths of this machine.
func (r *release) build(p program, t target) (string, error) {
	name := p.Name
	if t.OS == "windows" {
		name += ".exe"
	}
	out := filepath.Join(r.work, p.Name, t.OS+"_"+t.Arch, name)
	if r.built[out] {
		return out, nil
	}
	cmd := exec.CommandContext(r.ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid="+p.stamps(r.version), "-o", out, p.Package)
	cmd.Dir = filepath.Join(r.source, p.Module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.OS, "GOARCH="+t.Arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly", "GOWORK=off", "GOEXPERIMENT=", "GOTOOLCHAIN="+Toolchain)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", err
	}
	if r.built == nil {
		r.built = make(map[string]bool)
	}
	r.built[out] = true
	return out, nil
}
