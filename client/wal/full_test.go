package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/disk"
)

// fill stores messages until there is no room, removes all of them, and repeats that. It returns
// the store, or nil if the power failed.
func fill(d *disk.RAM, opt Options, h *history) (*Store, error) {
	s, err := open(d, opt)
	if err != nil {
		return nil, err
	}
	for i := range 40 {
		h.perhaps = maps.Clone(h.want)
		var changes []client.Change
		switch err := s.Room(3000); {
		case err == nil:
			key, value := fmt.Sprint("m", i), make([]byte, 3000)
			h.perhaps[key] = string(value)
			changes = []client.Change{{Key: []byte(key), Value: value}}
		case errors.Is(err, client.ErrStoreFull):
			for key := range h.want {
				if key != "stays" {
					changes = append(changes, client.Change{Key: []byte(key), Forget: true})
					delete(h.perhaps, key)
				}
			}
			h.perhaps["stays"] = fmt.Sprint(i)
			changes = append(changes, client.Change{Key: []byte("stays"), Value: fmt.Append(nil, i)})
		default:
			return nil, err
		}
		if err := s.Commit(changes); err != nil {
			return nil, err
		}
		h.want, h.perhaps = h.perhaps, nil
	}
	return s, nil
}

// A store that has filled the disk has room again when all its messages are finished, and a crash
// at any operation meanwhile loses nothing.
func TestWALCrashOnAFullDisk(t *testing.T) {
	opt := Options{SegmentBytes: 1 << 20}
	full := func() *disk.RAM {
		d := disk.NewRAM()
		d.Space = 115_000
		return d
	}
	h := &history{want: map[string]string{}}
	s, err := fill(full(), opt, h)
	require.NoError(t, err)
	require.Greater(t, s.head.generation, uint64(4), "segments came and went")
	require.Equal(t, h.want, contents(t, s))

	for _, power := range []bool{false, true} {
		for at := 1; ; at++ {
			d, h := full(), &history{want: map[string]string{}}
			d.PowerAt = at
			if _, err := fill(d, opt, h); err == nil {
				t.Logf("full disk, loss of power %v: a crash at each of %d operations, nothing lost", power, at-1)
				break
			} else if !errors.Is(err, disk.ErrPower) {
				t.Fatalf("operation %d: %v", at, err)
			}
			s, err := open(d.After(power, rand.New(rand.NewPCG(5, uint64(at)))), opt)
			require.NoError(t, err, "power %v, operation %d", power, at)
			got := contents(t, s)
			if !maps.Equal(got, h.want) && (h.perhaps == nil || !maps.Equal(got, h.perhaps)) {
				t.Fatalf("power %v, operation %d: %d keys, want %d or %d", power, at, len(got), len(h.want), len(h.perhaps))
			}
		}
	}
}

// A consumer changes the records of a store as a session does: it accepts messages while there is
// room, finishes them step by step, and receives messages at QoS 2, whose identifiers are stored
// and removed.
type consumer struct {
	t    *testing.T
	s    *Store
	r    *rand.Rand
	want map[string]string

	accepted, released []uint64 // messages that are not finished
	next               uint64
	received           []uint16
	refused            int
}

// commit commits changes, which must neither fail nor wait.
func (c *consumer) commit(changes ...client.Change) {
	c.t.Helper()
	if err := c.s.tryCommit(changes); err != nil {
		free := c.s.active().free()
		c.t.Fatalf("%v; %d keys of %d bytes, %d segments, %d bytes are free", err, len(c.want), c.s.bytes, len(c.s.segments), free)
	}
	for _, ch := range changes {
		if ch.Forget {
			delete(c.want, string(ch.Key))
		} else {
			c.want[string(ch.Key)] = string(ch.Value)
		}
	}
}

func messageKey(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, n)
}

func receivedKey(id uint16) []byte { return binary.BigEndian.AppendUint16([]byte{3}, id) }

// accept publishes a message, and reports whether there was room.
func (c *consumer) accept(size int) bool {
	granted := size + 256
	switch err := c.s.Room(granted); {
	case errors.Is(err, client.ErrStoreFull):
		c.refused++
		return false
	case err != nil:
		c.t.Fatal(err)
	}
	c.commit(client.Change{Key: []byte{8}, Value: binary.BigEndian.AppendUint64(nil, c.next+1)},
		client.Change{Key: messageKey(1, c.next), Value: make([]byte, 3+size), Granted: granted})
	c.accepted = append(c.accepted, c.next)
	c.next++
	return true
}

