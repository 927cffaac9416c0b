package client_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// incoming returns the errors of the messages that were skipped.
func (d *dialogue) incoming() (texts []string) {
	synctest.Wait()
	for _, e := range d.events {
		if bad := new(client.IncomingError); e.Kind == client.MessageSkipped && errors.As(e.Err, &bad) {
			texts = append(texts, e.Err.Error())
		}
	}
	return texts
}

// With SkipMalformed, a message with a malformed topic is skipped: acknowledged as its QoS
// requires, counted, and reported with what is known of it. Messages behind it are received.
func TestSkipMalformed(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		out    []string
		told   string
		behind bool // it stands behind a message that is not acknowledged yet
	}{
		"QoS 0":           {in: "\x30\x06\x00\x03a\x00bx", told: `on "a\x00b" (QoS 0, 8 bytes) is malformed: byte 5: topic name holds a NUL character [MQTT-1.5.3-2]`},
		"QoS 1":           {in: "\x32\x08\x00\x03a\x00b\x00\x07x", out: []string{"PUBACK id=7"}, told: `on "a\x00b" (QoS 1, id 7, 10 bytes)`},
		"QoS 2":           {in: "\x34\x05\x00\x01#\x00\x07", out: []string{"PUBREC id=7"}, told: `on "#" (QoS 2, id 7, 7 bytes)`},
		"not UTF-8":       {in: "\x33\x05\x00\x01\xff\x00\x07", out: []string{"PUBACK id=7"}, told: `on "\xff"`},
		"empty":           {in: "\x32\x04\x00\x00\x00\x07", out: []string{"PUBACK id=7"}, told: `on "" (QoS 1, id 7, 6 bytes) is malformed: byte 4: topic name is empty`},
		"no identifier":   {in: "\x32\x03\x00\x01#", told: `on "#" (QoS 1, id 0, 5 bytes)`},
		"identifier zero": {in: "\x34\x05\x00\x01#\x00\x00", told: `on "#" (QoS 2, id 0, 7 bytes)`},
		"longer":          {in: "\x34\x05\x00\x09#\x00\x01", told: `on "" (QoS 2, id 0, 7 bytes) is malformed: byte 2: topic name is longer than the packet`},
		"in its place":    {in: "\x32\x05\x00\x01#\x00\x07", behind: true, told: `on "#"`},
	} {
		t.Run(name, func(t *testing.T) {
			connected(t, client.Config{SkipMalformed: true, ManualAck: true}, func(d *dialogue) {
				var in []byte
				if c.behind {
					in, _ = (&packets.Publish{Topic: "first", QoS: 1, PacketID: 3}).AppendBinary(in)
				}
				in = append(in, c.in...)
				in, _ = (&packets.Publish{Topic: "next", QoS: 1, PacketID: 8}).AppendBinary(in)
				go d.conn.Write(in) // all of it in one read
				var waiting []*client.Delivery
				for m, err := range d.client.Messages(d.ctx) {
					require.NoError(t, err)
					if waiting = append(waiting, m); m.Topic == "next" {
						break
					}
				}
				d.expect(c.out...)
				if c.behind {
					require.NoError(t, waiting[1].Ack())
					require.NoError(t, waiting[0].Ack())
					d.expect("PUBACK id=3", "PUBACK id=7", "PUBACK id=8")
				} else {
					require.Len(t, waiting, 1)
					require.NoError(t, waiting[0].Ack())
					d.expect("PUBACK id=8")
				}
				told := d.incoming()
				require.Len(t, told, 1)
				require.Contains(t, told[0], c.told)
				s := d.client.Stats()
				require.EqualValues(t, 1, s.Malformed)
				require.Zero(t, s.Skipped+s.Faults)
				require.EqualValues(t, len(waiting)+1, s.Received)
			})
		})
	}
}

