package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// bill writes the bill of materials of a binary, of what the linker put into it.
func (r *release) bill(p program, t target, binary string) (err error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	main := cyclonedx.Component{
		BOMRef: "pkg:golang/" + info.Main.Path + "@v" + r.version.Name, Type: cyclonedx.ComponentTypeApplication,
		Name: p.Name, Version: r.version.Name, PackageURL: "pkg:golang/" + info.Main.Path + "@v" + r.version.Name,
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "MIT"}}},
		Properties: &[]cyclonedx.Property{
			{Name: "commit", Value: r.version.Commit}, {Name: "go", Value: info.GoVersion}, {Name: "target", Value: t.String()},
		},
	}
	std := cyclonedx.Component{
		BOMRef: "pkg:golang/std@" + info.GoVersion[len("go"):], Type: cyclonedx.ComponentTypeLibrary,
		Name: "std", Version: info.GoVersion[len("go"):], PackageURL: "pkg:golang/std@" + info.GoVersion[len("go"):],
	}
	components, refs := []cyclonedx.Component{std}, []string{std.BOMRef}
	for _, m := range info.Deps {
		switch {
		case m.Replace == nil:
		case m.Replace.Sum == "": // by a folder: a module of this checkout
			m.Version = "v" + r.version.Name
		default:
			m = m.Replace
		}
		url := fmt.Sprintf("pkg:golang/%s@%s", m.Path, m.Version)
		component := cyclonedx.Component{BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: url}
		if m.Sum != "" {
			component.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: m.Sum}}
		}
		components = append(components, component)
		refs = append(refs, url)
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Timestamp: r.version.Time.Format(time.RFC3339), Component: &main}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	f, err := r.create(fmt.Sprintf("%s_%s_%s_%s.cdx.json", p.Name, r.version.Name, t.OS, t.Arch))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return cyclonedx.NewBOMEncoder(f, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
}
