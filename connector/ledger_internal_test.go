package connector

import (
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// The record that a later flow ended while an earlier one ran is trusted only as long as the
// acknowledgements wait: what proves that is durably removed before they may be sent. Otherwise a
// process that is killed right after sending them would leave the proof behind, and another message
// with the same identifier and content would be acknowledged without a run.
func TestLedgerProofEndsBeforeTheAcknowledgement(t *testing.T) {
	store, err := wal.Open(wal.Options{Dir: t.TempDir(), Server: "s", ClientID: "c"})
	require.NoError(t, err)
	defer store.Close()
	c, err := client.New(client.Config{Dial: clienttest.NewServer().Dial, ClientID: "c", ManualAck: true, Store: store})
	require.NoError(t, err)
	defer c.Abort()
	l := openLedger(c, time.Now())
	var entries []*entry
	for i := range uint16(3) {
		d := &client.Delivery{Topic: "t", Payload: []byte{'a'}, QoS: packets.AtLeastOnce, PacketID: i + 1}
		e := l.take("in", d, uint64(i))
		require.NoError(t, l.begin(e, false))
		entries = append(entries, e)
	}
	believed := func() (ids []uint16) {
		for _, known := range openLedger(c, time.Now()).found {
			for _, e := range known {
				if e.adopt {
					ids = append(ids, e.id)
				}
			}
		}
		return ids
	}
	l.finish(entries[2])
	require.Contains(t, believed(), uint16(3))
	l.finish(entries[1])
	require.Contains(t, believed(), uint16(2))
	l.finish(entries[0]) // and from now on all three may leave
	require.Empty(t, believed())
}
