package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Nobody is the user of the image: no process in it is root.
const Nobody = 65532

// image writes a container image of a program for the Linux targets, without a base: the program, the certificates
// of public authorities, and a folder for sessions. It is an OCI image layout in a tar file.
func (r *release) image(p program, targets []target) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, t := range targets {
		if t.OS != "linux" {
			continue
		}
		img, err := r.imageOf(p, t)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img,
			Descriptor: v1.Descriptor{
				Platform:    &v1.Platform{OS: t.OS, Architecture: t.Arch},
				Annotations: map[string]string{"org.opencontainers.image.ref.name": r.version.Name},
			},
		})
	}
	dir := filepath.Join(r.work, p.Name, "image")
	if _, err := layout.Write(dir, index); err != nil {
		return err
	}
	members, err := membersOf("", dir)
	if err != nil {
		return err
	}
	return r.tar(fmt.Sprintf("%s_%s_oci.tar.gz", p.Name, r.version.Name), members)
}

func (r *release) imageOf(p program, t target) (v1.Image, error) {
	layer, err := r.layer(p, t)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = t.OS, t.Arch
	file.Created = v1.Time{Time: r.version.Time}
	file.Config = v1.Config{
		Entrypoint: []string{"/usr/bin/" + p.Name},
		Cmd:        []string{"--help"},
		User:       fmt.Sprintf("%d:%d", Nobody, Nobody),
		WorkingDir: "/var/lib/mqtt311",
		Volumes:    map[string]struct{}{"/var/lib/mqtt311": {}},
		StopSignal: "SIGTERM",
		Labels: map[string]string{
			"org.opencontainers.image.title":    p.Name,
			"org.opencontainers.image.version":  r.version.Name,
			"org.opencontainers.image.revision": r.version.Commit,
			"org.opencontainers.image.licenses": "MIT",
		},
	}
	return mutate.ConfigFile(img, file)
}

func (r *release) layer(p program, t target) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, mode int64, owner int, text []byte) error {
		h := &tar.Header{Name: name, Mode: mode, Size: int64(len(text)), Uid: owner, Gid: owner, ModTime: r.version.Time, Format: tar.FormatUSTAR}
		if text == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	file, err := r.build(p, t)
	if err != nil {
		return nil, err
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	certs, err := os.ReadFile(authorities)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name  string
		mode  int64
		owner int
		text  []byte
	}{
		{"etc/", 0o755, 0, nil}, {"etc/mqtt311/", 0o755, 0, nil}, {"etc/ssl/", 0o755, 0, nil}, {"etc/ssl/certs/", 0o755, 0, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, 0, certs},
		{"tmp/", 0o1777, 0, nil},
		{"usr/", 0o755, 0, nil}, {"usr/bin/", 0o755, 0, nil}, {"usr/bin/" + p.Name, 0o755, 0, binary},
		{"var/", 0o755, 0, nil}, {"var/lib/", 0o755, 0, nil}, {"var/lib/mqtt311/", 0o700, Nobody, nil},
	} {
		if err := add(f.name, f.mode, f.owner, f.text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// authorities is the file of Debian's package ca-certificates. It is a part of the image, so that two
// machines make the same image only with the same version of that package.
const authorities = "/etc/ssl/certs/ca-certificates.crt"
