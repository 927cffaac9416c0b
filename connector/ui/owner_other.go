//go:build !unix

package ui

import (
	"io/fs"
	"os"
)

func keepOwner(*os.File, fs.FileInfo) {}
