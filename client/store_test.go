package client_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// A slowDisk is a Store in memory that takes as long as the test wants.
type slowDisk struct {
	mu    sync.Mutex
	kept  map[string]string
	gate  chan struct{} // Commit waits for it
	fails error
	full  error
	syncs int
	takes time.Duration // the duration of a Commit
}

func newDisk() *slowDisk { return &slowDisk{kept: make(map[string]string)} }

func (s *slowDisk) Load(add func(key, value []byte) error) error {
	for k, v := range s.kept {
		if err := add([]byte(k), []byte(v)); err != nil {
			return err
		}
	}
	return nil
}

func (s *slowDisk) Room(int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *slowDisk) Commit(changes []client.Change) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return s.fails
	}
	s.syncs++
	for _, c := range changes {
		if c.Forget {
			delete(s.kept, string(c.Key))
		} else {
			s.kept[string(c.Key)] = string(c.Value)
		}
	}
	return nil
}

// synced returns how many commits were made durable.
func (s *slowDisk) synced() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.syncs
}

// stall makes Commit wait until the returned function is called.
func (s *slowDisk) stall() (goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.gate = gate
	return func() {
		s.mu.Lock()
		s.gate = nil
		s.mu.Unlock()
		close(gate)
	}
}

func (s *slowDisk) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// crashed returns the disk as a process finds it that starts now.
func (s *slowDisk) crashed() *slowDisk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &slowDisk{kept: maps.Clone(s.kept)}
}

func (s *slowDisk) count(kind session.RecordKind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for k := range s.kept {
		if session.RecordKind(k[0]) == kind {
			n++
		}
	}
	return n
}

// A PUBLISH leaves when its record is durable; PINGREQ and QoS 0 do not wait for a disk.
func TestStorePublishWaitsForItsRecord(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk, KeepAlive: 10 * time.Second}, func(d *dialogue) {
		goOn := disk.stall()
		r, err := d.client.PublishAsync(d.ctx, client.Message{Topic: "t", QoS: 1, Payload: []byte("1")})
		require.NoError(t, err)
		synctest.Wait()
		select {
		case <-r.Accepted():
			t.Fatal("accepted before it is durable")
		default:
		}
		zero := d.start(func() error { return d.client.Publish(d.ctx, client.Message{Topic: "zero"}) })
		d.expect(`PUBLISH "zero" qos=0 size=0`)
		require.NoError(t, zero())
		d.expect("PINGREQ")
		require.NoError(t, d.conn.Send(&packets.Pingresp{}))
		goOn()
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		<-r.Accepted()
		require.Equal(t, 1, disk.count(session.RecordPublish))
		require.NoError(t, d.conn.Send(&packets.Puback{PacketID: 1}))
		<-r.Done()
		require.NoError(t, r.Err())
		<-time.After(time.Second) // a Forget that nobody waits for is late
		synctest.Wait()
		require.Zero(t, disk.count(session.RecordPublish))
	})
}

// Changes that accumulate while the disk is busy share one sync.
func TestStoreGroupsCommits(t *testing.T) {
	disk := newDisk()
	inBubble(t, client.Config{Store: disk}, func(d *dialogue) {
		goOn := disk.stall()
		for range 100 {
			_, err := d.client.PublishAsync(d.ctx, client.Message{Topic: "t", QoS: 1})
			require.NoError(t, err)
		}
		synctest.Wait()
		goOn()
		synctest.Wait()
		require.Equal(t, 100, disk.count(session.RecordPublish))
		require.LessOrEqual(t, disk.synced(), 2)
	})
}

