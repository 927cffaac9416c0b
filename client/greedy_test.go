package client_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// flood writes copies of a packet until it has written most of them or the connection ends.
func (d *dialogue) flood(p packets.Packet, most int64) (written *atomic.Int64) {
	one, err := p.AppendBinary(nil)
	require.NoError(d, err)
	var batch []byte
	for range 100 {
		batch = append(batch, one...)
	}
	written = new(atomic.Int64)
	go func() {
		for written.Load() < most {
			n, err := d.conn.Write(batch)
			written.Add(int64(n / len(one)))
			if err != nil {
				return
			}
		}
	}()
	return written
}

// When a Server does not read the answers that it asks for, the client stops reading, too, so the
// waiting answers are bounded. At QoS 1 they are bounded anyway: a message whose PUBACK waits is not
// answered again.
func TestAnswersThatNobodyReads(t *testing.T) {
	const most = 2*65536 + 10_000 // what a batch adds, and copies that came before the first answer was due
	for name, p := range map[string]packets.Packet{
		"PUBREC for nothing": &packets.Pubrec{PacketID: 7},
		"PUBREL for nothing": &packets.Pubrel{PacketID: 7},
		"copies of QoS 2":    &packets.Publish{Topic: "t", QoS: packets.ExactlyOnce, PacketID: 7},
	} {
		t.Run(name, func(t *testing.T) {
			connected(t, client.Config{NoScrub: true, WriteTimeout: time.Hour, KeepAlive: -1}, func(d *dialogue) {
				require.NoError(t, d.client.HandleUnmatched(func(context.Context, *client.Delivery) {}))
				const all = 4 * 65536
				written := d.flood(p, all)
				synctest.Wait()
				require.Greater(t, written.Load(), int64(65536))
				require.Less(t, written.Load(), int64(most))
				time.Sleep(10 * time.Minute)
				require.Less(t, written.Load(), int64(most))
				require.Equal(t, client.Connected, d.client.State())

				go io.Copy(io.Discard, d.conn) // the Server reads at last
				synctest.Wait()
				require.GreaterOrEqual(t, written.Load(), int64(all))
				require.Equal(t, client.Connected, d.client.State())
			})
		})
	}
	connected(t, client.Config{NoScrub: true, NoReconnect: true}, func(d *dialogue) { // it never reads
		begun := time.Now()
		d.flood(&packets.Pubrec{PacketID: 7}, 1<<30)
		<-d.client.Done()
		require.Equal(t, 30*time.Second, time.Since(begun), "the write time-out")
	})
	connected(t, client.Config{NoScrub: true}, func(d *dialogue) { // and the program leaves
		d.flood(&packets.Pubrec{PacketID: 7}, 1<<30)
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, d.client.Close(d.ctx))
		require.LessOrEqual(t, time.Since(begun), 3*time.Second)
	})
}

// Answers that wait for a stalled disk are bounded, too.
func TestAnswersThatWaitForADisk(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{NoScrub: true, Store: disk, KeepAlive: -1}, func(d *dialogue) {
		require.NoError(t, d.client.HandleUnmatched(func(context.Context, *client.Delivery) {}))
		goOn := disk.stall()
		go io.Copy(io.Discard, d.conn)
		d.send(&packets.Publish{Topic: "t", QoS: packets.ExactlyOnce, PacketID: 7})
		const all = 4 * 65536
		written := d.flood(&packets.Publish{Topic: "t", QoS: packets.ExactlyOnce, PacketID: 7, Dup: true}, all)
		synctest.Wait()
		require.Less(t, written.Load(), int64(2*65536+1000))
		goOn()
		synctest.Wait()
		require.GreaterOrEqual(t, written.Load(), int64(all))
	})
}

// A packet that arrives byte by byte without end does not keep a connection alive. A large packet on a
// slow link does, because PINGRESP waits behind it.
func TestPacketThatIsNeverComplete(t *testing.T) {
	const size = 60_000
	for _, row := range []struct {
		name  string
		piece int
		every time.Duration
		kept  bool
	}{
		{"a byte every four seconds", 1, 4 * time.Second, false},
		{"a byte a second", 1, time.Second, false},
		{"ten bytes, at the last moment", 10, 9 * time.Second, false},
		{"a kilobyte every four seconds", 1 << 10, 4 * time.Second, true},
		{"a large piece now and then", 10_000, 9 * time.Second, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			connected(t, client.Config{KeepAlive: 10 * time.Second, NoReconnect: true}, func(d *dialogue) {
				begun := time.Now()
				packet, err := (&packets.Publish{Topic: "t", Payload: make([]byte, size)}).AppendBinary(nil)
				require.NoError(t, err)
				go io.Copy(io.Discard, d.conn)
				for len(packet) > 0 && d.client.State() == client.Connected {
					n, _ := d.conn.Write(packet[:min(row.piece, len(packet))])
					packet = packet[n:]
					time.Sleep(row.every)
				}
				require.Equal(t, row.kept, d.client.State() == client.Connected)
				if row.kept {
					require.EqualValues(t, 1, d.client.Stats().Received)
					return
				}
				require.ErrorIs(t, d.client.Err(), client.ErrPingTimeout)
				require.LessOrEqual(t, time.Since(begun), 40*time.Second)
			})
		})
	}
}