// A skipped message that is sent again, before or after its acknowledgement, is answered, but
// reported only once in a session.
func TestSkippedMalformedComesAgain(t *testing.T) {
	connected(t, client.Config{SkipMalformed: true}, func(d *dialogue) {
		const bad = "\x34\x05\x00\x01#\x00\x07"
		d.conn.Write([]byte(bad))
		d.expect("PUBREC id=7")
		d.cut()
		d.accept(true)
		d.conn.Write([]byte("\x3c" + bad[1:]))
		d.expect("PUBREC id=7")
		d.send(&packets.Pubrel{PacketID: 7})
		d.expect("PUBCOMP id=7")
		require.Len(t, d.incoming(), 1)
		require.EqualValues(t, 1, d.client.Stats().Session.Redelivered)
	})
}

// Only the topic may be malformed. Any other violation, or one that makes the rest of the stream
// unreadable, ends the connection, as does any violation before CONNACK.
func TestSkipMalformedSkipsNothingElse(t *testing.T) {
	for name, packet := range map[string]string{
		"QoS 3": "\x36\x05\x00\x01#\x00\x01", "DUP at QoS 0": "\x38\x03\x00\x01#", "identifier zero": "\x32\x05\x00\x01t\x00\x00",
		"length": "\x30\xff\xff\xff\xff", "PUBACK": "\x40\x02\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			connected(t, client.Config{SkipMalformed: true, SkipOversize: true}, func(d *dialogue) {
				d.conn.Write([]byte(packet))
				d.expectEnd()
				require.Empty(t, d.incoming())
			})
		})
	}
	for _, packet := range []string{"\x30\x03\x00\x01#", "\x30\xff\x7f\x00\x01t"} {
		inBubble(t, client.Config{SkipMalformed: true, SkipOversize: true, MaxPacketSize: 1024}, func(d *dialogue) {
			up := d.start(func() error { return d.client.Connect(d.ctx) })
			conn, err := d.server.Accept(d.ctx)
			require.NoError(t, err)
			d.conn = conn
			_, err = conn.Receive()
			require.NoError(t, err)
			conn.Write([]byte(packet))
			d.expectEnd()
			var noise *client.HandshakeError
			require.ErrorAs(t, up(), &noise)
		})
	}
}

// Without SkipMalformed, the error that ends the connection describes the message.
func TestMalformedIsNamed(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		d.conn.Write([]byte("\x32\x08\x00\x03a\x00b\x00\x07x"))
		d.expectEnd()
		synctest.Wait()
		var bad *client.IncomingError
		for _, e := range d.events {
			if e.Kind == client.ConnectionLost {
				require.ErrorAs(t, e.Err, &bad)
			}
		}
		require.Equal(t, "a\x00b", bad.Topic)
		require.Equal(t, `client: received message on "a\x00b" (QoS 1, id 7, 10 bytes) is malformed: byte 5: topic name holds a NUL character [MQTT-1.5.3-2]`, bad.Error())
	})
}

// A message that is both too large and malformed is skipped only if both kinds are.
func TestSkipOversizeAndMalformed(t *testing.T) {
	large := append([]byte("\x32\xff\x0f\x00\x01#\x00\x07"), make([]byte, 2047-5)...)
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprint(both), func(t *testing.T) {
			connected(t, client.Config{SkipOversize: true, SkipMalformed: both, MaxPacketSize: 1024}, func(d *dialogue) {
				go d.conn.Write(large)
				if !both {
					d.expectEnd()
					return
				}
				d.expect("PUBACK id=7")
				require.Equal(t, []string{`client: received message on "#" (QoS 1, id 7, 2050 bytes) is larger than Config.MaxPacketSize, 1024 bytes`}, d.incoming())
				require.EqualValues(t, 1, d.client.Stats().Skipped)
			})
		})
	}
}

// Each skipped message is counted and reported as an event, but a flood of them is logged once a
// minute.
func TestSkippedIsLoggedOnceAMinute(t *testing.T) {
	var log strings.Builder
	cfg := client.Config{SkipMalformed: true, KeepAlive: -1, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	connected(t, cfg, func(d *dialogue) {
		for range 2 {
			for range 100 {
				d.conn.Write([]byte("\x30\x03\x00\x01#"))
			}
			synctest.Wait()
			time.Sleep(time.Minute)
		}
		require.Len(t, d.incoming(), 200)
	})
	require.Equal(t, 2, strings.Count(log.String(), "message skipped"))
	require.Contains(t, log.String(), "malformed=101")
}
