package torture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
)

// A plan is determined by its seed, has each kind of act at least once, and its acts are ordered by their
// beginning.
func TestPlan(t *testing.T) {
	p := pace{wait: time.Second, hold: time.Second, down: time.Second, live: time.Second}
	acts := plan(7, 50, Kinds, p)
	require.Equal(t, acts, plan(7, 50, Kinds, p))
	require.NotEqual(t, acts, plan(8, 50, Kinds, p))
	seen := make(map[Kind]bool)
	for i, a := range acts {
		seen[a.Kind] = true
		require.Contains(t, lanes, a.lane(), "the picture has a row for it")
		require.True(t, i == 0 || acts[i-1].At <= a.At)
	}
	require.Len(t, seen, len(Kinds))
	for _, a := range plan(7, 50, []Kind{Kill}, p) {
		require.Equal(t, Kill, a.Kind)
	}
}

// A journal is read while it is written. A line truncated by a kill is skipped.
func TestReadsTheJournalInPieces(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	r := reading{path: name}
	events, err := r.more()
	require.NoError(t, err, "it is not there yet")
	text := "\n{\"at\":1,\"what\":\"run\"}\n{\"at\":2,\"what\":\"noted\",\"n\":10}\n{\"at\":3,\"what\":\"no\n{\"at\":4,\"what\":\"run\"}"
	for end := range len(text) + 1 {
		require.NoError(t, os.WriteFile(name, []byte(text[:end]), 0o600))
		more, err := r.more()
		require.NoError(t, err)
		events = append(events, more...)
	}
	require.Equal(t, []Event{{At: 1, What: began}, {At: 2, What: noted, N: 10}, {At: 4, What: began}}, events)
	require.Equal(t, 1, r.torn)
}

// The witness assigns packets to messages, in whatever pieces the stream arrives.
func TestWitness(t *testing.T) {
	log := new(journal)
	w := newWitness(log, Publisher)
	stream := func(up bool, ps ...packets.Packet) {
		var b, held []byte
		for _, p := range ps {
			var err error
			b, err = p.AppendBinary(b)
			require.NoError(t, err)
		}
		for i := range b {
			held = w.read(append(held, b[i]), 1, up)
		}
		require.Empty(t, held)
	}
	stream(true, &packets.Publish{Topic: "t/2", QoS: 2, PacketID: 5, Payload: Payload(40)}, &packets.Publish{Topic: "t/0", Payload: Payload(3)})
	stream(false, &packets.Connack{SessionPresent: true}, &packets.Pubrec{PacketID: 5})
	stream(true, &packets.Pubrel{PacketID: 5}, &packets.Pubrel{PacketID: 77}) // 77 is released before its first use
	stream(false, &packets.Pubcomp{PacketID: 5}, &packets.Pubcomp{PacketID: 77}, &packets.Publish{Topic: "t/1", QoS: 1, PacketID: 5, Payload: Payload(8)})
	stream(true, &packets.Puback{PacketID: 5}, &packets.Pingreq{})
	want := []Event{
		{What: sent, Text: publish, QoS: 2, N: 40, ID: 5}, {What: sent, Text: publish, N: 3}, {What: opened, Text: "CONNACK", N: 1},
		{What: came, Text: pubrec, QoS: 2, N: 40, ID: 5}, {What: sent, Text: pubrel, QoS: 2, N: 40, ID: 5},
		{What: came, Text: pubcomp, QoS: 2, N: 40, ID: 5}, {What: came, Text: publish, QoS: 1, N: 8, ID: 5}, {What: sent, Text: puback, QoS: 1, N: 8, ID: 5},
	}
	for i := range log.events {
		log.events[i].At = 0
	}
	for i := range want {
		want[i].Who, want[i].Conn = Publisher, 1
	}
	require.Equal(t, want, log.events)
}

// echo returns a proxy in front of a broker that echoes bytes.
func echo(t *testing.T) (*proxy, *journal) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	log := new(journal)
	p, err := newProxy(ln.Addr().String(), Consumer, log, time.Minute)
	require.NoError(t, err)
	t.Cleanup(p.close)
	return p, log
}

func dial(t *testing.T, p *proxy) net.Conn {
	c, err := net.Dial("tcp", p.addr())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends bytes and returns what arrives within a moment.
func say(t *testing.T, c net.Conn, text string) (string, error) {
	_, err := io.WriteString(c, text)
	if err != nil {
		return "", err
	}
	c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	b := make([]byte, len(text))
	n, err := io.ReadFull(c, b)
	return string(b[:n]), err
}

// The acts on a link have the intended effects on the client.
func TestProxy(t *testing.T) {
	p, log := echo(t)
	c := dial(t, p)
	got, err := say(t, c, "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", got)

	for way := range 2 { // a dead direction holds the bytes back
		p.change(func() { p.dead[way] = true })
		got, err = say(t, c, "dead")
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Empty(t, got)
		p.change(func() { p.dead[way] = false })
		got, err = say(t, c, "live")
		require.NoError(t, err)
		require.Equal(t, "dead", got)
		got, _ = say(t, c, "")
		require.Empty(t, got)
		_, err = io.ReadFull(c, make([]byte, 4))
		require.NoError(t, err)
	}

	p.change(func() { p.cut = &cut{way: down, after: 3} })
	got, err = say(t, c, "abcdef")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, "abc", got, "up to a byte")

	p.change(func() { p.cut = &cut{way: up, after: 2, hard: true} })
	c = dial(t, p)
	_, err = say(t, c, "abcdef")
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)

	p.change(func() { p.refuse = true })
	refused, err := net.Dial("tcp", p.addr()) // the reset may arrive before Dial returns
	if err == nil {
		t.Cleanup(func() { refused.Close() })
		_, err = say(t, refused, "x")
	}
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	p.change(func() { p.hang = true })
	_, err = say(t, dial(t, p), "x")
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	p.change(p.calm)
	p.cutAll(true)
	c = dial(t, p)
	got, err = say(t, c, "calm")
	require.NoError(t, err)
	require.Equal(t, "calm", got)
	c.Close()

	by := func() (by []string) {
		for _, e := range log.all() {
			if e.What == closed {
				by = append(by, e.Text)
			}
		}
		return by
	}
	require.Eventually(t, func() bool { return len(by()) == 4 }, time.Minute, time.Millisecond)
	require.ElementsMatch(t, []string{nemesis, nemesis, nemesis, "client"}, by())
}

// A picture is valid XML with a mark for each act and each finding, and a sketch has a row for each
// lane.
func TestPicture(t *testing.T) {
	s := newTale().out(1, 0).add(Event{Who: Broker, What: act, Text: string(Rollback), Since: -3e8, Until: 2e8}).
		add(Event{Who: Consumer, What: act, Text: string(Full), Until: 4e8}).add(Event{Who: Consumer, What: altered, Text: "<&>"}).in(1, 0)
	h := &History{Options: Options{Broker: "mosquitto", Seed: 42}, Events: s.events, Verdict: s.verdict(strict)}
	svg := h.SVG()
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{"mosquitto, seed 42", "<title>rollback", "<title>full", "altered: &lt;&amp;&gt;"} {
		require.Contains(t, string(svg), part)
	}
	text := h.String()
	for _, lane := range lanes {
		require.Contains(t, text, "\n"+lane)
	}
	require.Contains(t, text, "consumer: altered: <&>")
	require.Equal(t, 1, strings.Count(text[strings.Index(text, "\nfindings"):], "!"))
}
