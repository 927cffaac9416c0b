package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A program is a command that a release contains, with archives and bills of materials of its own.
type program struct {
	Name    string
	Module  string // the folder of its module, in the checkout
	Package string // in the module
	Example string // a configuration for it, in the folder files

	Version, Commit, Date string // the variables that are set when it is linked; empty: it has none

	Documents bool // it writes manual pages and completions
	Image     bool
	Packages  bool // deb and rpm
}

const ofCommand = "github.com/mqtt311/mqtt311/connector/internal/command."

// programs are those to build.
var programs = []program{
	{
		Name: "mqtt311", Module: ".", Package: "./connector/cmd/mqtt311", Example: "connector.yaml",
		Version: ofCommand + "version", Commit: ofCommand + "commit",
		Documents: true, Image: true, Packages: true,
	},
	{
		Name: "mqtt311-nats", Module: "connector/jetstream", Package: "./cmd/mqtt311-nats", Example: "stream.yaml",
		Version: ofCommand + "version", Commit: ofCommand + "commit",
		Documents: true, Image: true,
	},
	{
		Name: "mqtt311-benthos", Module: "connector/benthos", Package: "./cmd/mqtt311-benthos", Example: "pipeline.yaml",
		Version: "main.version", Date: "main.date",
	},
}

// stamps are the flags of the linker that set the variables.
func (p program) stamps(v version) string {
	var b strings.Builder
	for _, set := range [][2]string{{p.Version, v.Name}, {p.Commit, v.Commit}, {p.Date, v.Time.Format(time.RFC3339)}} {
		if set[0] != "" {
			fmt.Fprintf(&b, " -X %s=%s", set[0], set[1])
		}
	}
	return b.String()
}

// chosen returns those that a list names; an empty list names all.
func chosen[T any](what, list string, all []T, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var out []T
	for _, wanted := range strings.Split(list, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == wanted })
		if i < 0 {
			var known []string
			for _, one := range all {
				known = append(known, name(one))
			}
			return nil, fmt.Errorf("%s %q is none of %s", what, wanted, strings.Join(known, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}
