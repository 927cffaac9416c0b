package wal

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A salvaged message that may have been sent keeps its identifier and is sent with DUP. A new
// message at QoS 2 waits until its identifier is released, even though the old store had released
// all: the Server may hold the identifier for a message whose record is lost.
func TestWALSalvagedSession(t *testing.T) {
	opt := options(t.TempDir())
	s, err := Open(opt)
	require.NoError(t, err)
	var lost int64
	for _, r := range []session.Record{
		{Kind: session.RecordSession, Made: session.MadeReleasing},
		{Kind: session.RecordScrubbed, Seq: 1 << 15}, // every identifier is released
		{Kind: session.RecordSequence, Seq: 32},
		{Kind: session.RecordPublish, Seq: 5, Publish: &packets.Publish{QoS: 2, Topic: "kept", Payload: []byte("1")}},
		{Kind: session.RecordPublish, Seq: 6, Publish: &packets.Publish{QoS: 2, Topic: "lost", Payload: []byte("2")}},
		{Kind: session.RecordFilter, Filter: packets.Subscription{Filter: "in/#", QoS: 1}},
	} {
		if r.Publish != nil && r.Publish.Topic == "lost" {
			lost = s.active().size
		}
		require.NoError(t, s.Commit([]client.Change{{Key: r.AppendKey(nil), Value: r.AppendValue(nil)}}))
	}
	require.NoError(t, s.Close())
	name := filepath.Join(Folder(opt.Dir, opt.Server, opt.ClientID), segmentName(1))
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b[lost+headSize] ^= 1
	require.NoError(t, os.WriteFile(name, b, 0o600))
	dir := t.TempDir()
	found, _, err := Salvage(filepath.Dir(name), dir)
	require.NoError(t, err)
	require.Len(t, found.Damage, 1)
	opt.Dir = dir
	if s, err = Open(opt); err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	synctest.Test(t, func(t *testing.T) {
		server := clienttest.NewServer()
		c, err := client.New(client.Config{Dial: server.Dial, ClientID: opt.ClientID, Store: s})
		require.NoError(t, err)
		defer c.Abort()
		done := make(chan error, 2)
		go func() {
			if err := c.Connect(t.Context()); err != nil {
				done <- err
				return
			}
			done <- c.Publish(t.Context(), client.Message{Topic: "new", QoS: 2})
		}()
		conn, err := server.Accept(t.Context())
		require.NoError(t, err)
		conn.Raw = true
		_, err = conn.Handshake(true)
		require.NoError(t, err)
		released, kept := make(map[uint16]bool), false
		for {
			p, err := conn.Receive()
			require.NoError(t, err)
			switch p := p.(type) {
			case *packets.Subscribe:
				err = conn.Send(&packets.Suback{PacketID: p.PacketID, Codes: []packets.SubscribeCode{1}})
			case *packets.Pubrel:
				released[p.PacketID] = true
				err = conn.Send(&packets.Pubcomp{PacketID: p.PacketID})
			case *packets.Publish:
				if p.Topic == "kept" {
					require.True(t, p.Dup)
					require.EqualValues(t, 6, p.PacketID)
					require.NotContains(t, released, p.PacketID, "that would make a second message of it")
					kept = true
					break
				}
				require.Equal(t, "new", p.Topic)
				require.True(t, kept)
				require.True(t, released[p.PacketID], "identifier %d", p.PacketID)
				return
			}
			require.NoError(t, err)
		}
	})
}
