package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pahomqtt "github.com/eclipse/paho.mqtt.golang"
	pahopackets "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/mqtt311/mqtt311/client/clienttest"
	facademqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// scripted starts a server over TCP that accepts one connection after another.
func scripted(t *testing.T) (addr string, next func() *clienttest.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return "tcp://" + l.Addr().String(), func() *clienttest.Conn {
		l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
		c, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return clienttest.NewConn(c)
	}
}

// leave lets paho publish into a FileStore without an answer, and ends it.
func leave(t *testing.T, dir string, messages int) {
	addr, next := scripted(t)
	opts := pahomqtt.NewClientOptions().AddBroker(addr).SetClientID("moved").SetCleanSession(false).SetProtocolVersion(4)
	c := pahomqtt.NewClient(opts.SetStore(pahomqtt.NewFileStore(dir)).SetResumeSubs(true).SetAutoReconnect(false))
	token := c.Connect()
	conn := next()
	_, err := conn.Handshake(false)
	require.NoError(t, err)
	require.NoError(t, wait(token))
	for i := range messages {
		c.Publish("stored", byte(1+i%2), i%3 == 0, fmt.Sprint(i))
		_, err := conn.Receive()
		require.NoError(t, err)
	}
	c.Subscribe("wanted", 1, nil)
	_, err = conn.Receive()
	require.NoError(t, err)
	require.NoError(t, conn.Send(&packets.Publish{Topic: "in", QoS: packets.ExactlyOnce, PacketID: 9, Payload: []byte("x")}))
	require.Eventually(t, func() bool { return slices.Contains(names(t, dir), "i.9.msg") }, time.Minute, time.Millisecond)
	c.Disconnect(0)
	conn.Close()
}

func names(t *testing.T, dir string) (all []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func leftMessages(t *testing.T, dir string) (all []string) {
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, ".msg") {
			all = append(all, name)
		}
	}
	return all
}

// put writes a packet like paho's FileStore.
func put(t *testing.T, dir, key string, p pahopackets.ControlPacket) {
	s := pahomqtt.NewFileStore(dir)
	s.Open()
	defer s.Close()
	s.Put(key, p)
}

func takeOver(addr, dir string) facademqtt.Client {
	opts := facademqtt.NewClientOptions().AddBroker(addr).SetClientID("moved").SetCleanSession(false).SetUsername("u").SetPassword("p")
	return facademqtt.NewClient(opts.SetStore(facademqtt.NewFileStore(dir)).SetResumeSubs(true))
}

