package loglimit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/internal/loglimit"
	"github.com/stretchr/testify/require"
)

func logger() (*slog.Logger, *bytes.Buffer) {
	out := new(bytes.Buffer)
	return slog.New(loglimit.New(slog.NewJSONHandler(out, nil))), out
}

// taken returns the lines written since the last call.
func taken(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		all = append(all, m)
	}
	out.Reset()
	return all
}

// The lines with the same message are limited in ten seconds, whatever their attributes and logger.
// The next line says how many were left out.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, out := logger()
		other := slog.New(loglimit.New(log.With("who", "other").Handler()))
		for i := range 5000 {
			log.Warn("flood", "i", i)
			other.WithGroup("g").Warn("flood", "i", i)
		}
		other.Info("something else")
		lines := taken(t, out)
		require.Len(t, lines, 101)
		require.Equal(t, "something else", lines[100]["msg"])

		time.Sleep(9 * time.Second)
		log.Warn("flood")
		require.Empty(t, taken(t, out))
		time.Sleep(time.Second)
		log.Warn("flood", "last", true)
		log.Warn("flood")
		lines = taken(t, out)
		require.Len(t, lines, 2)
		require.EqualValues(t, 9901, lines[0]["left_out"])
		require.Equal(t, true, lines[0]["last"])
		require.NotContains(t, lines[1], "left_out")
	})
}

// Messages that vary with their content are limited, too.
func TestManyMessages(t *testing.T) {
	log, out := logger()
	for i := range 100_000 {
		log.Warn(strings.Repeat("x", i%3000))
		out.Reset()
	}
	log.Warn("and then")
	require.Len(t, taken(t, out), 1)
}

// A value takes at most a KiB as written, and the rest of the line is unchanged.
func TestLongValues(t *testing.T) {
	for name, value := range map[string]any{
		"text":               strings.Repeat("a", 100_000),
		"control characters": strings.Repeat("\x01", 100_000),
		"no UTF-8":           strings.Repeat("\xff", 100_000),
		"quotes":             strings.Repeat(`"`, 100_000),
		"error":              errors.New(strings.Repeat("漢", 100_000)),
	} {
		t.Run(name, func(t *testing.T) {
			log, out := logger()
			log.Warn("m", "before", 7, "long", value, "after", []int{1})
			require.Less(t, out.Len(), 1400)
			line := taken(t, out)[0]
			require.Contains(t, line["long"], "00 bytes)")
			require.EqualValues(t, 7, line["before"])
			require.NotEmpty(t, line["after"])
		})
	}
	log, out := logger()
	whole := strings.Repeat("漢", 341) + "a"
	log.Warn("m", "long", whole)
	require.Equal(t, whole, taken(t, out)[0]["long"])
}
