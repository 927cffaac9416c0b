//go:build !linux

package hostile

import "errors"

func limitFiles(uint64) error { return errors.New("hostile: only on Linux") }
