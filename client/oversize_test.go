package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// skipped returns the messages that were skipped.
func (d *dialogue) skipped() (bad []*client.IncomingError) {
	synctest.Wait()
	for _, e := range d.events {
		if b := new(client.IncomingError); e.Kind == client.MessageSkipped && errors.As(e.Err, &b) {
			bad = append(bad, b)
		}
	}
	return bad
}

// large returns a message above a MaxPacketSize of 1 MiB.
func large(qos packets.QoS, id uint16) *packets.Publish {
	return &packets.Publish{Topic: "large", QoS: qos, PacketID: id, Retain: true, Payload: bytes.Repeat([]byte("0123456789abcde\n"), 5<<16)}
}

// taking returns a configuration that passes messages above 1 MiB to take.
func taking(take func(ctx context.Context, m *client.IncomingError, payload io.Reader) (bool, error)) client.Config {
	return client.Config{MaxPacketSize: 1 << 20, SkipOversize: true, TakeOversize: take}
}

// A message that is too large goes to TakeOversize in full, before it is acknowledged. What TakeOversize
// leaves unread is not read as another packet.
func TestTakeOversize(t *testing.T) {
	for _, qos := range []packets.QoS{0, 1, 2} {
		for _, part := range []int64{5 << 20, 1 << 20, 0} {
			t.Run(fmt.Sprint(qos, " ", part), func(t *testing.T) {
				hash, taken := sha256.New(), int64(0)
				cfg := taking(func(_ context.Context, m *client.IncomingError, payload io.Reader) (bool, error) {
					require.Equal(t, "large", m.Topic)
					require.Equal(t, qos, m.QoS)
					require.True(t, m.Retain)
					var err error
					taken, err = io.Copy(hash, io.LimitReader(payload, part))
					if part == 5<<20 {
						n, err := payload.Read(make([]byte, 1))
						require.Zero(t, n)
						require.Equal(t, io.EOF, err)
					}
					return part > 0, err
				})
				connected(t, cfg, func(d *dialogue) {
					p := large(qos, uint16(min(qos, 1))*7)
					d.send(p, &packets.Publish{Topic: "small", QoS: 1, PacketID: 8})
					if qos > 0 {
						d.expect(map[packets.QoS]string{1: "PUBACK id=7", 2: "PUBREC id=7"}[qos])
					}
					for m, err := range d.client.Messages(d.ctx) {
						require.NoError(t, err)
						require.Equal(t, "small", m.Topic)
						break
					}
					require.Equal(t, part, taken)
					want := sha256.Sum256(p.Payload[:part])
					require.Equal(t, want[:], hash.Sum(nil))
					bad := d.skipped()
					require.Len(t, bad, 1)
					require.Equal(t, part > 0, bad[0].Taken)
					require.NoError(t, bad[0].TakeErr)
					require.EqualValues(t, 1, d.client.Stats().Skipped)
				})
			})
		}
	}
}

// A message that TakeOversize fails to take is not acknowledged: the connection ends, so that the Server
// sends it again. Where it would not be sent again, the connection stays.
func TestTakeOversizeFails(t *testing.T) {
	full := errors.New("disk full")
	for _, c := range []struct {
		qos   packets.QoS
		clean bool
		ends  bool
	}{{0, false, false}, {1, false, true}, {2, false, true}, {1, true, false}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			calls := 0
			cfg := taking(func(_ context.Context, _ *client.IncomingError, payload io.Reader) (bool, error) {
				if calls++; calls <= 4 {
					io.CopyN(io.Discard, payload, 100_000)
					return false, full
				}
				_, err := io.Copy(io.Discard, payload)
				return true, err
			})
			cfg.CleanSession = c.clean
			connected(t, cfg, func(d *dialogue) {
				p := large(c.qos, uint16(min(c.qos, 1))*7)
				if !c.ends {
					d.send(p, &packets.Publish{Topic: "small"})
					bad := d.skipped()
					require.Len(t, bad, 1)
					require.ErrorIs(t, bad[0].TakeErr, full)
					require.False(t, bad[0].Taken)
					require.Equal(t, client.Connected, d.client.State())
					return
				}
				for range 4 { // more often than faults of the Server end a client
					go d.conn.Send(p)
					d.expectEnd()
					d.accept(true)
					p.Dup = true
				}
				d.send(p)
				d.expect(map[packets.QoS]string{1: "PUBACK id=7", 2: "PUBREC id=7"}[c.qos])
				lost := 0
				for _, e := range d.events {
					if e.Kind == client.ConnectionLost {
						require.ErrorIs(t, e.Err, full)
						require.ErrorContains(t, e.Err, "client: Config.TakeOversize: disk full")
						lost++
					}
				}
				require.Equal(t, 4, lost)
				require.Len(t, d.skipped(), 1)
			})
		})
	}
}

