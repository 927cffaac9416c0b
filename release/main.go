// Release builds the published files of a version: static binaries for each system in archives, deb and
// rpm packages, a container image, a bill of materials and checksums. Two runs on the same commit with
// the same toolchain make the same bytes, in whatever folder they run.
//
//	go run . -out ../dist
//	go run . -out ../dist -targets linux/amd64
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	out := flag.String("out", "../dist", "the folder for the files; it must not exist, or be empty")
	source := flag.String("source", "..", "the checkout")
	only := flag.String("targets", "", "systems as OS/ARCH, separated by commas; empty: all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *source, *out, *only, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, source, out, only string, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	targets, err := chosen(only)
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
	if err := r.documents(); err != nil {
		return err
	}
	for _, t := range targets {
		if err := r.target(t); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	if err := r.image(targets); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return r.checksums()
}

// chosen returns the targets that a list names.
func chosen(list string) ([]target, error) {
	if list == "" {
		return targets, nil
	}
	var out []target
	for _, name := range strings.Split(list, ",") {
		t, err := targetOf(name)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// A release is made of one commit. It is used by one goroutine.
type release struct {
	ctx     context.Context
	source  string // the checkout
	out     string // for what is published
	work    string // for what is not
	version version

	binaries map[target]string // the files of those that were built
}

// target makes what there is for one system.
func (r *release) target(t target) error {
	binary, err := r.build(t)
	if err != nil {
		return err
	}
	if r.binaries == nil {
		r.binaries = make(map[target]string)
	}
	r.binaries[t] = binary
	if err := r.archive(t, binary); err != nil {
		return err
	}
	if err := r.bill(t, binary); err != nil {
		return err
	}
	if t.OS != "linux" {
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