// Messages published while offline are sent after a restart, in order; those between PUBREC and
// PUBCOMP continue with PUBREL [MQTT-4.1.0-1] [MQTT-4.4.0-1].
func TestStoreRestart(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk}, func(d *dialogue) {
		two, err := d.client.PublishAsync(d.ctx, client.Message{Topic: "t", QoS: 2, Payload: []byte("two")})
		require.NoError(t, err)
		d.expect(`PUBLISH "t" qos=2 id=1 dup=0 size=3`)
		require.NoError(t, d.conn.Send(&packets.Pubrec{PacketID: 1}))
		d.expect("PUBREL id=1")
		for _, payload := range []string{"a", "b"} {
			_, err := d.client.PublishAsync(d.ctx, client.Message{Topic: "t", QoS: 1, Payload: []byte(payload)})
			require.NoError(t, err)
		}
		d.expect(`PUBLISH "t" qos=1 id=2 dup=0 size=1`, `PUBLISH "t" qos=1 id=3 dup=0 size=1`)
		d.client.Abort()
		require.ErrorIs(t, two.Err(), client.ErrClosed)
		require.ErrorIs(t, two.Err(), client.ErrStored)
		require.False(t, client.SafeToRetry(two.Err()))
	})
	disk = disk.crashed()
	inBubble(t, client.Config{Store: disk}, func(d *dialogue) {
		require.Equal(t, 3, d.client.Stats().Unfinished)
		_, err := d.client.PublishAsync(d.ctx, client.Message{Topic: "t", QoS: 1, Payload: []byte("new")})
		require.NoError(t, err)
		connect := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(true)
		require.NoError(t, connect())
		d.conn.Raw = true
		d.expect("PUBREL id=1",
			`PUBLISH "t" qos=1 id=2 dup=1 size=1`, `PUBLISH "t" qos=1 id=3 dup=1 size=1`,
			`PUBLISH "t" qos=1 id=33 dup=0 size=3`) // identifiers are reserved 32 at a time
		require.NoError(t, d.conn.Send(&packets.Pubcomp{PacketID: 1}, &packets.Puback{PacketID: 2},
			&packets.Puback{PacketID: 3}, &packets.Puback{PacketID: 33}))
		require.NoError(t, d.start(func() error { return d.client.Close(d.ctx) })())
	})
	require.Zero(t, disk.count(session.RecordPublish))
	require.Zero(t, disk.count(session.RecordReleased))
}

// An incoming QoS 2 message is on record before PUBREC is sent, and the next process recognises it
// [MQTT-4.3.3-2].
func TestStoreRecognisesAfterARestart(t *testing.T) {
	disk := newDisk()
	message := &packets.Publish{Topic: "t", QoS: 2, PacketID: 7, Payload: []byte("x")}
	connected(t, client.Config{Store: disk}, func(d *dialogue) {
		require.NoError(t, d.conn.Send(message))
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			goOn := disk.stall()
			require.NoError(t, m.Ack())
			d.expectNothing(time.Second)
			goOn()
			break
		}
		d.expect("PUBREC id=7")
	})
	disk = disk.crashed()
	inBubble(t, client.Config{Store: disk}, func(d *dialogue) {
		connect := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(true)
		require.NoError(t, connect())
		again := *message
		again.Dup = true
		require.NoError(t, d.conn.Send(&again))
		d.expect("PUBREC id=7")
		require.NoError(t, d.conn.Send(&packets.Pubrel{PacketID: 7}))
		d.expect("PUBCOMP id=7")
		require.Zero(t, d.client.Stats().InboxMessages, "it is not delivered again")
		require.EqualValues(t, 1, d.client.Stats().Session.Redelivered)
	})
	require.Zero(t, disk.count(session.RecordReceived))
}

// A Store that fails ends the client: nothing is sent that is not on record, and the error says so.
func TestStoreFails(t *testing.T) {
	broken := errors.New("input/output error")
	disk := newDisk()
	connected(t, client.Config{Store: disk}, func(d *dialogue) {
		disk.set(func() { disk.fails = broken })
		err := d.start(func() error {
			return d.client.Publish(d.ctx, client.Message{Topic: "t", QoS: 1})
		})()
		require.ErrorIs(t, err, client.ErrUnknown, "it may be on the disk all the same")
		require.ErrorIs(t, err, client.ErrStoreFailed)
		require.ErrorIs(t, err, broken)
		<-d.client.Done()
		require.ErrorIs(t, d.client.Err(), client.ErrStoreFailed)
		_, err = d.conn.Receive()
		require.Error(t, err, "nothing left")
		require.ErrorIs(t, d.client.Publish(d.ctx, client.Message{Topic: "t", QoS: 1}), client.ErrNotSent)
	})
}

func TestStoreFailsBeforeConnect(t *testing.T) {
	disk := newDisk()
	disk.fails = errors.New("read-only file system")
	inBubble(t, client.Config{Store: disk}, func(d *dialogue) {
		err := d.start(func() error { return d.client.Publish(d.ctx, client.Message{Topic: "t", QoS: 1}) })()
		require.ErrorIs(t, err, client.ErrStoreFailed)
		<-d.client.Done()
		require.Error(t, d.client.Connect(d.ctx))
	})
}

// When a context ends before the message was sent, the message is withdrawn, durably. The client waits half a
// second for a stalled Store; after that it is unknown whether a crash would bring the message back. It is not
// sent either way.
func TestStoreWithdrawal(t *testing.T) {
	disk := newDisk()
	inBubble(t, client.Config{Store: disk}, func(d *dialogue) {
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		err := d.client.Publish(ctx, client.Message{Topic: "t", QoS: 1})
		require.ErrorIs(t, err, client.ErrNotSent)
		require.Zero(t, disk.count(session.RecordPublish), "it is not on record any more")

		goOn := disk.stall()
		ctx, cancel = context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		start := time.Now()
		err = d.client.Publish(ctx, client.Message{Topic: "t", QoS: 1})
		require.ErrorIs(t, err, client.ErrUnknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1500*time.Millisecond, time.Since(start))
		goOn()
		connected := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, connected())
		d.expectNothing(time.Second)
		require.Zero(t, disk.count(session.RecordPublish))
	})
}

