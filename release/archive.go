package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A member is a file of an archive.
type member struct {
	Name string
	From string
	Mode int64
}

// archive writes the archive of a program for a target: tar.gz, for Windows zip.
func (r *release) archive(p program, t target, binary string) (err error) {
	base := fmt.Sprintf("%s_%s_%s_%s", p.Name, r.version.Name, t.OS, t.Arch)
	members := []member{{base + "/" + filepath.Base(binary), binary, 0o755}}
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		members = append(members, member{base + "/" + name, filepath.Join(r.source, name), 0o644})
	}
	example := strings.TrimSuffix(p.Example, ".yaml") + ".example.yaml"
	members = append(members, member{base + "/" + example, filepath.Join(r.source, "release", "files", p.Example), 0o644})
	if t.OS == "windows" {
		return r.zip(base+".zip", members)
	}
	if p.Documents {
		for _, dir := range []string{"man", "completions"} {
			found, err := membersOf(base+"/"+dir, filepath.Join(r.work, p.Name, dir))
			if err != nil {
				return err
			}
			members = append(members, found...)
		}
	}
	return r.tar(base+".tar.gz", members)
}

// membersOf lists the files below a folder, to be put below base.
func membersOf(base, dir string) (members []member, err error) {
	err = filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		members = append(members, member{path.Join(base, filepath.ToSlash(name)), file, 0o644})
		return err
	})
	return members, err
}

func (r *release) tar(name string, members []member) (err error) {
	f, err := r.create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, m := range members {
		text, err := os.ReadFile(m.From)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: m.Name, Mode: m.Mode, Size: int64(len(text)), ModTime: r.version.Time, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), z.Close())
}

func (r *release) zip(name string, members []member) (err error) {
	f, err := r.create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := zip.NewWriter(f)
	for _, m := range members {
		text, err := os.ReadFile(m.From)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: m.Name, Method: zip.Deflate, Modified: r.version.Time}
		h.SetMode(os.FileMode(m.Mode))
		to, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := to.Write(text); err != nil {
			return err
		}
	}
	return w.Close()
}

// checksums writes SHA256SUMS, which sha256sum -c reads.
func (r *release) checksums() (err error) {
	found, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var lines []string
	for _, f := range found {
		sum, err := sumOf(filepath.Join(r.out, f.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sum, f.Name()))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
	f, err := r.create("SHA256SUMS")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, line := range lines {
		if _, err := io.WriteString(f, line); err != nil {
			return err
		}
	}
	return nil
}

func sumOf(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}
