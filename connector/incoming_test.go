package connector_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// unacceptable are messages that a connector with max_packet_size 1024 does not accept, without
// their flags.
var unacceptable = map[string]struct {
	body   string // after the length of the topic
	length int    // of the topic
	is     flow.ErrorType
	told   string
	acked  bool
}{
	"oversize":          {"t/x\x00\x07" + strings.Repeat("x", 2000), 3, flow.TypeOversize, `"t/x" (At Least Once, id 7) of 2010 bytes is above max_packet_size, 1024 bytes`, true},
	"U+0000":            {"a\x00b\x00\x07x", 3, flow.TypeMalformed, `"a\x00b" (At Least Once, id 7) of 10 bytes is malformed: topic name holds a NUL character [MQTT-1.5.3-2]`, true},
	"escape sequence":   {"\x1b[2J\x00\x00\x07x", 5, flow.TypeMalformed, `"\x1b[2J\x00" (At Least Once, id 7)`, true},
	"wildcard":          {"t/#\x00\x07", 3, flow.TypeMalformed, `"t/#"`, true},
	"not UTF-8":         {"t/\xff\x00\x07", 3, flow.TypeMalformed, `"t/\xff"`, true},
	"empty":             {"\x00\x07", 0, flow.TypeMalformed, `topic name is empty`, true},
	"without an answer": {"t/#", 3, flow.TypeMalformed, `its identifier cannot be read`, false},
}

// raw returns a PUBLISH with any content.
func raw(flags byte, length int, body string) []byte {
	n := len(body) + 2
	head := []byte{0x30 | flags, byte(n)}
	if n >= 0x80 {
		head = []byte{0x30 | flags, byte(n&0x7f) | 0x80, byte(n >> 7)}
	}
	return append(append(head, byte(length>>8), byte(length)), body...)
}

// A message that is too large, or whose topic is malformed, does not stop the connector: it is
// acknowledged, counted and reported, and messages behind it run.
func TestUnacceptableIsSkipped(t *testing.T) {
	for name, c := range unacceptable {
		for _, qos := range []packets.QoS{0, 1, 2} {
			t.Run(fmt.Sprint(name, " ", qos), func(t *testing.T) {
				inBubble(t, func(d *dialogue) {
					var told []*flow.Error
					d.options.OnError = func(e *flow.Error) { told = append(told, e) }
					cfg := kept(connector.ConsumerParams{})
					cfg.Extension.MaxPacketSize = 1024
					g := newGate()
					d.run(cfg, g)
					go d.conn.Write(raw(byte(qos)<<1, c.length, c.body))
					if qos > 0 && c.acked {
						d.expect(map[packets.QoS]string{1: "PUBACK id=7", 2: "PUBREC id=7"}[qos])
					}
					synctest.Wait()
					d.send(publish("t/a", 1, 8, "a"))
					require.Equal(t, []string{"a"}, g.running())
					g.finish("a")
					d.expect("PUBACK id=8")
					require.Len(t, told, 1)
					require.Equal(t, c.is, told[0].Type)
					require.NotContains(t, told[0].Error(), "\x00")
					require.NotContains(t, told[0].Error(), "\x1b")
					require.NotContains(t, told[0].Explain("en"), "Is it an MQTT server?")
					if qos == 1 {
						require.Contains(t, told[0].Description, c.told)
					}
					require.Contains(t, told[0].Description, map[flow.ErrorType]string{flow.TypeOversize: "(oversize: skip)", flow.TypeMalformed: "(malformed: skip)"}[c.is])
					h := d.connector.Health()
					require.NoError(t, h.Ready())
					require.NoError(t, h.Live())
					require.Equal(t, told[0], h.Unacceptable)
					require.EqualValues(t, index(c.is == flow.TypeOversize), h.Oversize)
					require.EqualValues(t, index(c.is == flow.TypeMalformed), h.Malformed)
					require.EqualValues(t, 1, h.Received, "of flows")
				})
			})
		}
	}
}

// Of any number of such messages, ten a minute are reported.
func TestUnacceptableIsToldTenTimesAMinute(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var told []string
		d.options.OnError = func(e *flow.Error) { told = append(told, e.Description) }
		d.run(kept(connector.ConsumerParams{}), newGate())
		flood := func() {
			for range 500 {
				d.conn.Write(raw(0, 3, "t/#"))
			}
			synctest.Wait()
		}
		flood()
		require.Len(t, told, 10)
		time.Sleep(time.Minute)
		flood()
		require.Len(t, told, 20)
		require.Contains(t, told[10], "490 more before it were not told")
		require.EqualValues(t, 1000, d.connector.Health().Malformed)
		require.NoError(t, ready(d))
	})
}

// With stop the connector ends at the first such message, and the error names the setting; the
// message is not acknowledged. Each policy applies only to its own kind.
func TestUnacceptableStops(t *testing.T) {
	for name, c := range unacceptable {
		for _, reconnect := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", reconnect), func(t *testing.T) {
				inBubble(t, func(d *dialogue) {
					cfg := kept(connector.ConsumerParams{})
					cfg.Advanced.AutoReconnect = reconnect
					cfg.Extension.MaxPacketSize = 1024
					setting := "(oversize: stop)"
					if c.is == flow.TypeMalformed {
						cfg.Extension.Malformed, cfg.Extension.Oversize, setting = connector.FaultStop, connector.FaultSkip, "(malformed: stop)"
					} else {
						cfg.Extension.Oversize = connector.FaultStop
					}
					d.run(cfg, newGate())
					go d.conn.Write(raw(2, c.length, c.body))
					_, err := d.conn.Receive()
					require.Error(t, err, "the connection ends without an answer")
					<-d.connector.Done()
					require.ErrorIs(t, d.connector.Err(), c.is)
					require.ErrorContains(t, d.connector.Err(), setting)
					synctest.Wait()
					h := d.connector.Health()
					require.ErrorIs(t, h.Live(), c.is)
					require.NotContains(t, h.Problem.Explain("en"), "Is it an MQTT server?")
				})
			})
		}
	}
}

// If such a message arrives before the connector has started, Start returns the error about it, not
// a timeout.
func TestUnacceptableStopsStart(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Extension.Malformed = connector.FaultStop
		d.build(cfg, newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(true)
		start := time.Now()
		go d.conn.Write(raw(2, 3, "t/#\x00\x07"))
		for err := error(nil); err == nil; {
			_, err = d.conn.Receive()
		}
		require.ErrorIs(t, started(), flow.TypeMalformed)
		require.Zero(t, time.Since(start))
	})
}

// Such messages on the separate connection of the producers are counted and reported, too.
func TestUnacceptableOfTheProducersConnection(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		d.options.OnError = w.told
		cfg := producing(connector.ProducerParams{Topic: "t", QoS: 1})
		cfg.Extension.ProducerConnection = connector.SeparateConnection
		d.build(cfg, nil)
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(false)
		producers := d.conn
		d.accept(false)
		require.NoError(t, started())
		go producers.Write(raw(0, 3, "t/#"))
		require.Equal(t, []flow.ErrorType{flow.TypeMalformed}, w.types())
		require.EqualValues(t, 1, d.connector.Health().Malformed)
		producers.Close()
	})
}
