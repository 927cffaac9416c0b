package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// inEmptyRoot runs the binary where there is nothing but itself.
func inEmptyRoot(t *testing.T, binary string) {
	if os.Getuid() != 0 {
		t.Skip("only root may change the root folder")
	}
	dir := t.TempDir()
	text, err := os.ReadFile(binary)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mqtt311"), text, 0o755))
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	for _, args := range [][]string{{"version"}, {"pub", "-b", b.Addr, "-t", "a", "-m", "hello", "-q", "1"}} {
		cmd := exec.Command("/mqtt311", args...)
		cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", []string{}, &syscall.SysProcAttr{Chroot: dir}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", args, out)
	}
}

// runsImage runs the image as runc does, which is what container engines stand on: read-only, as its
// own user, without capabilities.
func runsImage(t *testing.T, r *release, p program) {
	if _, err := exec.LookPath("runc"); err != nil || os.Getuid() != 0 {
		t.Skip("runc is not installed, or this is not root")
	}
	probe := exec.Command("true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC}
	if err := probe.Run(); err != nil {
		t.Skip("this machine allows no containers:", err)
	}
	r.out = t.TempDir()
	require.NoError(t, r.image(p, []target{here}))
	oci := t.TempDir()
	unpackGzip(t, filepath.Join(r.out, p.Name+"_1.2.3_oci.tar.gz"), oci)

	index, err := layout.ImageIndexFromPath(oci)
	require.NoError(t, err)
	manifests, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifests.Manifests, 1)
	require.Equal(t, here.Arch, manifests.Manifests[0].Platform.Architecture)
	img, err := index.Image(manifests.Manifests[0].Digest)
	require.NoError(t, err)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, r.version.Commit, config.Config.Labels["org.opencontainers.image.revision"])

	bundle := t.TempDir()
	root := filepath.Join(bundle, "rootfs")
	require.NoError(t, os.Mkdir(root, 0o755))
	whole := mutate.Extract(img)
	defer whole.Close()
	unpack(t, whole, root)

	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	for i, args := range [][]string{
		{"version"},
		{"pub", "-b", b.Addr, "-t", "a", "-m", "hello", "-q", "1"},
	} {
		spec := map[string]any{
			"ociVersion": "1.0.2",
			"root":       map[string]any{"path": "rootfs", "readonly": true},
			"process": map[string]any{
				"args": append(append([]string{}, config.Config.Entrypoint...), args...),
				"cwd":  config.Config.WorkingDir, "user": map[string]any{"uid": Nobody, "gid": Nobody}, "noNewPrivileges": true,
				"env": []string{"PATH=/usr/bin"},
			},
			"mounts": []any{map[string]any{"destination": "/proc", "type": "proc", "source": "proc"}},
			"linux":  map[string]any{"namespaces": []any{map[string]any{"type": "pid"}, map[string]any{"type": "mount"}, map[string]any{"type": "ipc"}}},
		}
		text, err := json.Marshal(spec)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600))
		out, err := exec.Command("runc", "--root", filepath.Join(t.TempDir(), "state"), "run", "--bundle", bundle, fmt.Sprintf("mqtt311-test-%d-%d", os.Getpid(), i)).CombinedOutput()
		require.NoError(t, err, "%s: %s", args, out)
		if args[0] == "version" {
			require.Contains(t, string(out), p.Name+" 1.2.3,")
		}
	}
	require.Equal(t, fmt.Sprintf("%d:%d", Nobody, Nobody), config.Config.User)
}

func unpackGzip(t *testing.T, name, dir string) {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	unpack(t, z, dir)
}

// unpack writes the files of a tar file below a folder.
func unpack(t *testing.T, from io.Reader, dir string) {
	t.Helper()
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		require.True(t, strings.HasPrefix(path, dir))
		if h.Typeflag == tar.TypeDir {
			require.NoError(t, os.MkdirAll(path, 0o755))
		} else {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			text, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, text, os.FileMode(h.Mode).Perm()))
		}
		require.NoError(t, os.Chown(path, h.Uid, h.Gid))
		require.NoError(t, os.Chmod(path, os.FileMode(h.Mode).Perm()))
	}
}
