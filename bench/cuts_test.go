package main

import (
	"encoding/binary"
	"testing"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

func message(t *testing.T, qos packets.QoS, id uint16, number uint32) []byte {
	p := packets.Publish{Topic: topic, QoS: qos, PacketID: id, Payload: binary.BigEndian.AppendUint32(nil, number)}
	b, err := p.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

func connected(t *testing.T, k *keeper) {
	b, err := (&packets.Connect{ClientID: "c", CleanSession: true}).AppendBinary(nil)
	require.NoError(t, err)
	_, out := k.read(b)
	require.Equal(t, byte(packets.CONNACK)<<4, out[0])
}

// The counts of a keeper agree with what happened to the messages.
func TestKeeperCounts(t *testing.T) {
	k := newKeeper(4, []int{2}, false)
	connected(t, k)
	_, out := k.read(message(t, packets.AtLeastOnce, 1, 0))
	require.Equal(t, packets.AppendAck(nil, packets.PUBACK, 1), out)
	require.True(t, k.isAcked(0))
	used, _ := k.read(message(t, packets.AtLeastOnce, 2, 1))
	require.Equal(t, -1, used, "cut when the second message comes")
	require.False(t, k.isAcked(1), "and it is not answered")

	connected(t, k)
	k.read(message(t, packets.AtLeastOnce, 2, 1))
	require.Zero(t, k.dups, "it had to come again")
	k.read(message(t, packets.AtLeastOnce, 3, 0))
	require.Equal(t, 1, k.dups, "that was acknowledged")
	require.Equal(t, 1, k.disorder, "and comes after a later one")
	require.Equal(t, 2, k.first)

	k.read(message(t, packets.ExactlyOnce, 4, 2))
	k.read(message(t, packets.ExactlyOnce, 4, 2))
	require.Equal(t, 1, k.dups, "a copy before PUBREL is recognised")
	require.False(t, k.isAcked(2))
	k.read(packets.AppendAck(nil, packets.PUBREL, 4))
	require.True(t, k.isAcked(2))
	k.read(message(t, packets.ExactlyOnce, 4, 2))
	require.Equal(t, 2, k.dups, "a copy after PUBREL is not")
}

// A mute keeper answers no message on the first connection.
func TestKeeperMute(t *testing.T) {
	k := newKeeper(2, []int{2}, true)
	connected(t, k)
	_, out := k.read(message(t, packets.AtLeastOnce, 1, 0))
	require.Empty(t, out)
	used, _ := k.read(message(t, packets.AtLeastOnce, 2, 1))
	require.Equal(t, -1, used)
	connected(t, k)
	k.read(append(message(t, packets.AtLeastOnce, 1, 0), message(t, packets.AtLeastOnce, 2, 1)...))
	<-k.over
	require.Zero(t, k.dups)
	require.Zero(t, k.disorder)
}

// A tally detects a client that reports a message done too early, and one that never reports it.
func TestTally(t *testing.T) {
	k := newKeeper(2, nil, false)
	connected(t, k)
	said := func() error { return nil }
	tally := tally{outcomes: make([]func() error, 1)}
	tally.publish(job{Count: 2, Window: 1, QoS: 1}, func(_ byte, payload []byte) (func() error, error) {
		if number := binary.BigEndian.Uint32(payload); number == 0 {
			k.read(message(t, packets.AtLeastOnce, 1, number))
		}
		return said, nil
	}, k)
	require.EqualValues(t, 1, tally.early.Load())
	require.EqualValues(t, 2, tally.settled.Load())
}
