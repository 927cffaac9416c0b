package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// pack writes a package of mqtt311: the binary, manual pages, completions, a systemd unit, an example of a
// configuration. The folder of configurations is the user's and stays when the package goes.
func (r *release) pack(format string, t target, binary string) (err error) {
	info, err := r.info(format, t, binary)
	if err != nil {
		return err
	}
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	p, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	f, err := r.create(p.ConventionalFileName(info))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return p.Package(info, f)
}

func (r *release) info(format string, t target, binary string) (*nfpm.Info, error) {
	own := func(name string) string { return filepath.Join(r.source, "release", "files", name) }
	at := func(mode os.FileMode) *files.ContentFileInfo {
		return &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.version.Time}
	}
	contents := files.Contents{
		{Source: binary, Destination: "/usr/bin/mqtt311", FileInfo: at(0o755)},
		{Source: own("mqtt311@.service"), Destination: "/usr/lib/systemd/system/mqtt311@.service", FileInfo: at(0o644)},
		{Source: own("sysusers.conf"), Destination: "/usr/lib/sysusers.d/mqtt311.conf", FileInfo: at(0o644)},
		{Source: own("connector.yaml"), Destination: "/usr/share/doc/mqtt311/examples/connector.yaml", FileInfo: at(0o644)},
		{Source: own("copyright"), Destination: "/usr/share/doc/mqtt311/copyright", FileInfo: at(0o644)},
		{Source: filepath.Join(r.source, "CHANGELOG.md"), Destination: "/usr/share/doc/mqtt311/CHANGELOG.md", FileInfo: at(0o644)},
	}
	pages, err := membersOf("/usr/share/man", filepath.Join(r.work, "mqtt311", "man"))
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		contents = append(contents, &files.Content{Source: page.From, Destination: page.Name, FileInfo: at(0o644)})
	}
	zsh := "/usr/share/zsh/vendor-completions/_mqtt311"
	if format == "rpm" {
		zsh = "/usr/share/zsh/site-functions/_mqtt311"
	}
	for name, path := range map[string]string{
		"mqtt311.bash": "/usr/share/bash-completion/completions/mqtt311",
		"_mqtt311":     zsh,
		"mqtt311.fish": "/usr/share/fish/vendor_completions.d/mqtt311.fish",
	} {
		contents = append(contents, &files.Content{Source: filepath.Join(r.work, "mqtt311", "completions", name), Destination: path, FileInfo: at(0o644)})
	}
	return nfpm.WithDefaults(&nfpm.Info{
		Name: "mqtt311", Arch: t.Arch, Platform: "linux",
		Version: strings.ReplaceAll(r.version.Name, "-dev.", "~dev."), VersionSchema: "none", Release: "1",
		Section: "net", Priority: "optional", License: "MIT",
		Maintainer: "The mqtt311 authors <mqtt311@localhost>", Vendor: "mqtt311",
		Homepage: "https://github.com/mqtt311/mqtt311",
		Description: "MQTT 3.1.1 connector and command\n" +
			"Publishes and subscribes as mosquitto_pub and mosquitto_sub do, and runs connectors:\n" +
			"consumers, whose messages are acknowledged after the work is done, and producers.",
		MTime: r.version.Time,
		Overridables: nfpm.Overridables{
			Contents: contents,
			Umask:    0o022,
			Scripts:  nfpm.Scripts{PostInstall: own("after-install"), PreRemove: own("before-remove"), PostRemove: own("after-remove")},
			RPM:      nfpm.RPM{BuildHost: "localhost", Summary: "MQTT 3.1.1 connector and command"},
		},
	}), nil
}