// A full Store accepts no new message, but still records the completion of those that it has.
func TestStoreFull(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk}, func(d *dialogue) {
		first := d.start(func() error { return d.client.Publish(d.ctx, client.Message{Topic: "t", QoS: 1}) })
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=0`)
		disk.set(func() { disk.full = errors.Join(client.ErrStoreFull, errors.New("256 MiB in use")) })
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		err := d.client.Publish(ctx, client.Message{Topic: "t", QoS: 1})
		require.ErrorIs(t, err, client.ErrQueueFull)
		require.ErrorIs(t, err, client.ErrStoreFull)
		require.ErrorContains(t, err, "256 MiB in use")

		second := d.start(func() error { return d.client.Publish(d.ctx, client.Message{Topic: "t", QoS: 1, Payload: []byte("2")}) })
		synctest.Wait()
		disk.set(func() { disk.full = nil })
		require.NoError(t, d.conn.Send(&packets.Puback{PacketID: 1}))
		require.NoError(t, first())
		d.expect(`PUBLISH "t" qos=1 id=2 dup=0 size=1`)
		require.NoError(t, d.conn.Send(&packets.Puback{PacketID: 2}))
		require.NoError(t, second())
	})
}

// A full Store may get room without the client's doing, when somebody else frees space on the disk:
// Publish asks again.
func TestStoreFullOfOthers(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk}, func(d *dialogue) {
		disk.set(func() { disk.full = client.ErrStoreFull })
		publish := d.start(func() error { return d.client.Publish(d.ctx, client.Message{Topic: "t", QoS: 1}) })
		synctest.Wait()
		disk.set(func() { disk.full = nil })
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=0`)
		require.NoError(t, d.conn.Send(&packets.Puback{PacketID: 1}))
		require.NoError(t, publish())
	})
}

// Invalid records stop the client before it does harm.
func TestStoreWithGarbage(t *testing.T) {
	disk := newDisk()
	disk.kept["\x09"] = ""
	_, err := client.New(client.Config{Store: disk, ClientID: "c", Dial: clienttest.NewServer().Dial})
	require.ErrorIs(t, err, client.ErrStoreFailed)
	require.ErrorContains(t, err, "unknown kind")
}

// Notes are durable when SaveNote returns, and the next process finds them.
func TestStoreNotes(t *testing.T) {
	disk := newDisk()
	inBubble(t, client.Config{Store: disk}, func(d *dialogue) {
		require.NoError(t, d.client.SaveNote(d.ctx, "b", []byte("2")))
		require.NoError(t, d.client.SaveNote(d.ctx, "a", []byte("1")))
		require.NoError(t, d.client.SaveNote(d.ctx, "gone", nil))
		require.NoError(t, d.client.ForgetNote(d.ctx, "gone"))
		require.Error(t, d.client.SaveNote(d.ctx, "\xff", nil))
		ctx, cancel := context.WithCancel(d.ctx)
		goOn := disk.stall()
		late := d.start(func() error { return d.client.SaveNote(ctx, "late", nil) })
		synctest.Wait()
		cancel()
		require.ErrorIs(t, late(), client.ErrUnknown)
		require.ErrorIs(t, d.client.SaveNote(ctx, "never", nil), client.ErrNotSent)
		goOn()
		require.NoError(t, d.client.ForgetNote(d.ctx, "late"))
		require.NoError(t, d.client.SaveNote(d.ctx, "dropped", nil))
		syncs := disk.synced()
		d.client.DropNote("dropped")
		d.client.DropNote("never there")
		synctest.Wait()
		require.Equal(t, syncs, disk.synced(), "nothing waits for it")
		time.Sleep(time.Second)
		require.Equal(t, syncs+1, disk.synced())
	})
	disk = disk.crashed()
	inBubble(t, client.Config{Store: disk}, func(d *dialogue) {
		var got []string
		for name, note := range d.client.Notes() {
			got = append(got, name+"="+string(note))
		}
		require.Equal(t, []string{"a=1", "b=2"}, got)
	})
	inBubble(t, client.Config{}, func(d *dialogue) {
		require.ErrorIs(t, d.client.SaveNote(d.ctx, "a", nil), client.ErrNoStore)
	})
}

