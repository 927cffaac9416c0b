//go:build unix

package others

import (
	"io/fs"
	"os"
	"syscall"
)

// ownerOf returns the user whose file it is, and the one who asks.
func ownerOf(info fs.FileInfo) (owner, self int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), os.Geteuid(), true
}
