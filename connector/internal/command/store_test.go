package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// storeOf makes a store with one record of each kind, each in a separate commit, and returns the
// directory of the program and that of the store.
func storeOf(t *testing.T) (dir, folder string, s *wal.Store) {
	t.Helper()
	dir = t.TempDir()
	s, err := wal.Open(wal.Options{Dir: dir, Server: "mq:1883", ClientID: "line-7"})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	for _, r := range []session.Record{
		{Kind: session.RecordSession, Made: session.MadeReleasing},
		{Kind: session.RecordSequence, Seq: 32},
		{Kind: session.RecordScrubbed, Seq: 64},
		{Kind: session.RecordPublish, Seq: 0, Publish: &packets.Publish{QoS: 1, Topic: "plant/door", Payload: []byte("canary")}},
		{Kind: session.RecordPublish, Seq: 1, Publish: &packets.Publish{QoS: 2, Retain: true, Topic: "plant/窗", Payload: []byte("canary!")}},
		{Kind: session.RecordReleased, Seq: 1, Order: 1},
		{Kind: session.RecordReceived, PacketID: 9, Fingerprint: 5},
		{Kind: session.RecordFilter, Filter: packets.Subscription{Filter: "in/#", QoS: 1}},
		{Kind: session.RecordApplication, Note: &session.Note{Name: "attempts/1", Value: []byte("canary")}},
	} {
		require.NoError(t, s.Commit([]client.Change{{Key: r.AppendKey(nil), Value: r.AppendValue(nil)}}))
	}
	return dir, wal.Folder(dir, "mq:1883", "line-7"), s
}

func TestStoreLs(t *testing.T) {
	dir, folder, s := storeOf(t)
	out := ok(t, "store", "ls", dir)
	for _, want := range []string{
		`client "line-7" at "mq:1883"`, folder, "in use by a running client: read only",
		"1 at QoS 1, 1 at QoS 2 (PUBREC has come for 1)", "Packet Identifiers of QoS 2: 1", "filters: 1, notes: 1", "segments: 1, bytes: ", "synced always",
	} {
		require.Contains(t, out, want)
	}
	require.NotContains(t, out, "plant")
	require.NoError(t, s.Close())
	require.NotContains(t, ok(t, "store", "ls", folder), "in use")

	out = ok(t, "store", "ls", "--keys", dir)
	for _, want := range []string{
		`  publish seq=0 id=1 qos=1 size=6 "plant/door"`, `  publish seq=1 id=2 qos=2 retain released size=7 "plant/窗"`,
		"  received id=9\n", `  filter qos=1 "in/#"`, `  note size=6 "attempts/1"`, "  sequence seq=32\n",
	} {
		require.Contains(t, out, want)
	}
	require.NotContains(t, out, "canary")
	require.NotContains(t, ok(t, "store", "ls", "--keys", "--json", dir), "Y2FuYXJ5", "in base64")
	require.Contains(t, ok(t, "store", "ls", "--payloads", dir), `"plant/door" "canary"`)

	lines := strings.Split(strings.TrimSpace(ok(t, "store", "ls", "--payloads", "--json", dir)), "\n")
	require.Len(t, lines, 8, "the store, and its records but for those that stand with others")
	var line storeLine
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &line))
	require.Equal(t, storeLine{
		Kind: "store", Folder: folder, Server: "mq:1883", ClientID: "line-7", Sync: "always", Segments: 1,
		FileBytes: line.FileBytes, Keys: 9, QoS1: 1, QoS2: 1, Released: 1, Bytes: 10 + 6 + 9 + 7, Received: 1, Filters: 1, Notes: 1,
		Damage: []damageLine{},
	}, line)
	var record recordLine
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &record))
	require.Equal(t, "canary", string(record.Content))

	require.Contains(t, ok(t, "store", "ls", "--lang", "zh", dir), `客户端 "line-7"，服务端 "mq:1883"`)
}

func TestStoreVerifyAndSalvage(t *testing.T) {
	dir, folder, s := storeOf(t)
	require.Contains(t, ok(t, "store", "verify", dir), "sound; keys: 9, segments: 1")
	r := mqtt311(t, "store", "salvage", dir, "--into", t.TempDir())
	require.Equal(t, ExitRuntime, r.code)
	require.Contains(t, r.err, "is in use: stop its client first")
	require.NoError(t, s.Close())

	name := filepath.Join(folder, "0000000000000001.log")
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	at := strings.Index(string(b), "plant/door")
	b[at] = 'P'
	require.NoError(t, os.WriteFile(name, b, 0o600))

	r = mqtt311(t, "store", "verify", dir)
	require.Equal(t, ExitFindings, r.code)
	require.Regexp(t, `0000000000000001\.log:\d+: these bytes are not what was written\n`, r.out)
	require.Contains(t, r.err, "damage in "+dir+", places: 1; mqtt311 store salvage")
	r = mqtt311(t, "store", "verify", "--json", dir)
	require.Equal(t, ExitFindings, r.code)
	var line storeLine
	require.NoError(t, json.Unmarshal([]byte(strings.SplitN(r.out, "\n", 2)[0]), &line))
	require.Len(t, line.Damage, 1)
	require.Less(t, line.Damage[0].Offset, int64(at))
	require.Contains(t, mqtt311(t, "store", "verify", "--lang", "zh", dir).out, "此处内容与写入时不符")
	require.Contains(t, ok(t, "store", "ls", dir), "damage    places: 1, see")

	into := t.TempDir()
	out := ok(t, "store", "salvage", dir, "--into", into)
	require.Contains(t, out, "keys saved: 8, to "+wal.Folder(into, "mq:1883", "line-7"))
	require.Contains(t, out, "damaged places: 1, frames of the log lost: 2")
	require.Contains(t, ok(t, "store", "verify", into), "sound; keys: 8")
	out = ok(t, "store", "ls", "--keys", into)
	require.NotContains(t, out, "plant/door")
	require.Contains(t, out, "plant/窗")
	r = mqtt311(t, "store", "salvage", dir, "--into", into)
	require.Equal(t, ExitRuntime, r.code)
	require.Contains(t, r.err, "in "+into+" already")
}

// A record that no session could have written is a finding, too.
func TestStoreVerifyStrangeRecords(t *testing.T) {
	dir, _, s := storeOf(t)
	require.NoError(t, s.Commit([]client.Change{{Key: []byte{99}, Value: []byte("canary")}}))
	r := mqtt311(t, "store", "verify", dir)
	require.Equal(t, ExitFindings, r.code)
	require.Contains(t, r.out, "record of kind 99")
	require.NotContains(t, r.out+r.err, "canary")
}

func TestStoreUsage(t *testing.T) {
	empty := t.TempDir()
	for args, want := range map[string]string{
		"store ls":                 "name one folder",
		"store verify a b":         "name one folder",
		"store ls " + empty:        "there is no store in",
		"store ls " + empty + "/x": "is not there",
		"store salvage " + empty:   "--into is missing",
	} {
		r := mqtt311(t, strings.Fields(args)...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Contains(t, r.err, want, args)
	}
	require.Contains(t, ok(t, "store"), "salvage")
}

// Running with a damaged store gives a hint what to do about it.
func TestHintOfADamagedStore(t *testing.T) {
	p := &Program{Lang: "en"}
	require.Contains(t, p.hint(ExitRuntime, fmt.Errorf("connector: %w", wal.ErrCorrupt)), "store salvage")
	p.Lang = "zh"
	require.Contains(t, p.hint(ExitRuntime, fmt.Errorf("connector: %w", wal.ErrCorrupt)), "抢救")
}
