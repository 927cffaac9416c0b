package session

import (
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// The allocator rounds a Session up to 1,024 bytes, eight of which it needs itself. One more field
// would cost each client another 128 bytes.
func TestSizeOfASession(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("words are smaller here")
	}
	require.LessOrEqual(t, unsafe.Sizeof(Session{}), uintptr(1024-8))
}
