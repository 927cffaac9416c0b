//go:build unix

package others

import (
	"io/fs"
	"os"
	"syscall"
)

// ownerOf returns the owner of a file, and the user of this process.
func ownerOf(info fs.FileInfo) (owner, self int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), os.Geteuid(), true
}
