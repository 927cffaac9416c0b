// Release builds the published files of a version: static binaries of each program for each system in archives, deb
// and rpm packages, container images, bills of materials and checksums. Two runs on the same commit with
// the same toolchain make the same bytes, in whatever folder they run.
//
//	go run . -out ../dist
//	go run . -out ../dist -targets linux/amd64 -programs mqtt311,mqtt311-nats
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	out := flag.String("out", "../dist", "the folder for the files; it must not exist, or be empty")
	source := flag.String("source", "..", "the checkout")
	systems := flag.String("targets", "", "systems as OS/ARCH, separated by commas; empty: all")
	names := flag.String("programs", "", "programs, separated by commas; empty: all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *source, *out, *systems, *names, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, source, out, systems, names string, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	targets, err := chosen("target", systems, targets, target.String)
	if err != nil {
		return err
	}
	programs, err := chosen("program", names, programs, func(p program) string { return p.Name })
	if err != nil {
		return err
	}
	if found, err := os.ReadDir(out); err == nil && len(found) > 0 {
		return fmt.Errorf("%s is not empty: nothing there is overwritten", out)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mqtt311-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	v, err := versionOf(ctx, source)
	if err != nil {
		return err
	}
	r := &release{ctx: ctx, source: source, out: out, work: work, version: v}
	fmt.Printf("%s of %s\n", v, v.Time.Format("2006-01-02 15:04:05 MST"))
	for _, p := range programs {
		if err := r.program(p, targets); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return r.checksums()
}

// A release is made of one commit. It is used by one goroutine.
type release struct {
	ctx     context.Context
	source  string // the checkout
	out     string // for what is published
	work    string // for what is not
	version version

	built map[string]bool // files, of programs
}

// program makes what there is of one program.
func (r *release) program(p program, targets []target) error {
	if p.Documents {
		if err := r.documents(p); err != nil {
			return err
		}
	}
	for _, t := range targets {
		if err := r.target(p, t); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	if p.Image {
		if err := r.image(p, targets); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	return nil
}

// target makes what there is of a program for one system.
func (r *release) target(p program, t target) error {
	binary, err := r.build(p, t)
	if err != nil {
		return err
	}
	if err := r.archive(p, t, binary); err != nil {
		return err
	}
	if err := r.bill(p, t, binary); err != nil {
		return err
	}
	if t.OS != "linux" || !p.Packages {
		return nil
	}
	for _, format := range []string{"deb", "rpm"} {
		if err := r.pack(format, t, binary); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
	}
	return nil
}

// create creates a file of the release, and says so.
func (r *release) create(name string) (*os.File, error) {
	fmt.Println(" ", name)
	return os.OpenFile(filepath.Join(r.out, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}