// A message that the session recognises is acknowledged but not taken again.
func TestTakeOversizeOnce(t *testing.T) {
	calls := 0
	cfg := taking(func(context.Context, *client.IncomingError, io.Reader) (bool, error) { calls++; return true, nil })
	cfg.ManualAck = true
	connected(t, cfg, func(d *dialogue) {
		d.send(&packets.Publish{Topic: "first", QoS: 1, PacketID: 1}) // holds back the acknowledgements
		one, two := large(1, 7), large(2, 8)
		d.send(one, two)
		d.expect("PUBREC id=8")
		d.cut()
		d.accept(true)
		one.Dup, two.Dup = true, true
		d.send(&packets.Publish{Topic: "first", QoS: 1, PacketID: 1, Dup: true}, one, two)
		d.expect("PUBREC id=8")
		require.Equal(t, 2, calls)
		d.send(&packets.Pubrel{PacketID: 8})
		d.expect("PUBCOMP id=8")
		d.send(large(2, 8)) // another one
		d.expect("PUBREC id=8")
		require.Equal(t, 3, calls)
	})
}

// While TakeOversize does not read, a silent Server is not given up, and PINGREQ is still sent. A
// Server that sends a payload byte by byte is given up.
func TestTakeOversizeKeepsAlive(t *testing.T) {
	for _, slow := range []bool{true, false} {
		t.Run(fmt.Sprint(slow), func(t *testing.T) {
			cfg := taking(func(ctx context.Context, _ *client.IncomingError, payload io.Reader) (bool, error) {
				b := make([]byte, 1<<20)
				for {
					_, err := io.ReadFull(payload, b)
					if slow {
						time.Sleep(45 * time.Second) // of a disk
					}
					if err != nil {
						return true, nil
					}
				}
			})
			cfg.KeepAlive = 20 * time.Second
			connected(t, cfg, func(d *dialogue) {
				if slow {
					go d.conn.Send(large(1, 7))
					start, pings := time.Now(), 0
					for {
						d.conn.SetReadDeadline(time.Now().Add(time.Hour))
						p, err := d.conn.Receive()
						require.NoError(t, err)
						if p.Type() == packets.PUBACK {
							break
						}
						require.Equal(t, packets.PINGREQ, p.Type())
						pings++
					}
					require.Equal(t, 6*45*time.Second, time.Since(start))
					require.GreaterOrEqual(t, pings, 6)
					return
				}
				go func() {
					b, _ := large(1, 7).AppendBinary(nil)
					for i := range b {
						if _, err := d.conn.Write(b[i : i+1]); err != nil {
							return
						}
						if i > 16 {
							time.Sleep(time.Second)
						}
					}
				}()
				start := time.Now()
				d.expect("PINGREQ")
				d.expectEnd()
				require.Less(t, time.Since(start), time.Minute)
				d.conn.Close()
				time.Sleep(2 * time.Second)
			})
		})
	}
}

// When the connection ends, so does the payload; the context ends a TakeOversize that waits for
// something else.
func TestTakeOversizeThroughAnEnd(t *testing.T) {
	var got []error
	cfg := taking(func(ctx context.Context, _ *client.IncomingError, payload io.Reader) (bool, error) {
		var err error
		if len(got) == 0 {
			_, err = io.Copy(io.Discard, payload)
		} else {
			<-ctx.Done()
			err = context.Cause(ctx)
		}
		got = append(got, err)
		return true, err
	})
	connected(t, cfg, func(d *dialogue) {
		b, _ := large(1, 7).AppendBinary(nil)
		d.conn.Write(b[:100_000])
		d.cut()
		d.accept(true)
		d.conn.Write(b[:100_000])
		synctest.Wait()
		d.client.Abort()
		require.Len(t, got, 2)
		require.ErrorIs(t, got[0], io.ErrUnexpectedEOF)
		require.ErrorIs(t, got[1], context.Canceled)
		require.Empty(t, d.skipped())
		for _, e := range d.events {
			require.NotContains(t, fmt.Sprint(e.Err), "TakeOversize")
		}
	})
}
