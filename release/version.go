package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A version is what a commit is called.
type version struct {
	Name   string    // 1.2.3, or 1.2.4-dev.5.g0123abc for the fifth commit after the tag v1.2.3
	Commit string    // in full, with "-dirty" if the checkout differs from it
	Time   time.Time // of the commit, or SOURCE_DATE_EPOCH: the time of every file
}

func (v version) String() string { return "mqtt311 " + v.Name + " (" + v.Commit + ")" }

// versionOf asks git.
func versionOf(ctx context.Context, source string) (version, error) {
	commit, err := git(ctx, source, "rev-parse", "HEAD")
	if err != nil {
		return version{}, err
	}
	seconds, err := git(ctx, source, "log", "-1", "--format=%ct")
	if err != nil {
		return version{}, err
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds = epoch
	}
	at, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return version{}, fmt.Errorf("the time %q is no number of seconds", seconds)
	}
	described, err := git(ctx, source, "describe", "--tags", "--match", "v[0-9]*", "--long", "--abbrev=7")
	if err != nil { // there is no tag
		count, err := git(ctx, source, "rev-list", "--count", "HEAD")
		if err != nil {
			return version{}, err
		}
		described = "v0.0.0-" + count + "-g" + commit[:7]
	}
	name, err := nameOf(described)
	if err != nil {
		return version{}, err
	}
	changes, err := git(ctx, source, "status", "--porcelain")
	if err != nil {
		return version{}, err
	}
	if changes != "" {
		commit += "-dirty"
		name += "+dirty"
	}
	return version{Name: name, Commit: commit, Time: time.Unix(at, 0).UTC()}, nil
}

var description = regexp.MustCompile(`^v(\d+)\.(\d+)\.(\d+)((?:-[0-9A-Za-z.]+)?)-(\d+)-(g[0-9a-f]+)$`)

// nameOf makes a semantic version of what git describe --long says. Between two releases it is a
// version before the next one.
func nameOf(described string) (string, error) {
	m := description.FindStringSubmatch(described)
	if m == nil {
		return "", fmt.Errorf("the tag of %q is no semantic version", described)
	}
	base, pre, since := strings.Join(m[1:4], "."), m[4], m[5]
	if since == "0" {
		return base + pre, nil
	}
	if pre != "" {
		return base + pre + ".dev." + since + "." + m[6], nil
	}
	patch, err := strconv.Atoi(m[3])
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s.%s.%d-dev.%s.%s", m[1], m[2], patch+1, since, m[6]), nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