// Close ends with everything on record, acknowledgements included.
func TestStoreClose(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk, ManualAck: true}, func(d *dialogue) {
		require.NoError(t, d.conn.Send(&packets.Publish{Topic: "t", QoS: 2, PacketID: 7}))
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			goOn := disk.stall()
			require.NoError(t, m.Ack())
			time.AfterFunc(time.Second, goOn)
			break
		}
		closing := d.start(func() error { return d.client.Close(d.ctx) })
		d.expect("PUBREC id=7", "DISCONNECT")
		require.NoError(t, closing())
		require.Equal(t, 1, disk.count(session.RecordReceived))
	})
}

// Stats reports a Store that does not answer, in Commit as in Room.
func TestStoreWaitsIsTold(t *testing.T) {
	disk := newDisk()
	for name, c := range map[string]struct {
		store client.Store
		goOn  func() func()
	}{
		"Commit": {disk, disk.stall},
		"Room":   {&slowRoom{newDisk(), 15 * time.Second}, func() func() { return func() {} }},
	} {
		inBubble(t, client.Config{Store: c.store}, func(d *dialogue) {
			require.Zero(t, d.client.Stats().StoreWaits)
			goOn := c.goOn()
			published := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
			time.Sleep(500 * time.Millisecond)
			require.Zero(t, d.client.Stats().StoreWaits, name)
			time.Sleep(10 * time.Second)
			require.Equal(t, 10500*time.Millisecond, d.client.Stats().StoreWaits, name)
			require.Contains(t, d.client.Stats().String(), "StoreWaits 10.5s")
			goOn()
			time.Sleep(10 * time.Second)
			require.Zero(t, d.client.Stats().StoreWaits, name)
			d.client.Abort()
			require.Error(t, published())
		})
	}
}

// A receipt that waits for a Store that does not answer ends with the client.
func TestStoreHangsOnADrop(t *testing.T) {
	disk := newDisk()
	inBubble(t, client.Config{Store: disk, QueueMessages: 1, WhenFull: client.QueueDropOldest}, func(d *dialogue) {
		goOn := disk.stall()
		defer goOn()
		oldest, err := d.client.PublishAsync(d.ctx, message("t", 1, "1"))
		require.NoError(t, err)
		_, err = d.client.PublishAsync(d.ctx, message("t", 1, "2"))
		require.NoError(t, err)
		d.client.Abort()
		select {
		case <-oldest.Done():
			require.ErrorIs(t, oldest.Err(), client.ErrUnknown)
		default:
			t.Error("the receipt of the message that was dropped never ends")
		}
	})
}

// When the client ends while an outcome waits for its record and the Store does not answer, the
// outcome is ErrClosed: no receipt stays open.
func TestStoreStandsWhileTheClientEnds(t *testing.T) {
	disk := newDisk()
	inBubble(t, client.Config{Store: disk, QueueMessages: 1, WhenFull: client.QueueDropOldest}, func(d *dialogue) {
		oldest, err := d.client.PublishAsync(d.ctx, message("t", 1, "a"))
		require.NoError(t, err)
		<-oldest.Accepted()
		goOn := disk.stall()
		defer goOn()
		_, err = d.client.PublishAsync(d.ctx, message("t", 1, "b"))
		require.NoError(t, err)
		d.client.Abort()
		require.ErrorIs(t, oldest.Err(), client.ErrUnknown)
		require.ErrorIs(t, oldest.Err(), client.ErrClosed)
		require.Equal(t, "client: publish: sent, outcome unknown: closed", oldest.Err().Error())
	})
}

// An acknowledgement that still waits for its record when DISCONNECT is sent was not sent. The
// Server sends the message again, and the client acknowledges it without delivering it to the
// application a second time.
func TestStoreStandsWhileTheClientParks(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk, InboxMessages: 2, InboxBytes: 1024, ManualAck: true, NoScrub: true}, func(d *dialogue) {
		d.send(&packets.Publish{Topic: "t", QoS: 2, PacketID: 1}, &packets.Publish{Topic: "t", QoS: 1, PacketID: 2})
		var taken []*client.Delivery
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			if taken = append(taken, m); len(taken) == 2 {
				break
			}
		}
		goOn := disk.stall()
		require.NoError(t, taken[0].Ack()) // PUBREC waits for its record
		require.NoError(t, taken[1].Ack()) // and PUBACK behind it
		for id := range uint16(5) {
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 3})
			if id == 2 { // past the pause
				done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 0, "x")) })
				d.expect(`PUBLISH "t" qos=0 size=1`)
				require.NoError(t, done())
			}
		}
		d.expect("DISCONNECT")
		d.expectEnd()
		goOn()
		d.accept(true)
		d.send(&packets.Publish{Topic: "t", QoS: 2, PacketID: 1, Dup: true}, &packets.Publish{Topic: "t", QoS: 1, PacketID: 2, Dup: true})
		d.expect("PUBREC id=1", "PUBACK id=2")
	})
}
