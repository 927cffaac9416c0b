package client_test

import (
	"strconv"
	"testing"
	"unsafe"

	"github.com/mqtt311/mqtt311/client"
	"github.com/stretchr/testify/require"
)

// A Receipt is the one allocation of a PublishAsync, and a queue of a million messages has a
// million of them. One more field, and the allocator would use 16 bytes more for each.
func TestSizeOfAReceipt(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("words are smaller here")
	}
	require.LessOrEqual(t, unsafe.Sizeof(client.Receipt{}), uintptr(64))
}

// The allocator has a size class of 1,408 bytes; the next one is 1,536.
func TestSizeOfAClient(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("words are smaller here")
	}
	require.LessOrEqual(t, unsafe.Sizeof(client.Client{}), uintptr(1408))
}
