package connector_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// noise returns a payload of n bytes.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// putsOversize returns a configuration that accepts at most a kilobyte, and whose consumer "in" of t/# has a dead
// letter file.
func putsOversize(file string) connector.Config {
	cfg := kept(connector.ConsumerParams{OnFailure: connector.OnFailure{Retries: ptr(0), Then: connector.DeadLetter, DeadLetterFile: file}})
	cfg.Extension.MaxPacketSize = 1024
	return cfg
}

// deadLetters reads a dead letter file, and checks that its folder contains nothing else.
func deadLetters(t *testing.T, file string) (records []connector.DeadLetterRecord) {
	t.Helper()
	names, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	for _, n := range names {
		require.Equal(t, filepath.Base(file), n.Name())
	}
	f, err := os.Open(file)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	defer f.Close()
	for lines := json.NewDecoder(f); ; {
		var r connector.DeadLetterRecord
		err := lines.Decode(&r)
		if err == io.EOF {
			return records
		}
		require.NoError(t, err)
		records = append(records, r)
	}
}

// A message that is too large is in the dead letter file before it is acknowledged, beside the dead
// letters of failed flows.
func TestOversizeDeadLetter(t *testing.T) {
	for _, qos := range []packets.QoS{0, 1, 2} {
		for _, size := range []int{1024, 100_001, 5 << 20} {
			t.Run(fmt.Sprint(qos, " ", size), func(t *testing.T) {
				inBubble(t, func(d *dialogue) {
					var told []*flow.Error
					d.options.OnError = func(e *flow.Error) { told = append(told, e) }
					file, large := filepath.Join(t.TempDir(), "dead.jsonl"), noise(size)
					g := newGate()
					d.run(putsOversize(file), g)
					p := publish("t/large", qos, 7, string(large))
					d.send(p)
					if qos > 0 {
						d.expect(map[packets.QoS]string{1: "PUBACK id=7", 2: "PUBREC id=7"}[qos])
					}
					d.send(publish("t/poison", 1, 8, "poison"))
					g.fail("poison")
					d.expect("PUBACK id=8")
					records := deadLetters(t, file)
					require.Len(t, records, 2)
					r := records[0]
					packet, err := p.AppendBinary(nil)
					require.NoError(t, err)
					require.Equal(t, large, r.Payload)
					require.Equal(t, "t/large", r.Topic)
					require.Equal(t, "in", r.Consumer)
					require.Equal(t, qos, r.QoS)
					require.Equal(t, p.PacketID, r.MessageID)
					require.False(t, r.Time.IsZero() || r.Received.IsZero())
					require.Zero(t, r.Attempts)
					require.Contains(t, r.Error.Description, fmt.Sprintf("[MQTT:OVERSIZE] a message on \"t/large\" (%s, id %d) of ", [...]string{"At Most Once", "At Least Once", "Exactly Once"}[qos], p.PacketID))
					require.Equal(t, "poison", string(records[1].Payload))
					require.Len(t, told, 1)
					require.ErrorIs(t, told[0], flow.TypeOversize)
					require.Contains(t, told[0].Description, "it was put into the dead letter file, and no flow ran for it (oversize: skip)")
					h := d.connector.Health()
					require.EqualValues(t, 2, h.DeadLettered)
					require.EqualValues(t, 1, h.Oversize)
					require.NoError(t, h.Ready())
					require.Contains(t, r.Error.Description, fmt.Sprintf("of %d bytes", len(packet)))
				})
			})
		}
	}
}