// What paho has left in its FileStore is taken over once: messages are published again, in order,
// PUBRELs are completed under their identifiers, and unanswered subscriptions are made.
func TestTakeOverWhatPahoLeft(t *testing.T) {
	dir := t.TempDir()
	const messages = 12
	leave(t, dir, messages)
	for _, id := range []uint16{40000, 700} {
		p := pahopackets.NewControlPacket(pahopackets.Pubrel).(*pahopackets.PubrelPacket)
		p.MessageID = id
		put(t, dir, fmt.Sprintf("o.%d", id), p)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "o.99.msg"), []byte{0x30, 200}, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "o.note.msg"), []byte("the program's own"), 0o600))
	require.Len(t, leftMessages(t, dir), messages+6)

	addr, next := scripted(t)
	c := takeOver(addr, dir)
	token := c.Connect()

	first := next() // for the PUBRELs alone
	first.Raw = true
	connect, err := first.Handshake(true)
	require.NoError(t, err)
	require.Equal(t, "moved", connect.ClientID)
	require.Equal(t, "u", connect.UserName)
	require.False(t, connect.CleanSession)
	require.NoError(t, first.Send(&packets.Publish{Topic: "in", QoS: packets.AtLeastOnce, PacketID: 3}))
	released := make(map[uint16]bool)
	for range 2 {
		p, err := first.Receive()
		require.NoError(t, err)
		released[p.(*packets.Pubrel).PacketID] = true
	}
	require.Equal(t, map[uint16]bool{40000: true, 700: true}, released)
	require.Contains(t, leftMessages(t, dir), "o.700.msg", "not answered yet")
	require.NoError(t, first.Send(&packets.Pubcomp{PacketID: 40000}, &packets.Pubcomp{PacketID: 700}))
	p, err := first.Receive()
	require.NoError(t, err)
	require.Equal(t, packets.DISCONNECT, p.Type())

	second := next()
	_, err = second.Handshake(true)
	require.NoError(t, err)
	require.NoError(t, wait(token))
	var got []string
	for len(got) < messages {
		p, err := second.Receive()
		require.NoError(t, err)
		switch p := p.(type) {
		case *packets.Publish:
			require.False(t, p.Dup)
			i := len(got)
			require.Equal(t, byte(1+i%2), byte(p.QoS))
			require.Equal(t, i%3 == 0, p.Retain)
			got = append(got, string(p.Payload))
			if p.QoS == packets.AtLeastOnce {
				err = second.Send(&packets.Puback{PacketID: p.PacketID})
			} else {
				err = second.Send(&packets.Pubrec{PacketID: p.PacketID})
			}
			require.NoError(t, err)
		case *packets.Pubrel:
			require.NoError(t, second.Send(&packets.Pubcomp{PacketID: p.PacketID}))
		case *packets.Subscribe:
			require.Equal(t, "wanted", p.Subscriptions[0].Filter)
			require.NoError(t, second.Send(&packets.Suback{PacketID: p.PacketID, Codes: []packets.SubscribeCode{1}}))
		}
	}
	for i := range got {
		require.Equal(t, fmt.Sprint(i), got[i])
	}
	require.Equal(t, []string{"o.note.msg"}, leftMessages(t, dir))
	require.Contains(t, names(t, dir), "o.99.CORRUPT")
	go func() { // what it still sends, so that DISCONNECT arrives
		for {
			p, err := second.Receive()
			if err != nil {
				return
			}
			if rel, ok := p.(*packets.Pubrel); ok {
				second.Send(&packets.Pubcomp{PacketID: rel.PacketID})
			}
		}
	}()
	c.Disconnect(1000)

	c = takeOver(addr, dir)
	token = c.Connect()
	third := next()
	_, err = third.Handshake(true)
	require.NoError(t, err)
	require.NoError(t, wait(token))
	c.Publish("new", 1, false, "x")
	for p = nil; p == nil || p.Type() == packets.SUBSCRIBE; { // which may not have been answered
		p, err = third.Receive()
		require.NoError(t, err)
	}
	require.Equal(t, "new", p.(*packets.Publish).Topic, "nothing is taken over twice")
	c.Disconnect(0)
}

// What cannot be completed yet is kept for the next attempt.
func TestTakeOverIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	p := pahopackets.NewControlPacket(pahopackets.Pubrel).(*pahopackets.PubrelPacket)
	p.MessageID = 5
	put(t, dir, "o.5", p)
	addr, next := scripted(t)
	c := takeOver(addr, dir)
	token := c.Connect()
	first := next()
	_, err := first.Handshake(true)
	require.NoError(t, err)
	first.Close()
	require.Error(t, wait(token))
	require.Equal(t, []string{"o.5.msg"}, leftMessages(t, dir))

	token = c.Connect()
	_, err = next().Handshake(false) // the Server has no session that could hold it
	require.NoError(t, err)
	_, err = next().Handshake(false)
	require.NoError(t, err)
	require.NoError(t, wait(token))
	require.Empty(t, leftMessages(t, dir))
	c.Disconnect(0)
}

// A clean session discards what was left, as in paho.
func TestCleanSessionDropsWhatPahoLeft(t *testing.T) {
	dir := t.TempDir()
	leave(t, dir, 3)
	addr, next := scripted(t)
	u, err := url.Parse(addr)
	require.NoError(t, err)
	opts := &facademqtt.ClientOptions{Servers: []*url.URL{u}, ClientID: "moved", CleanSession: true, Store: facademqtt.NewFileStore(dir)}
	c := facademqtt.NewClient(opts)
	token := c.Connect()
	conn := next()
	connect, err := conn.Handshake(false)
	require.NoError(t, err)
	require.Zero(t, connect.KeepAlive, "options without NewClientOptions are as they stand")
	require.NoError(t, wait(token))
	require.Empty(t, leftMessages(t, dir))
	c.Disconnect(0)
}
