//go:build !linux || arm

package wal

import "os"

func writeOut(*os.File, int64, int64) {}
