package jetstream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector/jetstream"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// Every legal topic has its own subject, from which it can be decoded.
func TestTopicSubject(t *testing.T) {
	for topic, subject := range map[string]string{
		"a":                       "a",
		"plant/line 1/temp":       "plant.line%201.temp",
		"/":                       "%.%",
		"/a":                      "%.a",
		"a//b":                    "a.%.b",
		"a/":                      "a.%",
		"v1.2/x":                  "v1%2E2.x",
		"*/>":                     "%2A.%3E",
		"100%":                    "100%25",
		"%":                       "%25",
		"$SYS/broker":             "$SYS.broker",
		"温度":                      "%E6%B8%A9%E5%BA%A6",
		"a\tb\x7f":                "a%09b%7F",
		strings.Repeat("a", 1024): strings.Repeat("a", 1024),
	} {
		require.Equal(t, subject, jetstream.TopicSubject(topic))
		back, ok := jetstream.SubjectTopic(subject)
		require.True(t, ok, subject)
		require.Equal(t, topic, back)
	}
}

// A topic that would exceed the limits of a server becomes a hash, which cannot be decoded but is different
// for each topic.
func TestTopicSubjectHash(t *testing.T) {
	seen := make(map[string]bool)
	for _, topic := range []string{
		strings.Repeat("a", 1025), strings.Repeat("b", 1025), strings.Repeat("温", 200), strings.Repeat("/", 64), strings.Repeat("a/", 64), strings.Repeat("x", 65535),
	} {
		subject := jetstream.TopicSubject(topic)
		require.Regexp(t, `^%h\.[0-9a-f]{64}$`, subject)
		require.False(t, seen[subject])
		seen[subject] = true
		_, ok := jetstream.SubjectTopic(subject)
		require.False(t, ok)
	}
	require.NotContains(t, jetstream.TopicSubject(strings.Repeat("/", 63)), "%h")
}

func TestSubjectTopicOfOthers(t *testing.T) {
	for _, subject := range []string{"", ".", "a.", "a..b", "%2", "%zz", "%41", "%2a", "温", "a b"} {
		_, ok := jetstream.SubjectTopic(subject)
		require.False(t, ok, "%q", subject)
	}
}

func FuzzTopicSubject(f *testing.F) {
	f.Add("a/b", "a.%.b")
	f.Add("%h", "%h.00")
	f.Add("\x00 温/./*", "%2A")
	f.Fuzz(func(t *testing.T, topic, subject string) {
		s := jetstream.TopicSubject(topic)
		for _, token := range strings.Split(s, ".") {
			require.NotEmpty(t, token)
			require.False(t, strings.ContainsAny(token, " *>\t\r\n"), s)
		}
		if back, ok := jetstream.SubjectTopic(s); ok {
			require.Equal(t, topic, back)
		} else {
			require.True(t, strings.HasPrefix(s, "%h."), "%q: %q", topic, s)
		}
		if topic, ok := jetstream.SubjectTopic(subject); ok {
			require.Equal(t, subject, jetstream.TopicSubject(topic))
		}
	})
}

// A message stored by another program is refused, with the invalid header.
func TestParseRecordRefuses(t *testing.T) {
	good := func() nats.Header {
		return nats.Header{
			jetstream.HeaderTopic: {"a%20b"}, jetstream.HeaderQoS: {"1"}, jetstream.HeaderReceived: {"2026-01-02T03:04:05.6Z"},
			"Nats-Msg-Id": {"key"}, jetstream.HeaderOrderKey: {"lane"}, jetstream.HeaderRetained: {"true"},
		}
	}
	r, err := jetstream.ParseRecord(good(), []byte("x"))
	require.NoError(t, err)
	require.Equal(t, &jetstream.Record{
		Topic: "a b", Payload: []byte("x"), QoS: packets.AtLeastOnce, Retained: true, Key: "key", OrderKey: "lane",
		Received: time.Date(2026, 1, 2, 3, 4, 5, 6e8, time.UTC),
	}, r)
	for name, values := range map[string][]string{
		jetstream.HeaderTopic:    {"", "%", "%zz", "a/#", "%00", "%ff"},
		jetstream.HeaderQoS:      {"", "3", "-1", "x", "256"},
		jetstream.HeaderReceived: {"", "yesterday"},
		jetstream.HeaderOrderKey: {"%"},
		"Nats-Msg-Id":            {"%1"},
	} {
		for _, v := range values {
			h := good()
			h[name] = []string{v}
			_, err := jetstream.ParseRecord(h, nil)
			require.ErrorContains(t, err, name, "%q", v)
		}
	}
	_, err = jetstream.ParseRecord(nil, nil)
	require.ErrorContains(t, err, jetstream.HeaderTopic)
}
