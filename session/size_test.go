package session

import (
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// The allocator rounds a Session up to a kilobyte, of which it wants eight bytes for itself: one
// more field, and each client has 128 bytes more.
func TestSizeOfASession(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("words are smaller here")
	}
	require.LessOrEqual(t, unsafe.Sizeof(Session{}), uintptr(1024-8))
}
