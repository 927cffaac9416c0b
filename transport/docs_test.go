package transport_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
)

// The table of docs/transport.md holds each hint once, word for word.
func TestTableOfFailures(t *testing.T) {
	var got []transport.Hint
	for _, row := range failure.Table(t) {
		got = append(got, transport.Hint{Code: row.Code, EN: row.EN, ZH: row.ZH})
		require.NotEmpty(t, row.Messages)
	}
	require.Equal(t, transport.Hints(), got)
	_, ok := transport.HintOf(nil)
	require.False(t, ok)
}