// finish does the next step for one of the unfinished messages.
func (c *consumer) finish() {
	if n := len(c.released); n > 0 && (len(c.accepted) == 0 || c.r.IntN(2) == 0) {
		seq := c.released[0]
		c.released = c.released[1:]
		c.commit(client.Change{Key: messageKey(1, seq), Forget: true})
		c.commit(client.Change{Key: messageKey(2, seq), Forget: true})
		return
	}
	if len(c.accepted) > 0 {
		seq := c.accepted[0]
		c.accepted = c.accepted[1:]
		c.commit(client.Change{Key: messageKey(2, seq), Value: make([]byte, 8)})
		c.released = append(c.released, seq)
	}
}

// receive stores an incoming message and, if there are already as many as given, removes the
// oldest.
func (c *consumer) receive(underWay int) {
	id := uint16(c.r.IntN(1 << 16))
	c.commit(client.Change{Key: receivedKey(id), Value: make([]byte, 8)})
	c.received = append(c.received, id)
	if len(c.received) > underWay {
		c.commit(client.Change{Key: receivedKey(c.received[0]), Forget: true})
		c.received = c.received[1:]
	}
}

// TestWALFullDiskConsumer fills the disk under a store that receives at QoS 2, with messages of
// many sizes and many histories. Another program takes every byte that is freed. As long as most of
// the log is dead, the store continues, through restarts, and finishes what it has accepted; when
// the disk has room, it accepts messages again.
func TestWALFullDiskConsumer(t *testing.T) {
	for _, segment := range []int64{1 << 12, 1 << 14, 1 << 16, 1 << 20, 16 << 20} {
		for _, backlog := range either([]int{0, 40, 2000}, []int{0, 1, 40, 2000}) {
			for _, size := range either([]int{20, 3000}, []int{0, 20, 3000}) {
				for _, greedy := range []bool{true, false} {
					if greedy && segment < 1<<20 { // a file of the log may have less room than the reserve
						continue
					}
					if backlog*size > 1<<20 || segment < 1<<16 && backlog > 40 {
						continue
					}
					if slow := segment > 1<<20 && (size != 20 || backlog != 40); slow && !*long {
						continue
					}
					t.Run(fmt.Sprintf("segment %d, %d messages of %d, greedy %v", segment, backlog, size, greedy), func(t *testing.T) {
						fullDiskConsumer(t, Options{SegmentBytes: segment}, backlog, size, greedy)
					})
				}
			}
		}
	}
}

func fullDiskConsumer(t *testing.T, opt Options, backlog, size int, greedy bool) {
	d := disk.NewRAM()
	s, err := open(d, opt)
	require.NoError(t, err)
	c := &consumer{t: t, s: s, r: rand.New(rand.NewPCG(uint64(backlog), uint64(size))), want: make(map[string]string)}
	c.commit(client.Change{Key: []byte{5}, Value: []byte{0}}, client.Change{Key: []byte("\x04fd/#"), Value: []byte{2}})
	for range either(200, 500) { // history before the disk is full
		c.receive(5)
	}
	for range backlog {
		require.True(t, c.accept(size))
	}
	d.Space, d.Greedy = 0, greedy

	restart := func() {
		space := d.Space
		if c.r.IntN(2) == 0 {
			require.NoError(t, c.s.Close())
		}
		d = d.After(c.r.IntN(2) == 0, c.r)
		d.Space, d.Greedy = space, greedy
		c.s, err = open(d, opt)
		require.NoError(t, err)
		require.Equal(t, c.want, contents(t, c.s))
	}
	steps := either(200, 2000)
	if backlog*(size+200) > reserve/4 {
		steps = either(100, 300) // most of the log is live, so only the reserve is left
	}
	for i := range steps {
		c.receive(5)
		if i%(steps/4) == steps/8 {
			restart()
		}
	}
	require.Equal(t, c.want, contents(t, c.s))
	for len(c.accepted)+len(c.released) > 0 {
		c.finish()
		if c.r.IntN(8) == 0 {
			c.receive(5)
		}
	}
	for range 2000 { // now most of the log is dead
		c.receive(5)
	}
	restart()
	d.Space, d.Greedy = 64<<20, false
	require.True(t, c.accept(1<<20), "there is room again")
	for range 300 {
		c.receive(5)
		require.True(t, c.accept(100))
		c.finish()
	}
	restart()
}