// The message goes to the file of the first consumer that matches its topic and has one; if no consumer
// matches, to that of unmatched.
func TestOversizeDeadLetterPlace(t *testing.T) {
	file := connector.OnFailure{DeadLetterFile: "FILE"}
	for name, c := range map[string]struct {
		topic     string
		in, other connector.ConsumerParams
		unmatched connector.Unmatched
		oversize  connector.FaultPolicy
		of        string // the consumer that has it; "-": nobody
	}{
		"its consumer's":      {topic: "t/1", in: connector.ConsumerParams{OnFailure: file}, of: "in"},
		"without a place":     {topic: "t/1", of: "-"},
		"with a topic":        {topic: "t/1", in: connector.ConsumerParams{OnFailure: connector.OnFailure{DeadLetterTopic: "dlq"}}, of: "-"},
		"of another consumer": {topic: "t/1", other: connector.ConsumerParams{OnFailure: file}, of: "-"},
		"another consumer's":  {topic: "o/1", other: connector.ConsumerParams{OnFailure: file}, of: "other"},
		"the limit":           {topic: "t/1", in: connector.ConsumerParams{OnFailure: connector.OnFailure{DeadLetterFile: "FILE", DeadLetterMaxOversize: ptr(2010)}}, of: "in"},
		"above the limit":     {topic: "t/1", in: connector.ConsumerParams{OnFailure: connector.OnFailure{DeadLetterFile: "FILE", DeadLetterMaxOversize: ptr(2009)}}, of: "-"},
		"none":                {topic: "t/1", in: connector.ConsumerParams{OnFailure: connector.OnFailure{DeadLetterFile: "FILE", DeadLetterMaxOversize: ptr(0)}}, of: "-"},
		"retained: only":      {topic: "t/1", in: connector.ConsumerParams{OnFailure: file, Retained: connector.RetainedOnly}, of: "-"},
		"of another process":  {topic: "t/1", in: connector.ConsumerParams{OnFailure: file, Partition: &connector.Partition{Index: 0, Count: 2}}, of: "-"},
		"of this process":     {topic: "t/1", in: connector.ConsumerParams{OnFailure: file, Partition: &connector.Partition{Index: 1, Count: 2}}, of: "in"},
		"unmatched":           {topic: "s/1", in: connector.ConsumerParams{OnFailure: file}, of: ""},
		"unmatched by name":   {topic: "s/1", in: connector.ConsumerParams{OnFailure: file}, unmatched: "in", of: "in"},
		"unmatched: drop":     {topic: "s/1", in: connector.ConsumerParams{OnFailure: file}, unmatched: connector.UnmatchedDrop, of: "-"},
		"unmatched: hold":     {topic: "s/1", in: connector.ConsumerParams{OnFailure: file}, unmatched: connector.UnmatchedHold, of: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				path := filepath.Join(t.TempDir(), "dead.jsonl")
				cfg := kept(c.in)
				c.other.Topics = []connector.TopicQoS{{Topic: "o/#"}}
				cfg.Consumers["other"] = c.other
				for name, p := range cfg.Consumers {
					if p.OnFailure.DeadLetterFile != "" {
						p.OnFailure.DeadLetterFile = path
					}
					cfg.Consumers[name] = p
				}
				cfg.Extension.MaxPacketSize, cfg.Extension.Unmatched = 1024, c.unmatched
				d.run(cfg, newGate())
				d.send(publish(c.topic, 1, 7, string(noise(2000))))
				d.expect("PUBACK id=7")
				records := deadLetters(t, path)
				if c.of == "-" {
					require.Empty(t, records)
				} else {
					require.Len(t, records, 1)
					require.Equal(t, c.of, records[0].Consumer)
				}
				require.EqualValues(t, len(records), d.connector.Health().DeadLettered)
			})
		})
	}
}

// If the file cannot be written, the message is not acknowledged and is sent again until it can. The client
// does not reconnect too often.
func TestOversizeDeadLetterNotWritten(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		d.options.OnError = w.told
		folder := filepath.Join(t.TempDir(), "later")
		file := filepath.Join(folder, "dead.jsonl")
		d.run(putsOversize(file), newGate())
		p, start := publish("t/large", 1, 7, string(noise(1<<20))), time.Now()
		for range 10 {
			go d.conn.Send(p)
			_, err := d.conn.Receive()
			require.Error(t, err, "it ends without an answer")
			synctest.Wait()
			h := d.connector.Health()
			require.ErrorIs(t, h.Problem, flow.TypeDeadLetter)
			require.Contains(t, h.Problem.Description, `a message on "t/large" (At Least Once, id 7) of 1048591 bytes cannot be put into `+file)
			d.accept(true)
			p.Dup = true
		}
		require.Greater(t, time.Since(start), 5*time.Second)
		require.EqualValues(t, 10, d.connector.Health().DeadLettersRefused)
		for _, e := range w.types() {
			require.Equal(t, flow.TypeDeadLetter, e)
		}
		require.NoError(t, os.Mkdir(folder, 0o700))
		d.send(p)
		d.expect("PUBACK id=7")
		require.Len(t, deadLetters(t, file), 1)
		require.NoError(t, ready(d))
	})
}

