package wal

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/disk"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// look inspects a disk.
func look(t *testing.T, d *disk.RAM) (*Inspection, map[string]string) {
	t.Helper()
	s := newSurvey(d)
	defer s.close()
	require.NoError(t, s.read())
	got := make(map[string]string)
	require.NoError(t, s.each(func(key, value []byte) error {
		got[string(key)] = string(value)
		return nil
	}))
	return &s.found, got
}

// played returns a disk with a log of several segments, and all values that each key had.
func played(t *testing.T, opt Options, close bool) (*disk.RAM, map[string][]string) {
	t.Helper()
	d := disk.NewRAM()
	s, err := open(d, opt)
	require.NoError(t, err)
	had := make(map[string][]string)
	r := rand.New(rand.NewPCG(4, 4))
	for i := range 40 {
		key, value := fmt.Sprint("key", r.IntN(60)), fmt.Sprint("value", i, string(bytes.Repeat([]byte("x"), r.IntN(30))))
		require.NoError(t, s.Commit([]client.Change{
			{Key: []byte(key), Value: []byte(value)}, {Key: fmt.Append(nil, "key", r.IntN(60)), Forget: true},
		}))
		had[key] = append(had[key], value)
	}
	if close {
		require.NoError(t, s.Close())
	}
	return d, had
}

// TestWALInspectAgreesWithOpen flips bytes in every part of every file, truncates every file at
// many places, and removes every file. If Inspect finds no damage, Open must succeed with the same
// content; otherwise Open must refuse the store. All that is read of a damaged log must have been
// written.
func TestWALInspectAgreesWithOpen(t *testing.T) {
	opt := Options{Server: "mq", ClientID: "c", SegmentBytes: 800}
	sound, refused := 0, 0
	agree := func(d *disk.RAM, had map[string][]string, what string) {
		t.Helper()
		found, got := look(t, d)
		s, err := open(d, opt)
		if len(found.Damage) == 0 {
			require.NoError(t, err, what)
			require.Equal(t, contents(t, s), got, what)
			sound++
			return
		}
		require.ErrorIs(t, err, ErrCorrupt, "%s: %v", what, found.Damage)
		require.NotEmpty(t, found.Damage[0].File)
		refused++
		for key, value := range got {
			require.Contains(t, had[key], value, what)
		}
	}
	turn := 0
	for _, close := range []bool{true, false} {
		for _, policy := range []Sync{SyncAlways, UnsafeNoSync} {
			opt.Sync = policy
			d, had := played(t, opt, close)
			turn++
			names, _ := d.List()
			require.Greater(t, len(names), 2)
			for _, name := range names {
				size := len(d.Files[name].Bytes())
				for at := turn; at < size; at += either(max(13, size/400), 13) {
					if name == headName && at%headSlot > 60 {
						continue
					}
					other := d.After(false, d.R)
					other.Files[name].Flip(int64(at), 0x55)
					agree(other, had, fmt.Sprintf("closed %v, policy %d, %s, byte %d", close, policy, name, at))
					cut := d.After(false, d.R)
					cut.Files[name].Cut(int64(at))
					agree(cut, had, fmt.Sprintf("closed %v, policy %d, %s cut at %d", close, policy, name, at))
				}
				gone := d.After(false, d.R)
				delete(gone.Files, name)
				agree(gone, had, fmt.Sprintf("closed %v, policy %d, %s gone", close, policy, name))
			}
		}
	}
	require.Greater(t, sound, 100)
	require.Greater(t, refused, 1000)
	t.Logf("%d files changed, cut or taken away: %d logs sound, %d refused", sound+refused, sound, refused)
}

// Inspect reports the place of each damage, and reads what follows it.
func TestWALInspectGoesOnBehindDamage(t *testing.T) {
	d, ends, _ := oneSegment(t)
	d.Files[segmentName(1)].Flip(ends[0]+3, 1) // in the first commit
	d.Files[segmentName(1)].Flip(ends[2]-2, 1) // in the second
	found, got := look(t, d)
	require.Equal(t, []Damage{
		{segmentName(1), ends[0], FaultUnreadable}, {segmentName(1), ends[1], FaultUnreadable},
	}, found.Damage)
	require.Equal(t, map[string]string{"n": "\x03", "2": "value", "3": "value"}, got)
	require.EqualValues(t, 8, found.Lost, "two commits of four frames")
	require.Equal(t, "0000000000000001.log, byte 33: these bytes are not what was written", found.Damage[0].String())
	require.Equal(t, "mq", found.Server)
	require.Equal(t, "c", found.ClientID)
}

func snapshot(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	names, err := filepath.Glob(filepath.Join(folder, "*"))
	require.NoError(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		info, err := os.Stat(name)
		require.NoError(t, err)
		files[name] = fmt.Sprint(info.ModTime(), info.Mode(), string(b))
	}
	return files
}

