package session_test

import (
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

var everyKind = []session.Record{
	{Kind: session.RecordPublish, Seq: 32767, PacketID: 1, Publish: &packets.Publish{
		QoS: packets.ExactlyOnce, Retain: true, PacketID: 1, Topic: "plant/温度", Payload: []byte{0, 255, 7},
	}},
	{Kind: session.RecordPublish, Seq: 5, PacketID: 6, Publish: &packets.Publish{
		QoS: packets.AtLeastOnce, PacketID: 6, Topic: strings.Repeat("t", 65535), Payload: []byte{},
	}},
	{Kind: session.RecordReleased, Seq: 1 << 40, PacketID: uint16(1 + (1<<40)%32767), Order: 9},
	{Kind: session.RecordReceived, PacketID: 65535, Fingerprint: 0x0102030405060708},
	{Kind: session.RecordFilter, Filter: packets.Subscription{Filter: "a/+/#", QoS: packets.AtLeastOnce}},
	{Kind: session.RecordSession, Made: session.MadeClean},
	{Kind: session.RecordSession, Made: session.MadeReleasing},
	{Kind: session.RecordScrubbed, Seq: 77, Base: 7},
	{Kind: session.RecordSequence, Seq: 1<<63 + 1},
	{Kind: session.RecordApplication, Note: &session.Note{Name: "attempts/é", Value: []byte("3")}},
	{Kind: session.RecordApplication, Note: &session.Note{Value: []byte{}}},
}

func TestRecordsSurviveTheirBinaryForm(t *testing.T) {
	for _, r := range everyKind {
		got, err := session.ParseRecord(r.AppendKey(nil), r.AppendValue(nil))
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
}

// Data from a disk is not trusted: a record that is cut anywhere or has an extra byte is refused or
// read as another whole record, and nothing panics.
func TestRecordsThatAreCut(t *testing.T) {
	for _, r := range everyKind {
		key, value := r.AppendKey(nil), r.AppendValue(nil)
		free := r.Kind == session.RecordApplication // any bytes are a note
		for n := range key {
			got, err := session.ParseRecord(key[:n], value)
			if err == nil {
				require.NotEqual(t, r, got)
			}
		}
		for n := range min(len(value), 20) {
			got, err := session.ParseRecord(key, value[:n])
			if err == nil {
				require.NotEqual(t, r, got)
			}
		}
		if !free && r.Kind != session.RecordPublish {
			_, err := session.ParseRecord(key, append(value, 0))
			require.ErrorContains(t, err, "value too long")
		}
	}
}

func TestRecordsThatAreWrong(t *testing.T) {
	for _, c := range []struct{ name, key, value, want string }{
		{"no key", "", "", "empty key"},
		{"unknown kind", "\x09", "", "record of kind 9: unknown kind"},
		{"short sequence number", "\x01\x00", "", "too short"},
		{"QoS 0", "\x01\x00\x00\x00\x00\x00\x00\x00\x01", "\x00\x00\x01t", "flags"},
		{"QoS 3", "\x01\x00\x00\x00\x00\x00\x00\x00\x01", "\x03\x00\x01t", "flags"},
		{"flags", "\x01\x00\x00\x00\x00\x00\x00\x00\x01", "\x09\x00\x01t", "flags"},
		{"wildcard", "\x01\x00\x00\x00\x00\x00\x00\x00\x01", "\x01\x00\x01#", "no packet can carry it"},
		{"topic beyond the end", "\x01\x00\x00\x00\x00\x00\x00\x00\x01", "\x01\x00\x09t", "topic too short"},
		{"identifier 0", "\x03\x00\x00", "12345678", "packet identifier 0"},
		{"filter", "\x04a#", "\x01", "not a Topic Filter"},
		{"granted QoS", "\x04a", "\x80", "QoS above 2"},
		{"clean session", "\x05", "\x03", "unknown kind of session"},
		{"long key", "\x05x", "\x01", "key too long"},
		{"name", "\x07\xff", "", "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := session.ParseRecord([]byte(c.key), []byte(c.value))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// The bytes of a record never change: records of earlier versions are read as they were meant.
func TestBytesOfRecords(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       session.Record
	}{
		{"\x02\x00\x00\x00\x00\x00\x00\x00\x03", "\x00\x00\x00\x00\x00\x00\x00\x09", session.Record{Kind: session.RecordReleased, Seq: 3, PacketID: 4, Order: 9}},
		{"\x05", "\x00", session.Record{Kind: session.RecordSession, Made: session.MadeKept}},
		{"\x05", "\x01", session.Record{Kind: session.RecordSession, Made: session.MadeClean}},
		{"\x05", "\x02", session.Record{Kind: session.RecordSession, Made: session.MadeReleasing}},
		{"\x06", "\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x07", session.Record{Kind: session.RecordScrubbed, Seq: 64, Base: 7}},
	} {
		got, err := session.ParseRecord([]byte(c.key), []byte(c.value))
		require.NoError(t, err)
		require.Equal(t, c.want, got)
		require.Equal(t, c.key, string(got.AppendKey(nil)))
		require.Equal(t, c.value, string(got.AppendValue(nil)))
	}
}