// A message that would not be sent again is lost, and that is reported.
func TestOversizeDeadLetterLost(t *testing.T) {
	for _, clean := range []bool{false, true} {
		inBubble(t, func(d *dialogue) {
			var told []*flow.Error
			d.options.OnError = func(e *flow.Error) { told = append(told, e) }
			cfg := putsOversize(filepath.Join(t.TempDir(), "none", "dead.jsonl"))
			cfg.Advanced.CleanSession = &clean
			g := newGate()
			d.run(cfg, g)
			d.send(publish("t/large", packets.QoS(index(clean)), 7, string(noise(1<<20))), publish("t/a", 0, 0, "a"))
			require.Equal(t, []string{"a"}, g.running())
			g.finish("a")
			if clean {
				d.expect("PUBACK id=7")
			}
			require.Len(t, told, 1)
			require.ErrorIs(t, told[0], flow.TypeOversize)
			require.Contains(t, told[0].Description, "it is lost: [MQTT:DEAD_LETTER]")
		})
	}
}

// If the connection ends within the message, nothing is left behind.
func TestOversizeDeadLetterCutOff(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		file := filepath.Join(t.TempDir(), "dead.jsonl")
		d.run(putsOversize(file), newGate())
		b, err := publish("t/large", 1, 7, string(noise(1<<20))).AppendBinary(nil)
		require.NoError(t, err)
		for _, n := range []int{17, 2000, 1 << 19, len(b) - 1} {
			d.conn.Write(b[:n])
			d.cut()
			d.accept(true)
			require.Empty(t, deadLetters(t, file), n)
			h := d.connector.Health()
			require.Zero(t, h.DeadLettersRefused)
		}
		d.conn.Write(b)
		d.expect("PUBACK id=7")
		require.Len(t, deadLetters(t, file), 1)
	})
}

// Stop within the message leaves it to the server.
func TestOversizeDeadLetterStopped(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		file := filepath.Join(t.TempDir(), "dead.jsonl")
		d.run(putsOversize(file), newGate())
		b, err := publish("t/large", 1, 7, string(noise(1<<20))).AppendBinary(nil)
		require.NoError(t, err)
		d.conn.Write(b[:1<<19])
		synctest.Wait()
		start := time.Now()
		require.Equal(t, []string{"DISCONNECT"}, d.stop(time.Minute))
		require.LessOrEqual(t, time.Since(start), 3*time.Second)
		require.Empty(t, deadLetters(t, file))
	})
}

// The size of the message does not matter for memory.
func TestOversizeDeadLetterMemory(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		file := filepath.Join(t.TempDir(), "dead.jsonl")
		d.run(putsOversize(file), newGate())
		const pieces = 64
		body := 2 + len("t/large") + 2 + pieces<<20
		head := []byte{0x32, byte(body&0x7f) | 0x80, byte(body>>7&0x7f) | 0x80, byte(body>>14&0x7f) | 0x80, byte(body >> 21)}
		piece := bytes.Repeat([]byte("x"), 1<<20)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d.conn.Write(append(head, "\x00\x07t/large\x00\x07"...))
		for range pieces {
			d.conn.Write(piece)
		}
		d.expect("PUBACK id=7")
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)>>20, uint64(pieces/8), "MiB")
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Greater(t, info.Size(), int64(pieces<<20))
	})
}

// The size limit for the file can be changed while the connector runs.
func TestReconfigureMaxOversize(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		file := filepath.Join(t.TempDir(), "dead.jsonl")
		most := func(n int) connector.Config {
			cfg := putsOversize(file)
			p := cfg.Consumers["in"]
			p.OnFailure.DeadLetterMaxOversize = &n
			cfg.Consumers["in"] = p
			return cfg
		}
		d.run(most(0), newGate())
		for i, c := range []struct{ most, records int }{{0, 0}, {5000, 1}, {1500, 1}, {2500, 2}} {
			d.apply(most(c.most))
			require.Empty(t, d.connector.Health().Restart)
			d.send(publish("t/large", 1, uint16(i+1), string(noise(2000))))
			d.expect(fmt.Sprintf("PUBACK id=%d", i+1))
			require.Len(t, deadLetters(t, file), c.records)
		}
	})
}
