package torture

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
)

func tallyOf(t *testing.T, lines ...string) *tally {
	t.Helper()
	name := filepath.Join(t.TempDir(), "journal")
	require.NoError(t, os.WriteFile(name, []byte("\n"+strings.Join(lines, "\n")), 0o600))
	y := newTally()
	require.NoError(t, y.read(name))
	return y
}

func saw(numbers ...int) *observer {
	o := &observer{seen: [3]map[int]int{nil, {}, {}}}
	for _, n := range numbers {
		o.seen[1][n]++
		o.seen[2][n]++
	}
	return o
}

// What was accepted must arrive. What was under way at a kill may.
func TestCountsWhatWasPublished(t *testing.T) {
	y := tallyOf(t, "run .",
		"intend 2 0 .", "accepted 2 0 .", "intend 2 1 .", "accepted 2 1 .", "intend 2 2 .", "intend 1 0 .", "accepted 1 0 .", "intend 1 1")
	require.Equal(t, [3]int{0, 1, 3}, y.next(), "a line that was cut is none, and its number was never used")

	r := y.compare(saw(0, 1), newWitness(), 0)
	require.Zero(t, r.Lost())
	require.Zero(t, r.Duplicated())
	require.Equal(t, 1, r.Published[2].Unsure)

	r = y.compare(saw(0, 2), newWitness(), 0)
	require.Equal(t, 1, r.Published[2].Lost, "number 1")
	require.Equal(t, 1, r.Lost())

	r = y.compare(saw(0, 0, 1, 2, 2), newWitness(), 0)
	require.Equal(t, 2, r.Duplicated(), "of those that were under way, too")
	require.Equal(t, 2, r.Published[1].Again, "which QoS 1 allows")
}

// Only the message in work at a kill may be consumed again.
func TestCountsWhatWasConsumed(t *testing.T) {
	y := tallyOf(t,
		"run .", "noted 2 0 .", "noted 1 0 .", "noted 2 1 .",
		"run .", "noted 1 0 .",
		"run .", "noted 2 1 .", "noted 1 2 .",
		"run .", "noted 2 1 .", "noted 2 0 .")
	r := y.compare(saw(), newWitness(), 3)
	require.Equal(t, 2, r.Consumed[2].InWork, "number 1, twice: it was in work twice")
	require.Equal(t, 1, r.Consumed[2].Again, "number 0: another one was in work after it")
	require.Equal(t, 1, r.Consumed[2].Lost, "number 2")
	require.Equal(t, 1, r.Consumed[1].Lost, "number 1")
	require.Equal(t, 1, r.Consumed[1].Again)
	require.Equal(t, 2, r.Lost())
	require.Equal(t, 1, r.Duplicated())
	require.Contains(t, r.String(), "2 lost, 1 duplicated at QoS 2")
}

// The journal is read while it is written.
func TestReadsTheJournalInPieces(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	y := newTally()
	require.NoError(t, y.read(name), "it is not there yet")
	text := "\nrun .\nnoted 2 10 .\nnoted 2 1\nrun .\nnoted 2 11 ."
	for end := range len(text) + 1 {
		require.NoError(t, os.WriteFile(name, []byte(text[:end]), 0o600))
		require.NoError(t, y.read(name))
	}
	require.Equal(t, map[int]int{10: 1, 11: 1}, y.notes[2])
	require.Equal(t, 1, y.torn)

	require.NoError(t, os.WriteFile(name, []byte("\nnoted 7 1 ."), 0o600))
	require.ErrorContains(t, newTally().read(name), "QoS 7")
}

// A PUBLISH after its PUBREL is the Server's fault, before it the client has to recognise it.
func TestWitness(t *testing.T) {
	w := newWitness()
	var b []byte
	for _, p := range []packets.Packet{
		&packets.Publish{Topic: "in/2", QoS: 2, PacketID: 5, Payload: Payload(40)},
		&packets.Publish{Topic: "in/2", QoS: 2, PacketID: 6, Payload: Payload(41)},
		&packets.Publish{Topic: "in/2", QoS: 2, PacketID: 6, Payload: Payload(41), Dup: true},
		&packets.Pubrel{PacketID: 5},
		&packets.Publish{Topic: "in/2", QoS: 2, PacketID: 5, Payload: Payload(42)},
		&packets.Publish{Topic: "in/2", QoS: 2, PacketID: 5, Payload: Payload(40), Dup: true},
	} {
		var err error
		b, err = p.AppendBinary(b)
		require.NoError(t, err)
	}
	var held []byte
	for i := range b { // whatever pieces the stream comes in
		var err error
		held, err = w.read(append(held, b[i]))
		require.NoError(t, err)
	}
	require.Empty(t, held)
	require.Equal(t, map[int]int{40: 1}, w.again)

	y := tallyOf(t, "run .", "noted 2 40 .", "noted 2 41 .", "noted 2 40 .", "noted 2 41 .")
	r := y.compare(saw(), w, 0)
	require.Equal(t, 1, r.Consumed[2].Broken, "number 40")
	require.Equal(t, 1, r.Duplicated(), "number 41")
}