// A store that is in use can be inspected while it changes.
func TestWALInspectWhileInUse(t *testing.T) {
	opt := options(t.TempDir())
	opt.SegmentBytes, opt.Sync = 2000, UnsafeNoSync
	s, err := Open(opt)
	require.NoError(t, err)
	folders, err := Folders(opt.Dir)
	require.NoError(t, err)
	require.Equal(t, []string{Folder(opt.Dir, opt.Server, opt.ClientID)}, folders)
	folders, err = Folders(folders[0])
	require.NoError(t, err)
	require.Len(t, folders, 1, "the folder itself")

	require.NoError(t, s.Commit([]client.Change{{Key: []byte("0"), Value: make([]byte, 50)}}))
	stop := make(chan struct{})
	done := make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- s.Close()
				return
			default:
			}
			if err := s.Commit([]client.Change{{Key: fmt.Append(nil, i%50), Value: make([]byte, 50)}}); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 50 {
		found, err := Inspect(folders[0], func(key, value []byte) error {
			require.Len(t, value, 50)
			return nil
		})
		require.NoError(t, err)
		require.True(t, found.InUse)
		require.Empty(t, found.Damage)
	}
	_, _, err = Salvage(folders[0], t.TempDir())
	require.ErrorIs(t, err, ErrLocked)
	close(stop)
	require.NoError(t, <-done)
	before := snapshot(t, folders[0])
	found, err := Inspect(folders[0], nil)
	require.NoError(t, err)
	require.False(t, found.InUse)
	require.Nil(t, found.Torn)
	require.NotZero(t, found.Keys)
	require.Equal(t, before, snapshot(t, folders[0]), "nothing was changed")
}

// Salvage copies an intact store. From a damaged one it copies what can be read, and has
// identifiers released whose state is lost.
func TestWALSalvage(t *testing.T) {
	opt := options(t.TempDir())
	s, err := Open(opt)
	require.NoError(t, err)
	record := func(r session.Record) client.Change {
		return client.Change{Key: r.AppendKey(nil), Value: r.AppendValue(nil)}
	}
	publish := func(seq uint64) client.Change {
		return record(session.Record{Kind: session.RecordPublish, Seq: seq, Publish: &packets.Publish{
			QoS: packets.ExactlyOnce, Topic: "plant/door", Payload: bytes.Repeat([]byte("open"), 100),
		}})
	}
	scrubbed := record(session.Record{Kind: session.RecordScrubbed, Seq: 40_000, Base: 3})
	var places []int64
	for _, changes := range [][]client.Change{
		{record(session.Record{Kind: session.RecordSession, Made: session.MadeReleasing}), scrubbed},
		{record(session.Record{Kind: session.RecordSequence, Seq: 32}), publish(7)},
		{publish(8)},
		{record(session.Record{Kind: session.RecordSequence, Seq: 64}), publish(40)},
	} {
		places = append(places, s.active().size)
		require.NoError(t, s.Commit(changes))
	}
	want := contents(t, s)
	require.NoError(t, s.Close())
	folder := Folder(opt.Dir, opt.Server, opt.ClientID)

	salvaged := func() (*Inspection, map[string]string) {
		t.Helper()
		before := snapshot(t, folder)
		dir := t.TempDir()
		found, to, err := Salvage(folder, dir)
		require.NoError(t, err)
		require.Equal(t, before, snapshot(t, folder), "the original is not changed")
		o := opt
		o.Dir = dir
		require.Equal(t, Folder(dir, opt.Server, opt.ClientID), to)
		s, err := Open(o)
		require.NoError(t, err)
		defer s.Close()
		_, _, err = Salvage(folder, dir)
		require.ErrorIs(t, err, fs.ErrExist)
		return found, contents(t, s)
	}
	found, got := salvaged()
	require.Empty(t, found.Damage)
	require.Equal(t, want, got)

	name := filepath.Join(folder, segmentName(1))
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b[places[2]+50] ^= 1
	require.NoError(t, os.WriteFile(name, b, 0o600))
	_, err = Open(opt)
	require.ErrorIs(t, err, ErrCorrupt)
	found, got = salvaged()
	require.Equal(t, []Damage{{segmentName(1), places[2], FaultUnreadable}}, found.Damage)
	require.EqualValues(t, 2, found.Lost)
	lost := publish(8)
	delete(want, string(lost.Key))
	released := record(session.Record{Kind: session.RecordScrubbed, Seq: 64, Base: 64})
	want[string(released.Key)] = string(released.Value)
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	require.Equal(t, want, got)

	require.NoError(t, os.WriteFile(name, nil, 0o600))
	_, _, err = Salvage(folder, t.TempDir())
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "whose it is")
}
